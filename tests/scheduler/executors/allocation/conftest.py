"""A cluster, and jobs of it in which whole sweeps run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.helpers.slurm import SlurmLab, lab_of_test
from tests.helpers.sweep_runner import SweepRunner
from tests.helpers.waiting import wait_until

RUN = "exec python -m scheduler runner.yaml --root root --inside-slurm"


class LargeJob:
    """A job whose script runs a sweep."""

    def __init__(
        self, lab: SlurmLab, sweep: SweepRunner, out: Path, options: tuple[str, ...], last: str
    ) -> None:
        self._lab = lab
        self._out = out
        script = out.with_suffix(".sh")
        script.write_text(f'#!/bin/bash\ncd "$SWEEP_FOLDER"\n{last}\n')
        self.number = lab.call(
            "sbatch",
            *("--parsable", f"--output={out}", "--open-mode=append", *options, str(script)),
            **sweep.environment,
            SWEEP_FOLDER=str(sweep.folder),
        ).strip()

    def said(self) -> str:
        return self._out.read_text() if self._out.exists() else ""

    def wait_for(self, pattern: str) -> None:
        wait_until(lambda: re.search(pattern, self.said()))

    def end(self, patience: float = 60.0) -> int:
        """Wait for its end; return its exit code."""

        def facts() -> Mapping[str, str]:
            said = self._lab.call("scontrol", "show", "job", self.number)
            return dict(re.findall(r"\b(JobState|ExitCode)=(\S+)", said))

        wait_until(
            lambda: facts()["JobState"] not in ("PENDING", "RUNNING", "COMPLETING"), patience
        )
        assert "Traceback" not in self.said()
        return int(facts()["ExitCode"].partition(":")[0])


class Jobs:
    """Submits such jobs."""

    def __init__(self, lab: SlurmLab, sweep: SweepRunner, folder: Path) -> None:
        self._lab, self._sweep, self._folder = lab, sweep, folder

    def submit(self, *options: str, last: str = RUN) -> LargeJob:
        return LargeJob(self._lab, self._sweep, self._folder / "job.out", options, last)


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> SlurmLab:
    """The cluster; its commands find it by the environment."""
    return lab_of_test(monkeypatch)


@pytest.fixture
def jobs(lab: SlurmLab, runner: SweepRunner, tmp_path: Path) -> Jobs:
    runner.environment |= lab.environment
    return Jobs(lab, runner, tmp_path)
