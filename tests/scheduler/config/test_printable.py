"""What a log or a process's name may hold, and a terminal must not get."""

from __future__ import annotations

import pytest

from scheduler.config.printable import printable


@pytest.mark.parametrize(
    ("text", "without", "with_marks"),
    [
        ("ein Süßes, 模型", "ein Süßes, 模型", "ein Süßes, 模型"),
        ("\x1b[31mred\x1b[0m", "[31mred[0m", "?[31mred?[0m"),
        ("one\ntwo\ttab\r", "onetwotab", "one?two?tab?"),
        ("\udcff\x00", "", "??"),
        ("", "", ""),
    ],
)
def test_what_stays(text: str, without: str, with_marks: str) -> None:
    assert printable(text) == without
    assert printable(text, "?") == with_marks
