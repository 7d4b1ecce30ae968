"""Files replaced whole or not at all, also by several writers at the same time."""

from __future__ import annotations

import json
import multiprocessing
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from scheduler.storage.atomic import Draft, why_not_writable, write_durably


def test_two_drafts_of_one_file_are_two_files(tmp_path: Path) -> None:
    path = tmp_path / "pause.json"
    first, second = Draft(path, b"first"), Draft(path, b"second")
    for draft in (first, second):
        draft.sync()
    first.publish()
    assert path.read_bytes() == b"first"
    second.publish()
    assert path.read_bytes() == b"second"
    assert os.listdir(tmp_path) == ["pause.json"]


def test_a_draft_that_a_crash_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".pause.json.tmp").write_bytes(b"half")
    write_durably(tmp_path / "pause.json", {"on": True})
    assert os.listdir(tmp_path) == ["pause.json"]


def test_a_probe_for_room_leaves_that_of_another_alone(tmp_path: Path) -> None:
    draft = Draft(tmp_path / "room", b"")
    os.rename(tmp_path / ".room.tmp", tmp_path / ".room")
    assert why_not_writable(tmp_path) is None
    assert stat.S_ISREG(os.lstat(tmp_path / ".room").st_mode)
    with pytest.raises(FileNotFoundError):
        draft.publish()


def test_many_writers_of_one_file(tmp_path: Path) -> None:
    """None fails, and whoever reads finds one of their contents, whole."""
    path, context = tmp_path / "wish.json", multiprocessing.get_context("fork")
    go = context.Barrier(4)
    writers = [context.Process(target=_write_often, args=(path, n, go)) for n in range(3)]
    for writer in writers:
        writer.start()
    go.wait(60)
    while any(writer.is_alive() for writer in writers):
        if path.exists():
            assert _is_whole(json.loads(path.read_text()))
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert os.listdir(tmp_path) == ["wish.json"]


def _write_often(path: Path, number: int, go: Any) -> None:
    go.wait(60)
    for round_ in range(200):
        write_durably(path, {"by": [number] * (1 + 10 * number), "round": round_})


def _is_whole(content: dict[str, Any]) -> bool:
    return len(content["by"]) == 1 + 10 * content["by"][0]
