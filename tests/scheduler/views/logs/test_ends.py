"""The ends of logs, found from behind."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import scheduler.views.logs.ends
from scheduler.views.logs.ends import go_to_last, last_line


@pytest.mark.parametrize(
    ("content", "lines", "rest"),
    [
        *((b"abc", 0, b""), (b"", 0, b""), (b"abc\n", 0, b""), (b"a\nb", 1, b"b")),
        *((b"", 1, b""), (b"a\n\n\n", 1, b"\n"), (b"a\nb\n", 1, b"b\n"), (b"a\nb", 9, b"a\nb")),
    ],
)
def test_the_last_lines(content: bytes, lines: int, rest: bytes) -> None:
    file = io.BytesIO(content)
    go_to_last(file, lines)
    assert file.tell() <= len(content)  # what is appended next is not jumped over
    assert file.read() == rest


@given(st.lists(st.sampled_from([b"\n", b"a", b"bcd"])).map(b"".join), st.integers(0, 9))
def test_the_last_lines_over_any_border(content: bytes, lines: int) -> None:
    file = io.BytesIO(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduler.views.logs.ends, "_BLOCK", 3)
        go_to_last(file, lines)
    all_lines = content.splitlines(keepends=True)
    assert file.read() == b"".join(all_lines[len(all_lines) - min(lines, len(all_lines)) :])


def test_of_an_endless_line_only_an_end_is_read(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    size = 1 << 40
    with log.open("wb") as file:
        file.truncate(size)  # zeros that take no room
        file.seek(0, os.SEEK_END)
        file.write(b"\nlast\n")
    with log.open("rb") as file:
        assert go_to_last(file, 1)
        assert file.read() == b"last\n"
        assert not go_to_last(file, 2)
        assert size - file.tell() < 1 << 21


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"one\ntwo\n\n", "two"),
        (b"10%\r20%\r\n", "20%"),
        (b"\x1b]0;title\x07half \x1b[2Kway\x1b[1;31m\tthere\n", "half way there"),
        (b"\n" * 5000, ""),
        (b"\xff\xfe", "\ufffd\ufffd"),
    ],
)
def test_the_last_line(tmp_path: Path, content: bytes, line: str) -> None:
    (tmp_path / "a.log").write_bytes(content)
    assert last_line(tmp_path / "a.log") == line
    assert last_line(tmp_path / "none.log") == ""
