"""Text from elsewhere, made fit for a terminal."""

from __future__ import annotations

import re

# What a program sends to colour, to move about, to name the window (ECMA-48: CSI, OSC, the others).
ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")


def printable(text: str, instead: str = "") -> str:
    """Return a text without what a terminal would act upon, or cannot show; ``instead`` takes its place.

    Logs, paths and names of processes may hold anything: escape sequences, line ends, half characters.
    """
    return "".join(letter if letter.isprintable() else instead for letter in text)
