"""Rows as columns: their size, and what stands in them."""

from __future__ import annotations

import json
import random
from typing import Any

from scheduler.report.columns import as_columns
from scheduler.views.answers import Estimate


def unpacked(column: dict[str, Any], length: int) -> list[Any]:
    """Do what page.js does."""
    if "same" in column:
        return [column["same"]] * length
    if "numbers" in column:
        by = 10.0 ** column["decimals"]
        return [None if one is None else one / by for one in column["numbers"]]
    if "texts" in column:
        return [column["texts"][one] for one in column["rows"]]
    if "interval" in column:
        return list(zip(*(unpacked(one, length) for one in column["interval"]), strict=True))
    parts = {key: unpacked(one, length) for key, one in column["objects"].items()}
    return [{key: part[one] for key, part in parts.items()} for one in range(length)]


def test_what_stands_in_columns_is_what_stood_in_the_rows() -> None:
    rows = [
        {"label": "a", "best": True, "count": 64, "loss": {"value": 0.0123456789, "low": None}},
        {"label": "b", "best": False, "count": 7, "loss": None},
        {"label": "a", "best": False, "count": None, "loss": {"value": -1.5, "low": -2.0}},
    ]
    packed = json.loads(json.dumps(as_columns(rows)))
    first, second, third = unpacked(packed, packed["length"])
    assert first == {
        "label": "a",
        "best": True,
        "count": 64,
        "loss": {"value": 0.0123457, "low": None},
    }
    assert second["loss"] == {"value": None, "low": None}
    assert (third["count"], third["loss"]["value"]) == (None, -1.5)


def test_figures_have_the_digits_that_are_shown() -> None:
    figures = [0.0001234567, 0.001, 1.0, 3.0, 98765.4321]
    packed = as_columns([{"seconds": one} for one in figures])
    assert [one["seconds"] for one in unpacked(packed, 5)] == [0.0001235, 0.001, 1.0, 3.0, 98770.0]
    packed = as_columns([{"memory": one} for one in (14_123_456_789.5, 9e9)])
    assert [round(one["memory"], -5) for one in unpacked(packed, 2)] == [14_120e6, 9e9]


def test_ends_of_intervals_stay_where_they_are() -> None:
    rows = [{"psnr": Estimate(22.0, 21.5, 22.25)}, {"psnr": Estimate(23.0)}, {"psnr": None}]
    one, other, none = (row["psnr"] for row in unpacked(as_columns(rows), 3))
    assert one == (22.0, 0.5, 0.25)
    assert (other, none) == ((23.0, None, None), (None, None, None))


def test_ten_thousand_rows_leave_a_page_below_eight_megabytes() -> None:
    chance = random.Random(0)

    def estimate(half: float) -> Estimate:
        value = 1 + chance.random()
        return Estimate(value, value - half, value + half)

    rows = [
        {
            "task": f"task {number % 400}",
            "label": f"DeepCache {number // 400}",
            "command": "python -m worker search " + "x" * 300,
            "metrics": {
                **{f"measured {one}": estimate(0.1) for one in range(8)},
                **{f"counted {one}": Estimate(chance.random()) for one in range(20)},
            },
        }
        for number in range(10_000)
    ]
    library = 4_900_000  # bytes of plotly
    assert len(json.dumps(as_columns(rows), separators=(",", ":"))) + library < 8e6
