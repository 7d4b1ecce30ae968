"""Whether a dispatcher runs, which its lock alone tells, and how the sweep file differs from what it read."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass

from scheduler.config.matrix.choice import NoSuchTask, choose
from scheduler.config.sweep import Sweep
from scheduler.core.progress import SweepProgress
from scheduler.core.snapshot import DONE, Holder
from scheduler.devices.processes import start_ticks
from scheduler.storage.json_files import as_number, read_object
from scheduler.storage.locks import is_held
from scheduler.storage.paths import SweepPaths
from scheduler.storage.sweep_record import read_tasks

_LEAST_ROOM = 1 << 16  # bytes; what the dispatcher asks for before it goes on
NEW = "not in the running sweep: the file has changed since the dispatcher read it"
CHANGED = "the running dispatcher takes it as the file was when it read it"
REMOVED = "no longer in the file; the running dispatcher goes on with it"


@dataclass(frozen=True, slots=True)
class LockLook:
    """What a sweep's lock says at one moment."""

    # None: there is no file, or it cannot be looked at.
    held: bool | None
    # Who signed it last.
    signed: Holder | None
    # `Sweep.fingerprint` as that one read the file; None: it does not say.
    fingerprint: str | None
    # Which tasks alone it took, in its user's words, and how many it left out.
    only: tuple[str, ...] = ()
    left_out: int = 0

    @classmethod
    def at(cls, paths: SweepPaths) -> LockLook:
        """Look at the lock."""
        held = is_held(paths.lock)
        content = read_object(paths.lock) or {}
        pid, ticks = content.get("pid"), content.get("start_ticks")
        at, fingerprint = as_number(content.get("at")), content.get("fingerprint")
        signed = None
        if isinstance(pid, int) and isinstance(ticks, int) and at is not None:
            signed = Holder(pid, ticks, min(max(0.0, at), time.time()))
        only, left_out = content.get("only"), as_number(content.get("left_out"))
        words = tuple(map(str, only)) if isinstance(only, list) else ()
        known = fingerprint if isinstance(fingerprint, str) else None
        return cls(held, signed, known, words, int(left_out or 0) if words else 0)

    def tell_left_out(self, progress: SweepProgress, sweep: Sweep) -> None:
        """Add to the progress what the newest run was told to leave out."""
        progress.only, progress.left_out = self.only, self.left_out
        if not self.only:
            return
        try:
            taken = {task.id for task in choose(sweep, self.only)}
        except NoSuchTask:
            return  # the file has changed since
        progress.left_out = len(sweep.tasks) - len(taken)
        for task in sweep.tasks if progress.holder is not None else ():
            progress.tasks[task.id].left_out = task.id not in taken

    def holder(self, told: Holder | None) -> Holder | None:
        """Return the dispatcher that runs, or None.

        The lock says whether there is one, even where the journal tells of none, or of one that died. Where
        its file was removed, which ends no dispatcher, it is the process that was last heard of, if it lives.

        Args:
            told: the dispatcher that the journal tells of.
        """
        alive = next((who for who in (self.signed, told) if who is not None and _lives(who)), None)
        match self.held:
            case True:
                return self.signed or alive or Holder(None, 0, time.time())
            case False:
                return None
            case None:
                return alive


@dataclass(frozen=True, slots=True)
class FileChanges:
    """How the sweep file differs from what the running dispatcher read: the notes of its tasks."""

    # By task; of one that is no longer in the file, too.
    notes: Mapping[str, str]

    @classmethod
    def of(cls, look: LockLook, sweep: Sweep, paths: SweepPaths) -> FileChanges | None:
        """Return the changes; None: there are none, no dispatcher runs, or it did not say what it read."""
        if not look.held or look.fingerprint in (None, sweep.fingerprint):
            return None
        before = read_tasks(paths, look.fingerprint)
        if before is None:
            return cls({})
        today = {task.id: sweep.digest(task) for task in sweep.tasks}
        notes = {name: REMOVED for name in before if name not in today}
        for name, digest in today.items():
            if before.get(name) != digest:
                notes[name] = CHANGED if name in before else NEW
        return cls(notes)

    @property
    def removed(self) -> list[str]:
        """Return the tasks that the dispatcher has and the file has no more."""
        return [name for name, note in self.notes.items() if note == REMOVED]

    def tell(self, progress: SweepProgress) -> None:
        """Add to the tasks' views what is to be said of them."""
        progress.file_changed = True
        for name, note in self.notes.items():
            if name in progress.tasks and progress.tasks[name].state != DONE:
                progress.tasks[name].note = note


def full_disk(paths: SweepPaths) -> str | None:
    """Return why files cannot be written, as far as it can be seen without writing; None: there is room.

    Of a disk that was full when the dispatcher started, its journal has no word.
    """
    for folder in (paths.checkpoints, paths.logs):
        try:
            room, owner = os.statvfs(folder), paths.lock.stat().st_uid
        except OSError:
            continue
        blocks = (
            room.f_bavail if owner else room.f_bfree
        )  # what is kept for root, others cannot use
        if blocks * room.f_frsize < _LEAST_ROOM:
            return f"{folder}: No space left on device"
    return None


def _lives(holder: Holder) -> bool:
    """Say whether the dispatcher that wrote the event still runs (its pid may be another's by now)."""
    if holder.pid is None:
        return False
    try:
        return start_ticks(holder.pid) == holder.start_ticks
    except OSError:
        return False
