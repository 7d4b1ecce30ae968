"""What /proc shows of a forked process: its own command line and environment in place of its parent's.

Both lie in memory that the kernel set aside when the program was started, and that `ps`, and who looks for
what an attempt left behind, read to this day. So a forked process writes there what it really is. Standard
library only.
"""

from __future__ import annotations

import ctypes
import os

TYPE_CHECKING = False  # as typing's, which takes long to import
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Set aside by whoever starts the program, so that longer words and more variables have room.
ROOM = 16384  # bytes, of each
ROOM_VARIABLE = "SCHEDULER_ROOM"
# Before all others, should there be no room: by these, attempts are found.
_FIRST = ("SWEEP_", "CUDA_")
_ARG_START = 45  # fields of /proc/PID/stat behind the name; see proc(5), where they are 48 to 51


class Shown:
    """Where the kernel keeps what it shows of this process, and of those that are forked from it."""

    def __init__(self) -> None:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        words, words_end, variables, variables_end = map(int, fields[_ARG_START : _ARG_START + 4])
        self._words = (words, words_end - words)
        self._variables = (variables, variables_end - variables)

    @property
    def is_known(self) -> bool:
        """Whether the kernel says where it is: a hardened one does not."""
        return min(*self._words, *self._variables) > 0

    def show_words(self, words: Sequence[str]) -> None:
        """Show a command line."""
        _write(self._words, [os.fsencode(word) for word in words])

    def show_variables(self, environment: Mapping[str, str], *, of_attempt: bool = True) -> None:
        """Show an environment. Nothing that the C library has of its own may lie there any more.

        Args:
            environment: of this process.
            of_attempt: an attempt runs here, and is to be found by its variables.
        """
        shown = [name for name in environment if of_attempt or not name.startswith("SWEEP_")]
        names = sorted(shown, key=lambda name: not name.startswith(_FIRST))
        _write(self._variables, [os.fsencode(f"{name}={environment[name]}") for name in names])


def _write(place: tuple[int, int], texts: Sequence[bytes]) -> None:
    """Write texts, each ended by a NUL, and NULs behind them; those that have no room are left out."""
    start, room = place
    data = b""
    for text in texts:
        if len(data) + len(text) < room:
            data += text + b"\0"
    ctypes.memmove(start, data.ljust(room, b"\0"), room)
