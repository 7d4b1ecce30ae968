"""What several commands share: the user's mistakes, the sweep's lock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scheduler.config.matrix.choice import NoSuchTask, choose
from scheduler.config.sweep import Sweep, Task
from scheduler.storage.locks import LocksNotKept, SweepHeld, SweepLock
from scheduler.storage.paths import SweepPaths
from scheduler.storage.regular_files import NotRegular


class UserError(Exception):
    """Something the user must fix: the message is one clear sentence."""

    def __init__(self, message: str, exit_code: int = 2) -> None:
        self.exit_code = exit_code
        super().__init__(message)


def chosen(sweep: Sweep, words: Sequence[str]) -> tuple[Task, ...]:
    """Return the tasks that words of the command line mean; without words, all.

    Raises:
        UserError: a word means none.
    """
    try:
        return choose(sweep, words) if words else sweep.tasks
    except NoSuchTask as error:
        raise UserError(str(error)) from None


def lock_sweep(
    sweep: Sweep, paths: SweepPaths, holder: Mapping[str, Any] | None = None
) -> SweepLock:
    """Take the sweep for this process, until it dies.

    Args:
        holder: what others are to find in the lock's file.

    Raises:
        UserError: another dispatcher holds it (exit code 3), or the folders cannot be written or locked.
    """
    try:
        paths.make_folders()
        return SweepLock(paths.lock, holder)
    except SweepHeld:
        raise UserError(
            f"another dispatcher holds the sweep {sweep.name!r} ({paths.checkpoints}); "
            "`python -m scheduler status` shows what it does",
            exit_code=3,
        ) from None
    except LocksNotKept as error:
        raise UserError(
            f"{paths.checkpoints}: this file system keeps no locks (flock: {error.strerror}); "
            "put checkpoints on another one (--root DIR)"
        ) from None
    except NotRegular as error:
        raise UserError(f"{error.filename}: {error.strerror}; remove it") from None
    except OSError as error:
        raise UserError(
            f"{error.filename or paths.checkpoints}: {error.strerror}; checkpoints and logs must be writable "
            "(--root DIR puts them elsewhere)"
        ) from None
