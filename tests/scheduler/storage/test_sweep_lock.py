"""One sweep, one dispatcher: also where the lock's file is removed, and after a death."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from scheduler.storage.sweep_lock import SweepHeld, SweepLock

HOLD = """
import sys
from pathlib import Path
from scheduler.storage.sweep_lock import SweepLock
lock = SweepLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".lock"


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
