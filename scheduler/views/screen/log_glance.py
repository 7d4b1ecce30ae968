"""What the end of a running task's log tells: how far it is, in its own words, and its last line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from scheduler.views.logs.ends import lines_from_behind

_END = 1 << 14  # bytes that are looked through
_PROGRESS = re.compile(r"progress: (.+)")
_PAIR = re.compile(r"(\d{1,9}) of (\d{1,9})\b")
_MOST_PARTS = 3


@dataclass(frozen=True, slots=True)
class LogGlance:
    """The end of a log."""

    # What the newest line that begins with ``progress:`` says; empty: there is none.
    progress: str = ""
    # The last line that is not empty, less lines of progress.
    last: str = ""

    @property
    def parts(self) -> list[tuple[int, int]]:
        """How many of how many, the whole first, then what its next part consists of."""
        pairs = ((int(done), int(of)) for done, of in _PAIR.findall(self.progress))
        return [(done, of) for done, of in pairs if 0 < of >= done][:_MOST_PARTS]

    @property
    def share(self) -> float | None:
        """The share that is done, 0 to 1: of ``3 of 9 …, 16 of 64 …`` (3 + 16/64) / 9. None: not told."""
        share: float | None = None
        for done, of in reversed(self.parts):
            share = min(1.0, (done + (share or 0.0)) / of)
        return share

    @property
    def in_short(self) -> str:
        """The same in few columns, such as ``3/9 16/64``."""
        return " ".join(f"{done}/{of}" for done, of in self.parts)


def glance_at(log: Path) -> LogGlance:
    """Return what the end of a log tells; nothing where there is none."""
    progress = last = ""
    for line in lines_from_behind(log, _END):
        if (told := _PROGRESS.match(line)) is not None:
            progress = progress or told[1]
        last = last or ("" if told else line)
        if progress and last:
            break
    return LogGlance(progress, last)
