"""A report's rows as CSV and Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from scheduler.config.printable import printable
from scheduler.views.answers import Estimate

_PLAIN = (
    "sweep",
    "task",
    "label",
    "role",
    "status",
    "bound",
    "speed",
    "best",
    "more_images",
    "device",
)
_ENDS = ("", "_low", "_high")


def flat(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    """Return names of columns, and the rows: each metric and its interval has columns of its own."""
    names = list(dict.fromkeys(name for row in rows for name in row["metrics"]))
    parameters = list(dict.fromkeys(name for row in rows for name in row["parameters"]))
    columns = [*_PLAIN, *parameters, *(f"{name}{end}" for name in names for end in _ENDS)]
    return [_text(name) for name in columns], [
        [
            *(_text(row[name]) for name in _PLAIN),
            *(row["parameters"].get(name) for name in parameters),
            *(end for name in names for end in _with_ends(row["metrics"].get(name))),
        ]
        for row in rows
    ]


def _with_ends(metric: Estimate | None) -> tuple[float | None, ...]:
    return (None, None, None) if metric is None else (metric.value, metric.low, metric.high)


def _text(value: Any) -> Any:
    """Return a text as UTF-8 can have it: a lone surrogate, as a label may hold it, is written out."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def as_csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return a line for each row, as UTF-8."""
    columns, lines = flat(rows)
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(printable(name, " ") for name in columns)
    writer.writerows(
        [printable(cell, " ") if isinstance(cell, str) else cell for cell in line] for line in lines
    )
    return stream.getvalue().encode()


def as_parquet(rows: Sequence[Mapping[str, Any]]) -> bytes | None:
    """Return the same as Parquet, or None where pyarrow is not installed."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        return None
    columns, lines = flat(rows)
    values = zip(*lines, strict=True) if lines else ([] for _ in columns)
    table = pyarrow.table(
        {name: list(column) for name, column in zip(columns, values, strict=True)}
    )
    stream = io.BytesIO()
    parquet.write_table(table, stream)
    return stream.getvalue()
