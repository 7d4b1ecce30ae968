"""Looking at a lock: true, and in nobody's way."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler.executors.local import supervisor
from scheduler.storage.locks import is_held, take
from scheduler.storage.sweep_lock import SweepLock

LOOK = """
import sys
from pathlib import Path
from scheduler.storage.locks import is_held
print("looks", flush=True)
while True:
    is_held(Path(sys.argv[1]))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / ".lock"
    path.touch()
    return path


@pytest.fixture
def looker(path: Path) -> Iterator[None]:
    """A process that looks at the lock all the time."""
    process = subprocess.Popen([sys.executable, "-c", LOOK, path], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"looks\n"
    yield
    assert process.poll() is None
    process.kill()
    process.communicate()


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


@pytest.mark.usefixtures("looker")
def test_who_looks_keeps_no_dispatcher_from_its_sweep(path: Path) -> None:
    for _ in range(300):
        SweepLock(path).release()


@pytest.mark.usefixtures("looker")
@pytest.mark.parametrize("taker", [take, supervisor.take])
def test_who_looks_keeps_no_attempt_from_its_file(path: Path, taker: object) -> None:
    assert callable(taker)
    for _ in range(300):
        with path.open("r+b") as file:
            assert taker(file.fileno())


@pytest.mark.parametrize("taker", [take, supervisor.take])
def test_who_has_it_for_good_keeps_others_out(path: Path, taker: object) -> None:
    assert callable(taker)
    lock = SweepLock(path)
    with path.open("r+b") as file:
        assert not taker(file.fileno())
    lock.release()
