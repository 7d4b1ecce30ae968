"""One sweep, one dispatcher, also where the lock's file is removed; a look that is in nobody's way."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scheduler.executors.local import attempt_files
from scheduler.storage.locks import SweepHeld, SweepLock, is_held, take

HOLD = """
import sys
from pathlib import Path
from scheduler.storage.locks import SweepLock
lock = SweepLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / ".lock"
    path.touch()
    return path


def test_a_second_one_is_refused_until_the_first_is_released(path: Path) -> None:
    lock = SweepLock(path)
    assert lock.is_ours()
    with pytest.raises(SweepHeld):
        SweepLock(path)
    lock.release()
    SweepLock(path).release()
    assert path.read_bytes() == b""


def test_the_kernel_releases_it_when_its_holder_is_killed(path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(SweepHeld):
        SweepLock(path)
    holder.kill()
    holder.communicate()
    SweepLock(path).release()


def test_a_child_does_not_hold_it(path: Path) -> None:
    lock = SweepLock(path)
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False)
    lock.release()
    SweepLock(path).release()
    child.communicate()


def test_a_file_that_was_removed_is_made_anew_and_still_keeps_others_out(path: Path) -> None:
    lock = SweepLock(path)
    path.unlink()
    assert lock.is_ours()
    with pytest.raises(SweepHeld):
        SweepLock(path)
    lock.release()
    SweepLock(path).release()


def test_it_is_lost_to_whoever_made_the_file_anew(path: Path) -> None:
    lock = SweepLock(path)
    path.unlink()
    other = SweepLock(path)
    assert other.is_ours()
    assert not lock.is_ours()
    other.release()
    assert lock.is_ours()  # there is no other any more


def test_a_file_removed_with_its_folder_is_nobody_else_s(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    lock = SweepLock(folder / ".lock")
    (folder / ".lock").unlink()
    folder.rmdir()
    assert lock.is_ours()


def test_a_name_removed_between_opening_and_locking_is_not_trusted(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, calls = fcntl.flock, 0

    def removed_before(descriptor: int, operation: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            path.unlink()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", removed_before)
    lock = SweepLock(path)
    assert calls == 2
    assert lock.is_ours()
    with pytest.raises(SweepHeld):
        SweepLock(path)


# --- looking at a lock ---------------------------------------------------------------------------


@pytest.fixture
def looker(path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Somebody who looks at the lock, and has done so when the taker tries again; how often that one did."""
    descriptor = os.open(path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    tries: list[int] = []

    def look_away(_: float) -> None:
        if not tries:
            os.close(descriptor)
        tries.append(1)

    monkeypatch.setattr("time.sleep", look_away)
    return tries


def test_what_is_held_is_seen_and_what_is_not(path: Path) -> None:
    assert is_held(path) is False
    lock = SweepLock(path)
    assert is_held(path) is True
    lock.release()
    assert is_held(path) is False


def test_where_there_is_no_file_nothing_is_known(path: Path) -> None:
    assert is_held(path.with_name("none")) is None
    os.mkfifo(path.with_name("fifo"))
    assert is_held(path.with_name("fifo")) is None  # and nobody waits for its other end


def test_what_a_hard_link_at_its_path_leads_to_is_not_overwritten(path: Path) -> None:
    path.unlink()
    path.with_name("precious").write_text("text")
    os.link(path.with_name("precious"), path)
    SweepLock(path, {"pid": 1}).release()
    assert path.read_text() == "text"


def test_who_looks_keeps_no_dispatcher_from_its_sweep(path: Path, looker: list[int]) -> None:
    SweepLock(path).release()
    assert looker == [1]


@pytest.mark.parametrize("taker", [take, attempt_files.take])
def test_who_looks_keeps_no_attempt_from_its_file(
    path: Path, looker: list[int], taker: object
) -> None:
    assert callable(taker)
    with path.open("r+b") as file:
        assert taker(file.fileno())
    assert looker == [1]


@pytest.mark.parametrize("taker", [take, attempt_files.take])
def test_who_has_it_for_good_keeps_others_out(path: Path, taker: object) -> None:
    assert callable(taker)
    lock = SweepLock(path)
    with path.open("r+b") as file:
        assert not taker(file.fileno())
    lock.release()
