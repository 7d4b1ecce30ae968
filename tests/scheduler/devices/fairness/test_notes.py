"""Claims between real processes, of several users where the tests run as root."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from scheduler.devices.fairness.claims import Claim
from scheduler.devices.fairness.notes import LARGEST, MOST_OF_ONE_USER, PREFIX, Note, Notes
from tests.scheduler.devices.conftest import OTHER_USER, Dispatcher

CLAIM = Claim("", os.geteuid(), 7, 5, in_use=1, more=2, devices=frozenset({"gpu0", "gpu1"}),
              since=3.5, idle_for=3.0)  # fmt: skip
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
_kept: list[Note] = []


def ask(folder: Path, claim: Claim = CLAIM) -> str:
    """Have a claim stand for as long as this process lives; return its note's name."""
    note = Note(folder)
    note.write(claim)
    _kept.append(note)
    return note.name


def read(folder: Path, own: str = "") -> list[Claim]:
    return Notes(folder).read(own)


def test_what_is_written_is_read(folder: Path, other: Dispatcher) -> None:
    name = other.do(ask, folder)
    assert read(folder) == [replace(CLAIM, name=name, uid=(folder / str(name)).stat().st_uid)]
    assert read(folder, own=str(name)) == []


def test_death_ends_a_claim_and_its_note_is_removed_by_its_user(
    folder: Path, start: Callable[..., Dispatcher]
) -> None:
    dispatcher = start()
    name = dispatcher.do(ask, folder)
    dispatcher.kill()
    assert (folder / str(name)).exists()
    assert read(folder) == []
    assert list(folder.iterdir()) == []


@as_root
def test_another_user_s_note_is_left_where_it_is(folder: Path, other: Dispatcher) -> None:
    name = other.do(ask, folder)
    other.kill()
    assert read(folder) == []
    assert (folder / str(name)).exists()
    assert (folder / str(name)).stat().st_uid == OTHER_USER


def test_a_claim_changes_is_withdrawn_and_stands_again(folder: Path) -> None:
    note = Note(folder)
    for claim in (replace(CLAIM, more=1000), CLAIM, replace(CLAIM, devices=frozenset())):
        note.write(claim)
        assert [replace(read_, name="") for read_ in read(folder)] == [claim]
    note.remove()
    note.remove()
    assert list(folder.iterdir()) == []
    note.write(CLAIM)
    assert len(read(folder)) == 1
    next(folder.iterdir()).unlink()  # by what tidies up
    note.write(CLAIM)
    assert len(read(folder)) == 1
    note.remove()
    assert list(folder.iterdir()) == []


def test_nobody_hears_of_a_claim_where_none_can_be_written(shared: Path) -> None:
    note = Note(shared / "missing" / "folder")
    note.write(CLAIM)
    note.remove()
    assert read(shared / "missing" / "folder") == []


def put_link(path: Path, good: bytes) -> None:
    target = path.with_name("target")
    target.write_bytes(good)
    path.symlink_to(target)


def put_second_name(path: Path, good: bytes) -> None:
    path.write_bytes(good)
    os.link(path, path.with_name(f"{PREFIX}second"))


def put_huge(path: Path, good: bytes) -> None:
    with path.open("wb") as file:
        file.write(good)
        file.truncate(1 << 40)


def put_socket(path: Path, good: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def put(content: bytes) -> Callable[[Path, bytes], object]:
    return lambda path, _: path.write_bytes(content)


def changed(**fields: object) -> Callable[[Path, bytes], object]:
    return lambda path, good: path.write_text(json.dumps(json.loads(good) | fields))


@pytest.mark.parametrize(
    "strange",
    [
        lambda path, _: os.mkfifo(path),
        lambda path, _: path.mkdir(),
        put_link,
        put_second_name,
        put_huge,
        put_socket,
        put(b""),
        put(b"\xff\xfe nonsense"),
        put(b"[" * LARGEST),
        put(b"[]"),
        put(b'{"pid": 1}'),
        changed(priority=101),
        changed(more=0),
        changed(more=True),
        changed(in_use=-1),
        changed(since=float("nan")),
        changed(idle_for=1e300),
        changed(pid="7"),
        changed(devices="gpu0"),
    ],
)  # fmt: skip
def test_what_is_no_note_is_passed_over(
    folder: Path, strange: Callable[[Path, bytes], object]
) -> None:
    note = Note(folder)
    note.write(CLAIM)
    good = (folder / note.name).read_bytes()
    note.remove()
    path = folder / f"{PREFIX}strange"
    strange(path, good)
    held = os.open(path, os.O_RDONLY | os.O_NONBLOCK) if not path.is_socket() else None
    if held is not None:
        fcntl.flock(held, fcntl.LOCK_EX)
    try:
        assert read(folder) == []
    finally:
        if held is not None:
            os.close(held)


@as_root
def test_thousands_of_one_user_s_notes_hide_no_other_s(folder: Path, other: Dispatcher) -> None:
    for number in range(3000):
        path = folder / f"{PREFIX}{number}"
        path.touch()
        os.chown(path, OTHER_USER + 1, OTHER_USER + 1)
    name = other.do(ask, folder)
    assert [claim.name for claim in read(folder)] == [name]


def test_so_many_of_one_user_are_read(folder: Path) -> None:
    for _ in range(MOST_OF_ONE_USER + 3):
        ask(folder)
    assert len(read(folder)) == MOST_OF_ONE_USER
    for note in _kept:
        note.remove()


def test_a_look_that_took_long_is_not_soon_repeated(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes, now = Notes(folder), [100.0]
    listing = os.scandir

    def slow(path: int) -> object:
        now[0] += 0.5
        return listing(path)

    monkeypatch.setattr(os, "scandir", slow)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    assert notes.read("") == []
    ask(folder)
    now[0] += 4.9
    assert notes.read("") == []
    now[0] += 0.1
    assert len(notes.read("")) == 1
