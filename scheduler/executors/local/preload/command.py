"""Which module is loaded for a command, and how the command runs by it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

OWN_PRELOAD = "worker.commands.preloaded"
_OWN_PROGRAM = ("worker", "__main__.py")


@dataclass(frozen=True, slots=True)
class Loading:
    """What is loaded, by which Python, and where that looks for modules."""

    program: str
    module: str
    # The first entry of the module search path.
    path: str
    # How many of a command's words name the program; those behind them are its arguments.
    own_words: int

    @classmethod
    def of(cls, words: Sequence[str], setting: str, folder: Path) -> Loading | None:
        """Return what is loaded for attempts that are started by these words; None: nothing is.

        Args:
            words: the first of them a program's path.
            setting: the sweep file's ``worker.preload``.
            folder: where they are started.
        """
        if setting == "off" or len(words) < 2:
            return None
        script = folder / words[1]
        if (
            script.parts[-2:] == _OWN_PROGRAM
        ):  # this project's worker, or that of a copy of the code
            root, module = script.parent.parent, OWN_PRELOAD if setting == "auto" else setting
            there = root.joinpath(*OWN_PRELOAD.split(".")).with_suffix(".py").is_file()
            return cls(words[0], module, str(root), 2) if there else None
        if setting == "auto":
            return None
        if words[1] == "-m":
            return cls(words[0], setting, str(folder), 3) if len(words) > 2 else None
        if words[1].startswith("-"):
            return None
        return cls(words[0], setting, os.path.dirname(os.path.realpath(script)), 2)
