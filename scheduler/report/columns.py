"""Rows of one form as columns: a key stands once, and so does a text that many rows have.

A column is one of five, and `values` in page.js is the other half:

* ``{"same": value}``: of all rows;
* ``{"numbers": […], "decimals": n}``: for each row its value times 10 to the nth, null where there is none;
* ``{"texts": […], "rows": […]}``: the values that there are, and for each row which of them it has;
* ``{"objects": {key: column}}``: mappings, whose absent keys are absent again;
* ``{"interval": [column, column, column]}``: values, and how far the ends of their intervals lie off.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from scheduler.views.answers import Estimate

_Column = dict[str, Any]
# A bound is held against a loss by its interval's ends; of all other figures the page shows four digits, and
# of an interval it draws two.
_DIGITS = {"loss": 6, "speedup": 6}
_SHOWN, _DRAWN = 4, 2
_MOST_DECIMALS = 15


def as_columns(rows: Sequence[dict[str, Any]]) -> _Column:
    """Return rows as one column of mappings, with their number."""
    keys = dict.fromkeys(key for row in rows for key in row)
    columns = {
        key: _column([row.get(key) for row in rows], _DIGITS.get(key, _SHOWN)) for key in keys
    }
    return {"length": len(rows), "objects": columns}


def _column(values: Sequence[Any], digits: int) -> _Column:
    there = [value for value in values if value is not None]
    if not there:
        return {"same": None}
    if all(isinstance(value, dict) for value in there):
        keys = dict.fromkeys(key for value in there for key in value)
        return {
            "objects": {
                key: _column([None if one is None else one.get(key) for one in values], digits)
                for key in keys
            }
        }
    if all(isinstance(value, Estimate) for value in there):
        middles = [None if one is None else one.value for one in values]
        below = [None if one is None else _distance(one.value, one.low) for one in values]
        above = [None if one is None else _distance(one.high, one.value) for one in values]
        return {
            "interval": [_column(middles, digits), _column(below, _DRAWN), _column(above, _DRAWN)]
        }
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in there):
        return _numbers(values, digits)
    return _texts(values)


def _distance(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _numbers(values: Sequence[float | None], digits: int) -> _Column:
    """Return numbers of so many digits, without points where that is shorter."""
    short = [
        value if value is None or isinstance(value, int) else float(f"{value:.{digits}g}")
        for value in values
    ]
    sizes = [abs(value) for value in short if value]
    # A hundred times the smallest has more digits so than its point and leading 0 take.
    if all(float(size).is_integer() for size in sizes) or max(sizes) > 100 * min(sizes):
        return {"numbers": short, "decimals": 0}
    decimals = digits - 1 - math.floor(math.log10(min(sizes)))
    decimals = min(max(decimals, -_MOST_DECIMALS), _MOST_DECIMALS)
    by = 10.0**decimals
    return {
        "numbers": [None if value is None else round(value * by) for value in short],
        "decimals": decimals,
    }


def _texts(values: Sequence[Any]) -> _Column:
    found: dict[str, int] = {}
    rows = [found.setdefault(json.dumps(value), len(found)) for value in values]
    if len(found) == 1:
        return {"same": values[0]}
    return {"texts": [json.loads(text) for text in found], "rows": rows}
