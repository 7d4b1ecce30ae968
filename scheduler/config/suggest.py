"""The valid name that a wrong one was probably meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


def nearest(word: object, names: Sequence[str]) -> str:
    """Return ``; did you mean X?`` or ``; known: …``, to end a sentence about an unknown name."""
    close = difflib.get_close_matches(str(word), names, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(names)}"
