"""Fixtures for tests that run sweeps, or that need GPUs, with or without the machine having any."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.fake_nvml import StandIn, build
from tests.helpers.sweep_runner import Box


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a libnvidia-ml.so.1 that reports scenarios."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler (cc) to build the stand-in for NVML with")
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def stand_in(tmp_path: Path, nvml_library: Path) -> StandIn:
    """A machine whose GPUs the test decides on; none at first."""
    folder = tmp_path / "gpus"
    folder.mkdir()
    return StandIn(folder, nvml_library)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A box to run sweeps in, on CPU slots even where there are GPUs; its path is not tame."""
    folder = tmp_path / "it's a\nbox"
    folder.mkdir()
    no_nvml = tmp_path / "no nvml"
    no_nvml.mkdir()
    (no_nvml / "libnvidia-ml.so.1").touch()  # found first by the loader, and no library
    box = Box(folder, {"LD_LIBRARY_PATH": str(no_nvml)})
    yield box
    box.clean_up()
