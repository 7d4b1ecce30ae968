"""Standard output, whose reader may leave before the end (``| head``, a terminal that was closed)."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from rich.console import Console


@contextlib.contextmanager
def reader_may_leave() -> Iterator[None]:
    """Send nowhere what is still to be written once standard output takes no more."""
    try:
        yield
    except OSError:
        discard_output()


def discard_output() -> None:
    """Send nowhere what is still to be written to standard output."""
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


class WideConsole(Console):
    """A console that does not fold tables at 80 columns when its output goes to a file."""

    def __init__(self) -> None:
        super().__init__(width=None if sys.stdout.isatty() else 180)

    def on_broken_pipe(self) -> None:
        """Leave it to the caller; rich's own way is to exit with 1."""
        raise BrokenPipeError
