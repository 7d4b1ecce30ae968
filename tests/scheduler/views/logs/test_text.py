"""What workers print, made harmless for a terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.views.logs.text import LogText, harmless


def in_pieces(text: LogText, data: bytes, size: int) -> str:
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    out = [part for piece in pieces for part in (*text.feed(piece), text.pause())]
    return "".join((*out, *text.end()))


@given(st.binary(), st.integers(1, 9))
def test_nothing_comes_out_that_a_terminal_acts_upon(data: bytes, size: int) -> None:
    for text in (LogText(), LogText("a | ")):
        out = in_pieces(text, data, size)
        assert all(c in "\t\r\n" or unicodedata.category(c)[0] != "C" for c in out)


@pytest.mark.parametrize("size", range(1, 12))
def test_escape_sequences_leave_nothing_behind_however_they_are_cut(size: int) -> None:
    data = "\x1b[1;31mred\x1b[0m\x1b]0;title\x07 é\x9b2J\tend".encode()
    assert in_pieces(LogText(), data, size) == "red é2J\tend"


def test_a_log_comes_out_as_it_is() -> None:
    log = "one\n10%\r20%\rdone\n\nno end"
    assert in_pieces(LogText(), log.encode(), 3) == log


def test_lines_of_several_come_out_whole() -> None:
    log = b"one\n10%\r20%\r\ntwo\r\n\nno end"
    out = "a | one\na | 20%\na | two\na | \na | no end\n"
    assert in_pieces(LogText("a | "), log, 3) == out


def test_a_line_that_never_ends_is_not_held_back_for_ever() -> None:
    for text in (LogText(), LogText("a | ")):
        assert len("".join(text.feed(b"x" * 100_000))) >= 100_000


def test_blanks_stay_blanks() -> None:
    assert harmless("a\u3000b\u2028c\x00d") == "a b cd"
