"""Names that do not fit: what gives way is their middle, since tasks differ at their ends."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size

_LEAST = 5  # columns; of fewer nothing is recognised


def shortened(name: str, width: int) -> str:
    """Return a name in at most so many columns, its middle replaced by one sign.

    >>> shortened("SHAPES_SDXL_DPM_25", 11)
    'SHAPE…PM_25'
    """
    if cell_len(name) <= width:
        return name
    room = max(_LEAST, width) - 1
    head = set_cell_size(name, room - room // 2).rstrip()
    tail = set_cell_size(name[::-1], room // 2).rstrip()[::-1]
    return f"{head}…{tail}"
