"""JSON that anybody may have written: what is read of it is bounded."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from scheduler.storage.json_files import (
    as_number,
    lines_of,
    parse_object,
    read_object,
    read_objects,
)


def test_a_long_object_is_read_whole(tmp_path: Path) -> None:
    content = {"attempts": ["x" * 1000] * 500}
    (tmp_path / "a.done").write_text(json.dumps(content))
    assert read_object(tmp_path / "a.done") == content


def test_a_file_that_is_too_large_is_none(tmp_path: Path) -> None:
    """As large as files can be, and taking no room: it costs next to nothing."""
    path = tmp_path / "a"
    path.write_text('{"attempt": 1}\n')
    os.truncate(path, 1 << 40)
    assert read_object(path) is None
    assert list(read_objects(path)) == []


def test_a_line_that_is_too_long_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.storage.json_files._LONGEST_LINE", 10)
    path = tmp_path / "journal"
    path.write_bytes(b"12345\n" + b"x" * 95 + b"\n67890\n12345678\n" + b"123456789\n" + b"123")
    with path.open("rb") as file:
        assert list(lines_of(file)) == [
            b"12345\n",
            b"\n",
            b"67890\n",
            b"12345678\n",
            b"123456789\n",
            b"123",
        ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("1" * 100, int("1" * 100)), ("1" * 101, None), ("-1e99", -1e99), ("1e101", None)],
        *[("NaN", None), ("-Infinity", None), ("1e999", None), ("9" * 5000, None)],
    ],
)
def test_a_number_that_nothing_can_be_reckoned_with_is_not_known(text: str, value: object) -> None:
    assert parse_object(f'{{"a": [{text}]}}'.encode()) == {"a": [value]}


@pytest.mark.parametrize("levels", [99, 100])
def test_nesting_ends_at_a_hundred_levels(levels: int) -> None:
    data = b'{"a": ' + b"[" * levels + b"]" * levels + b"}"
    assert (parse_object(data) is None) == (levels == 100)
    many = json.dumps({"a": [[]] * 1000}).encode()
    assert parse_object(many) is not None, "many brackets are no depth"


@pytest.mark.parametrize(
    "value", [True, False, None, "1", [], {}, 10**400, float("inf"), float("nan")]
)
def test_what_is_no_number(value: object) -> None:
    assert as_number(value) is None
