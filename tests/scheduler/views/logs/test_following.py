"""Logs that are read on as they grow."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from scheduler.storage.paths import SweepPaths
from scheduler.views.logs.following import NEXT_ATTEMPT, Follower, look_at_all


@pytest.fixture
def paths(tmp_path: Path) -> SweepPaths:
    paths = SweepPaths(tmp_path, "s")
    paths.make_folders()
    return paths


def begin_attempt(paths: SweepPaths, text: str, number: int) -> None:
    """Begin a log, as a supervisor does; the one before is kept under a number."""
    if paths.log("a").exists():
        paths.log("a").rename(paths.old_log("a", number))
    paths.log("a").write_text(text)


def seen(followers: Iterable[Follower], paths: SweepPaths) -> list[bytes | None]:
    return [data for _, data in look_at_all(followers, paths)]


def open_logs(paths: SweepPaths) -> list[str]:
    links = (Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd"))
    return [
        str(link.readlink())
        for link in links
        if link.is_symlink() and str(link.readlink()).startswith(str(paths.logs))
    ]


def test_a_log_that_was_read_to_its_end_is_closed_until_the_next_attempt(paths: SweepPaths) -> None:
    begin_attempt(paths, "old\n", 0)
    paths.failed("a").touch()
    with paths.lock.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a dispatcher runs: more may follow
        followers = [Follower(paths, "a", [paths.log("a")], 0)]
        assert seen(followers, paths) == []
        assert (open_logs(paths), followers[0].ended) == ([], None)
        paths.failed("a").unlink()
        begin_attempt(paths, "short", 1)
        begin_attempt(paths, "new", 2)
        assert seen(followers, paths) == [NEXT_ATTEMPT, b"short", NEXT_ATTEMPT, b"new"]
        assert open_logs(paths) == [str(paths.log("a"))]
        with paths.log("a").open("a") as log:
            log.write("er")
        assert seen(followers, paths) == [b"er"]
    paths.done("a").touch()
    assert seen(followers, paths) == []
    assert followers[0].ended == "completed"


def test_a_task_without_a_log_is_waited_for(paths: SweepPaths) -> None:
    followers = [Follower(paths, "a", (), None)]
    assert seen(followers, paths) == []
    assert followers[0].ended is None
    begin_attempt(paths, "one", 0)
    assert seen(followers, paths) == [b"one"]
