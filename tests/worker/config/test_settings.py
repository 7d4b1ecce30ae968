"""The timing section: how long is measured, as a sweep file says it."""

from __future__ import annotations

from typing import Any

import pytest

from worker.config.settings import Timing
from worker.search.section import Search, read_search


@pytest.mark.parametrize(
    ("section", "stopping"),
    [
        ({}, {}),
        ({"repeats": 4}, {}),
        ({"precision": None}, {}),
        ({"precision": "2%"}, {"precision": 0.02, "at_most": 600.0}),
        ({"precision": "2%", "at_most": None}, {"precision": 0.02, "at_most": 600.0}),
        ({"precision": 0.02, "at_most": "1h30m"}, {"precision": 0.02, "at_most": 5400.0}),
    ],
)
def test_what_ends_the_rounds(section: dict[str, Any], stopping: dict[str, float]) -> None:
    timing = Timing.model_validate(section)
    assert timing.stopping == stopping
    search = Search(timing=timing)
    # as a row's `reproduce` has it
    assert Search.model_validate(search.model_dump(mode="json", exclude_defaults=True)) == search


@pytest.mark.parametrize(
    ("section", "key", "words"),
    [
        ({"precision": "0%"}, ".precision", "expected more than 0% and less than 100%"),
        ({"precision": 2}, ".precision", "as 2% or 0.02, found 2"),
        ({"precision": "good"}, ".precision", "as 2% or 0.02, found 'good'"),
        ({"precision": True}, ".precision", "as 2% or 0.02, found True"),
        ({"precision": "2%", "at_most": 600}, ".at_most", "600 is not a duration: write a number"),
        (
            {"precision": "2%", "at_most": "0s"},
            ".at_most",
            "expected from 1ms to 10000d, found '0s'",
        ),
        ({"precision": "2%", "at_most": "10001d"}, ".at_most", "from 1ms to 10000d"),
        ({"repeats": 10**20}, ".repeats", "less than or equal to 1000000"),
        ({"warmup": 10**20}, ".warmup", "less than or equal to 1000000"),
        ({"block": 10**20}, ".block", "less than or equal to 1000000"),
        ({"precision": "2%", "at_most": f"{'9' * 400}d"}, ".at_most", "is too large a number"),
        ({"precision": f"{'9' * 5000}%"}, ".precision", "9999…"),
        ({"at_most": "10m"}, "", "name a precision too, such as 2%"),
    ],
)
def test_what_is_wrong_is_one_sentence(section: dict[str, Any], key: str, words: str) -> None:
    search, problems = read_search({"timing": section})
    assert search is None
    ((found, message),) = problems
    assert found == f"search.timing{key}"
    assert words in message
    assert len(message) < 500
