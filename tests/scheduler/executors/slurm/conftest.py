"""A cluster for tests: a real Slurm, shared by all tests of a process."""

from __future__ import annotations

import pytest

from tests.helpers.slurm import SlurmLab, lab_of_test


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> SlurmLab:
    """The cluster; its commands find it by the environment."""
    return lab_of_test(monkeypatch)
