"""When each job of a benchmark started and ended, on which machine, and what that says of the next.

A file of its own beside the measurements: they do not tell how long the way to them was, nor that a
job was stopped half-way.
"""

from __future__ import annotations

import time
from pathlib import Path

from worker.results.file import ResultsFile

FILE = Path("run_log", "jobs.jsonl")
"""Where it lies in the folder of the results."""


class RunLog:
    """The run log of one folder of results, as seen from one machine.

    Args:
        out: the folder of the results files.
        machine: the machine that this program runs on.
    """

    def __init__(self, out: Path, machine: str) -> None:
        self._file = ResultsFile.open(out / FILE)
        self._machine = machine

    def note(self, job: str, event: str, seconds: float) -> None:
        """Note that a job ``started`` with so many seconds left, was ``stopped`` or ``ended``.

        ``stopped`` goes with the seconds that it had, ``ended`` with those that it took.
        """
        entry = {"job": job, "machine": self._machine, event: round(seconds, 1)}
        self._file.append(entry | {"at": time.strftime("%Y-%m-%d %H:%M:%S")})

    def is_done(self, job: str) -> bool:
        return "ended" in self._last_end(job)

    def expected(self, job: str, guess: float) -> float:
        """Return how many seconds the job will probably take; ``guess`` if it was never measured."""
        last = self._last_end(job)
        if "stopped" in last:  # it needs more than it had
            return max(guess, last["stopped"] + 1)
        took = [entry["ended"] for entry in self._of(job) if "ended" in entry]
        return took[-1] if took else guess

    def _last_end(self, job: str) -> dict:
        """Return the last end of the job on this machine.

        One that started and then failed, or was interrupted, tells nothing of the time it needs.
        """
        here = [entry for entry in self._of(job) if entry["machine"] == self._machine]
        return next((entry for entry in reversed(here) if "started" not in entry), {})

    def _of(self, job: str) -> list[dict]:
        return [entry for entry in self._file.lines if _job(entry) == job]


def order_of_jobs(out: Path) -> dict[str, int]:
    """Return where each job last stands in the run log of a folder of results."""
    lines = ResultsFile.open(out / FILE).lines
    return {_job(entry): number for number, entry in enumerate(lines)}


def _job(entry: dict) -> str | None:
    # the key of the lines that were written at first
    return entry.get("job", entry.get("visit"))
