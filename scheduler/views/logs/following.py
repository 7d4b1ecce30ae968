"""Logs of tasks, read on as they grow: the newest attempt's, then those of the attempts that follow."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from scheduler.storage.attempts_file import is_locked
from scheduler.storage.checkpoints import logs_by_task
from scheduler.storage.locks import is_held
from scheduler.storage.paths import SweepPaths
from scheduler.storage.regular_files import open_binary
from scheduler.views.logs.ends import go_to_last

_BLOCK = 1 << 16  # bytes
NEXT_ATTEMPT: Final = None  # stands between the logs of two attempts


class Follower:
    """One task's logs; each look yields what has come since the one before.

    A log whose task has ended with it is closed, so that many tasks can be followed; it is told from the
    next attempt's by the number that it has by then.
    """

    def __init__(
        self, paths: SweepPaths, task: str, logs: Sequence[Path], lines: int | None
    ) -> None:
        """Begin with the last lines of the newest of its logs; None: with all of it."""
        self.task = task
        # How the task ended, once no process can write a log of it any more.
        self.ended: str | None = None
        self._paths, self._log, self._lines = paths, paths.log(task), lines
        # The number under which the log before the open one, or the closed one, is kept.
        self._passed = max(_numbers(logs), default=0)
        self._file: BinaryIO | None = None
        # A log of it was opened.
        self.begun = False

    def look(self, logs: Sequence[Path], *, alone: bool) -> Iterator[bytes | None]:
        """Yield what is new, `NEXT_ATTEMPT` between two logs; ``ended`` is set if nothing can follow.

        Args:
            logs: those of this task that were seen before this look.
            alone: no dispatcher ran then.

        Raises:
            NotRegular: something else than a file is there.
        """
        if self._file is None and not self._has_news(logs):
            self.ended = how_it_ended(self._paths, self.task) if alone else None
            return
        ended = how_it_ended(
            self._paths, self.task
        )  # first: what is seen then is all there will be
        news = True
        while news:
            news = self._file is None or _is_replaced(self._log, self._file)
            while self._file is not None and (chunk := self._file.read(_BLOCK)):
                yield chunk
            if news:
                begun = self.begun
                news = self._open_next()
                if news and begun:
                    yield NEXT_ATTEMPT
        if ended is not None:
            self.ended = ended if alone else None
            self._close()

    def _has_news(self, logs: Sequence[Path]) -> bool:
        if not self.begun:
            return bool(logs)
        later = [number for number in _numbers(logs) if number > self._passed]
        if later:
            self._passed = min(later)  # that of the closed one
        return bool(later)

    def _open_next(self) -> bool:
        """Open the log after the one that is open, if there is one; a short attempt's has its number then."""
        while True:
            later = self._later()
            following = _open(self._paths.old_log(self.task, later[0]) if later else self._log)
            if following is None:
                return False
            told = self._file is not None and os.path.sameopenfile(
                self._file.fileno(), following.fileno()
            )
            renamed = not later and bool(self._later())  # while we looked
            self._passed = later[0] if later else self._passed
            if not told and not renamed:
                break
            following.close()
            if told and not later:
                return False
        if self._lines is not None:
            go_to_last(following, self._lines)
            self._lines = None
        self._close()  # only now: as long as it is open, no other file gets its inode
        self._file, self.begun = following, True
        return True

    def _later(self) -> list[int]:
        logs = logs_by_task(self._log.parent).get(self.task, ())
        return [number for number in _numbers(logs) if number > self._passed]

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def look_at_all(
    followers: Iterable[Follower], paths: SweepPaths
) -> Iterator[tuple[Follower, bytes | None]]:
    """Yield once what is new in the logs of all; see `Follower.look`."""
    alone = not is_held(paths.lock)
    logs = logs_by_task(paths.logs)
    for follower in followers:
        for chunk in follower.look(logs.get(follower.task, ()), alone=alone):
            yield follower, chunk


def how_it_ended(paths: SweepPaths, task: str) -> str | None:
    """Return how a task ended of which no attempt runs, or None."""
    if is_locked(paths.attempts(task)):
        return None
    if os.path.lexists(paths.done(task)):
        return "completed"
    return "failed" if os.path.lexists(paths.failed(task)) else None


def _numbers(logs: Iterable[Path]) -> list[int]:
    """Return the numbers under which those of earlier attempts are kept, the lowest first."""
    ends = (log.name.rpartition(".")[2] for log in logs)
    return sorted(int(end) for end in ends if end.isdecimal())


def _open(path: Path) -> BinaryIO | None:
    try:
        return open_binary(path)
    except FileNotFoundError:
        return None


def _is_replaced(log: Path, file: BinaryIO) -> bool:
    try:
        return not os.path.samestat(log.lstat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False  # renamed; the next attempt's log comes soon
