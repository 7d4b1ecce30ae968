"""The console that tables are printed on."""

from __future__ import annotations

import sys

from rich.console import Console


class WideConsole(Console):
    """A console that does not fold tables at 80 columns when its output goes to a file."""

    def __init__(self) -> None:
        # What is printed holds names that others chose: none of it is markup.
        super().__init__(
            width=None if sys.stdout.isatty() else 180, highlight=False, markup=False, emoji=False
        )

    def on_broken_pipe(self) -> None:
        """Leave it to the caller; rich's own way is to exit with 1."""
        raise BrokenPipeError
