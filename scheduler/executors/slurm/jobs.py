"""An attempt on Slurm as its dispatcher knows it."""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.executors.cluster.files import JobFiles
from scheduler.executors.slurm.arrays import Element
from scheduler.executors.slurm.fate import Doubt
from scheduler.storage.attempts_file import StartLine


@dataclass(slots=True)
class Job:
    """An attempt that a job of Slurm's is to take, or has taken; only the engine's thread changes it."""

    task: str
    start: StartLine | None
    files: JobFiles
    # Another dispatcher began it.
    adopted: bool = False
    # Its order was taken.
    taken: bool = False
    # By whom, where that is known.
    element: Element | None = None
    # What it has told.
    begun: bool = False
    # So many bytes of its answers have been heard.
    heard: int = 0
    # Slurm has ended it for its time limit.
    out_of_time: bool = False
    doubt: Doubt | None = None
    # Why it waits, as was last told, and when (monotonic).
    reason: str = ""
    told: float = 0.0
