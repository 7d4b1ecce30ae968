"""Fixtures for tests that run sweeps, or that need GPUs, with or without the machine having any."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.fake_nvml import FakeNvml, build
from tests.helpers.sweep_runner import SweepRunner


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a libnvidia-ml.so.1 that reports scenarios."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler (cc) to build the fake NVML with")
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def fake_nvml(tmp_path: Path, nvml_library: Path) -> FakeNvml:
    """A machine whose GPUs the test decides on; none at first."""
    folder = tmp_path / "gpus"
    folder.mkdir()
    return FakeNvml(folder, nvml_library)


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[SweepRunner]:
    """A runner to run sweeps in, on CPU slots even where there are GPUs; its path is not tame."""
    folder = tmp_path / "it's a\nbox"
    folder.mkdir()
    no_nvml = tmp_path / "no nvml"
    no_nvml.mkdir()
    (no_nvml / "libnvidia-ml.so.1").touch()  # found first by the loader, and no library
    runner = SweepRunner(folder, {"LD_LIBRARY_PATH": str(no_nvml)})
    yield runner
    runner.clean_up()
