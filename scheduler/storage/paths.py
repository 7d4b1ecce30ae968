"""Every name of every file that the scheduler reads or writes."""

from __future__ import annotations

import os
import stat
from pathlib import Path

PAUSE_WISH = "pause.json"
RELOAD_WISH = "reload.json"


class SweepPaths:
    """The files of one sweep under a root folder (by default the current one)."""

    def __init__(self, root: Path, sweep: str) -> None:
        self.checkpoints = root / "checkpoints" / sweep
        # The digest of each task as its dispatcher read the file.
        self.tasks = self.checkpoints / ".tasks.json"
        # What code its attempts ran.
        self.versions = self.checkpoints / ".versions.jsonl"
        self.logs = root / "logs" / sweep
        self.root = root
        self.lock = self.checkpoints / ".lock"
        # Which sweep file the folder belongs to.
        self.record = self.checkpoints / ".sweep.json"
        # Copies of the code that workers run, for a run with --snapshot.
        self.code = self.checkpoints / ".code"
        # What jobs on a cluster are to run, and their signs of life.
        self.jobs = self.checkpoints / ".jobs"
        # What somebody asks for from another shell.
        self.wishes = self.checkpoints / ".wishes"
        self.journal = self.logs / "journal.jsonl"
        # What the command of `notify` printed.
        self.notify_log = self.logs / ".notify.log"
        # Which measurements a tracker has got, who sends them, and what it printed.
        self.tracked = self.checkpoints / ".tracked.jsonl"
        self.tracking = self.checkpoints / ".tracking.lock"
        self.track_log = self.logs / ".track.log"
        # What Ray's own code printed.
        self.ray_log = self.logs / ".ray.log"
        # Empty, unless a supervisor itself failed.
        self.supervisors = self.logs / ".supervisors.log"

    def make_folders(self) -> None:
        """Create both folders.

        Raises:
            OSError: they cannot be created.
        """
        (self.checkpoints / ".specs").mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(parents=True, exist_ok=True)

    def done(self, task: str) -> Path:
        """Return the checkpoint: durable proof that the task is completed."""
        return self.checkpoints / f"{task}.done"

    def failed(self, task: str) -> Path:
        """Return the record of a task that is out of attempts."""
        return self.checkpoints / f"{task}.failed"

    def results(self, task: str) -> Path:
        """Return the worker's measurements."""
        return self.checkpoints / f"{task}.jsonl"

    def results_of(self, task: str, digest: str) -> Path:
        """Return where measurements wait that were made for something else than the sweep file of today."""
        return self.checkpoints / f"{task}.jsonl.{digest[:16]}"

    def attempts(self, task: str) -> Path:
        """Return the attempts of a task that has not ended; locked while one of them runs."""
        return self.checkpoints / f"{task}.attempts"

    def settings(self, digest: str) -> Path:
        """Return what the settings of that digest were, which checkpoints refer to."""
        return self.checkpoints / ".settings" / f"{digest}.json"

    def spec(self, device: str) -> Path:
        """Return the JSON file that tells the attempt on a device its task."""
        return self.checkpoints / ".specs" / f"{device}.json"

    def wish(self, name: str) -> Path:
        """Return the file of a wish: PAUSE_WISH, RELOAD_WISH, ``stop.TASK.json`` or ``drain.DEVICE.json``."""
        return self.wishes / name

    def log(self, task: str) -> Path:
        """Return the log of the newest attempt."""
        return self.logs / f"{task}.log"

    def largest_file(self) -> tuple[Path, int]:
        """Return the file below both folders that takes the most room, and how many bytes that is."""
        found = [(0, self.logs)]
        for folder in (self.logs, self.checkpoints):
            try:
                with os.scandir(folder) as entries:
                    found += [(room_of(path := Path(entry.path)), path) for entry in entries]
            except OSError:
                continue
        room, path = max(found)
        return path, room

    def old_log(self, task: str, number: int) -> Path:
        """Return the log of an earlier attempt."""
        return self.logs / f"{task}.log.{number}"


def room_of(path: Path) -> int:
    """Return the bytes that a regular file takes on its disk: fewer than its size where it has holes."""
    try:
        state = path.lstat()
    except OSError:
        return 0
    return state.st_blocks * 512 if stat.S_ISREG(state.st_mode) else 0


def size_of(path: Path) -> int:
    """Return a regular file's size in bytes; what is none, or cannot be seen, has none."""
    try:
        state = path.lstat()
    except OSError:
        return 0
    return state.st_size if stat.S_ISREG(state.st_mode) else 0
