"""``status --watch``: the picture of a sweep, drawn again and again by whoever looks."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from types import FrameType

from rich.console import Group
from rich.live import Live

from scheduler.cli.common import UserError
from scheduler.views.console import WideConsole

_PAUSE = 2.0  # seconds between two looks; where a look takes long, five times as long as it took
_PAUSES_PER_LOOK = 5


def watch(draw: Callable[[int, int], Group]) -> int:
    """Keep what ``draw`` returns for a terminal's columns and lines on the screen until Ctrl-C or a signal.

    The terminal's other screen is used, so that what stood on it comes back whatever ends this.

    Raises:
        UserError: standard output is no terminal.
    """
    if not sys.stdout.isatty():
        raise UserError("--watch redraws a terminal, and standard output is none; leave it out")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    console = WideConsole()
    try:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                begun = time.monotonic()
                live.update(draw(console.width, console.height), refresh=True)
                took = time.monotonic() - begun
                time.sleep(max(_PAUSE, took * _PAUSES_PER_LOOK))
    except KeyboardInterrupt:
        return 130


def _leave(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)
