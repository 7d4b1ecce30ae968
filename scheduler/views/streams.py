"""Standard output, which may be closed, lack letters, or lose its reader (``| head``)."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator


def open_streams() -> None:
    """Make the standard streams fit to be used, before any file is opened.

    A closed one (``>&-``) leads nowhere from now on: the next file to be opened would get its number,
    and what is meant for a terminal would be written into it. What an encoding lacks becomes ``?``.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # It gets the lowest free number, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


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
