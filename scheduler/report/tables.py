"""A report's rows as CSV and Parquet."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scheduler.config.printable import printable

_PLAIN = ("sweep", "task", "label", "role", "status", "bound", "speed", "best", "more_images")
_ENDS = ("", "_low", "_high")


def flat(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    """Return names of columns, and the rows: each metric and its interval has columns of its own."""
    names = list(dict.fromkeys(name for row in rows for name in row["metrics"]))
    parameters = list(dict.fromkeys(name for row in rows for name in row["parameters"]))
    nothing = [None, None, None]
    columns = [*_PLAIN, *parameters, *(f"{name}{end}" for name in names for end in _ENDS)]
    return columns, [
        [
            *(row[name] for name in _PLAIN),
            *(row["parameters"].get(name) for name in parameters),
            *(number for name in names for number in row["metrics"].get(name, nothing)),
        ]
        for row in rows
    ]


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a line for each row.

    Raises:
        OSError: it cannot be written.
    """
    columns, lines = flat(rows)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(printable(name, " ") for name in columns)
        writer.writerows(
            [printable(cell, " ") if isinstance(cell, str) else cell for cell in line]
            for line in lines
        )


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Write the same as Parquet; return whether pyarrow is there to do it.

    Raises:
        OSError: it cannot be written.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        return False
    columns, lines = flat(rows)
    values = zip(*lines, strict=True) if lines else ([] for _ in columns)
    table = pyarrow.table(
        {name: list(column) for name, column in zip(columns, values, strict=True)}
    )
    parquet.write_table(table, path)
    return True
