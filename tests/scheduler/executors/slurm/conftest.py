"""A cluster for tests: a real Slurm, shared by all tests of a process."""

from __future__ import annotations

import pytest

from tests.helpers.slurm import SlurmLab, the_lab, why_no_slurm


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> SlurmLab:
    """The cluster; its commands find it by the environment."""
    if (why := why_no_slurm()) is not None:
        pytest.skip(why)
    lab = the_lab()
    for name, value in lab.environment.items():
        monkeypatch.setenv(name, value)
    return lab
