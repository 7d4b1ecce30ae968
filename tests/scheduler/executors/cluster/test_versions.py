"""Versions of what attempts need, on two machines."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version
from pathlib import Path

from scheduler.executors.cluster.versions import differences, installed


def test_what_a_node_must_have_is_what_the_dispatchers_machine_has() -> None:
    here = {"python": "3.11.2", "diffusers": "0.31.0", "torch": "2.5.1", "tomesd": None}
    assert not list(differences(here, here))
    there = {"python": "3.9.1", "diffusers": "0.31.0", "torch": None, "tomesd": "0.1.3"}
    assert list(differences(there, here)) == ["python 3.9.1, not 3.11.2", "no torch (2.5.1)"]


def test_all_that_the_project_needs_is_looked_at() -> None:
    here = installed(sys.path)
    for name in ("diffusion-sweeps", "torch", "DeepCache", "open_clip_torch"):
        assert here[name] == version(name)
    assert "plotly" not in here, "an extra"


def test_of_a_checkout_that_was_never_installed_the_largest_libraries_are_compared(
    tmp_path: Path,
) -> None:
    torch = tmp_path / "torch-2.5.1.dist-info"
    torch.mkdir()
    (torch / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.5.1\n")
    assert installed([str(tmp_path)]) == {
        "python": platform.python_version(),
        "diffusion-sweeps": None,
        "torch": "2.5.1",
        "diffusers": None,
        "transformers": None,
    }
