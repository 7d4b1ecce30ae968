"""Where tasks stand by their files, and what is done about files that do not hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scheduler.config.loader import read_sweep
from scheduler.config.sweep import Sweep
from scheduler.core.states import State
from scheduler.core.verdict import SWEEP_CHANGED, Kind
from scheduler.dispatch.clock import Clock
from scheduler.dispatch.recovery import recover
from scheduler.dispatch.repairs import set_right
from scheduler.dispatch.standings import Done, Failed, Recovered, Rejected, Running, Waiting
from scheduler.storage.paths import SweepPaths

START = {"attempt": 1, "device": "cpu:0", "halvings": 2, "started": 5.0}
VERDICT = {"attempt": 1, "verdict": "failed", "cause": "…"}


class Case:
    """A sweep of one task, and its files."""

    def __init__(self, folder: Path) -> None:
        file = folder / "s.yaml"
        file.write_text(json.dumps({"matrix": {"p": ["a"]}, "worker": {"command": ["true"]}}))
        self.sweep: Sweep = read_sweep(file)
        self.paths = SweepPaths(folder / "root", "s")
        self.paths.make_folders()
        self.digest = self.sweep.digest(self.sweep.tasks[0])

    def write(self, name: str, *lines: dict[str, Any] | str) -> None:
        texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
        (self.paths.checkpoints / name).write_text("".join(f"{text}\n" for text in texts))

    def files(self) -> dict[str, bytes]:
        files = (path for path in self.paths.checkpoints.rglob("*") if path.is_file())
        return {path.name: path.read_bytes() for path in files}

    def recover(self) -> Recovered:
        before = self.files()
        found = recover(self.sweep, self.paths, Clock())
        assert self.files() == before, "it only looks"
        return found

    def set_right(self) -> Recovered:
        return set_right(self.recover(), self.sweep, self.paths)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_nothing_on_file_waits(case: Case) -> None:
    assert case.recover().standings == {"a": Waiting()}


def test_what_ended_needs_its_attempts_no_more(case: Case) -> None:
    case.write("a.attempts", START)
    case.write("a.done", {"digest": case.digest, "log": {}})
    found = case.set_right()
    assert found.standings == {"a": Done()}
    assert found.unrecorded == ["a"]  # the dispatcher died before the journal had its end
    case.paths.done("a").unlink()
    case.write("a.failed", {"digest": case.digest})
    found = case.set_right()
    assert (found.standings, found.unrecorded) == ({"a": Failed()}, [])
    assert not case.paths.attempts("a").exists()


def test_an_attempt_without_a_verdict_runs_or_ended_unseen(case: Case) -> None:
    case.write("a.attempts", START | {"digest": case.digest}, VERDICT, START | {"attempt": 2})
    found = case.recover()
    standing = found.standings["a"]
    assert isinstance(standing, Running)
    assert [attempt.verdict.kind for attempt in standing.history] == [Kind.FAILED]
    assert found.open_attempts["a"].started.attempt == 2
    (initial,) = found.initial_tasks(Clock(), case.sweep)
    assert (initial.state, initial.devices, initial.halvings) == (State.RUNNING, ("cpu:0",), 2)


def test_a_running_attempt_has_all_its_devices(case: Case) -> None:
    both = {"device": "GPU-a", "devices": ["GPU-a", "GPU-b"]}
    case.write("a.attempts", START | both | {"digest": case.digest})
    (initial,) = case.recover().initial_tasks(Clock(), case.sweep)
    assert initial.devices == ("GPU-a", "GPU-b")
    case.write("a.attempts", START | both | {"digest": case.digest}, VERDICT)
    standing = case.recover().standings["a"]
    assert isinstance(standing, Waiting)
    assert standing.history[0].devices == ("GPU-a", "GPU-b")


def test_attempts_of_another_sweep_file_count_no_more(case: Case) -> None:
    case.write("a.attempts", START | {"digest": "another"}, VERDICT)
    assert case.recover().standings == {"a": Waiting()}
    case.write("a.attempts", START | {"digest": case.digest}, VERDICT)
    standing = case.recover().standings["a"]
    assert isinstance(standing, Waiting)
    assert len(standing.history) == 1


def test_checkpoints_that_do_not_hold_stay_where_they_are(case: Case) -> None:
    case.write("a.done", {"digest": "another", "log": {}})
    case.write("a.failed", "cut o")
    done, failed = case.paths.done("a"), case.paths.failed("a")
    changed = f"{SWEEP_CHANGED} (what, it does not tell: an earlier version wrote it)"
    rejected = (Rejected(done, changed), Rejected(failed, "it is damaged"))
    assert case.recover().standings == {"a": Waiting(rejected=rejected)}
    assert case.set_right().standings == {"a": Waiting(rejected=rejected)}
    assert {done.name, failed.name} <= case.files().keys(), "until the task starts anew"
