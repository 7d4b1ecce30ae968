"""What is read back from a task's attempts file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scheduler.config.loader import read_sweep
from scheduler.config.sweep import Sweep
from scheduler.core.verdict import SWEEP_CHANGED, Kind, Verdict
from scheduler.dispatch.judgement import Judgement, attempts_of, judge_attempt
from scheduler.storage.attempts_file import AttemptRecord, EndLine, StartLine, VerdictLine
from scheduler.storage.paths import SweepPaths


def paths_with(folder: Path, *lines: dict[str, Any]) -> SweepPaths:
    paths = SweepPaths(folder, "sweep")
    paths.make_folders()
    paths.attempts("a").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return paths


def start(number: int, token: str) -> dict[str, Any]:
    return {"attempt": number, "device": "cpu:0", "token": token}


def test_a_verdict_goes_to_the_attempt_it_names(tmp_path: Path) -> None:
    """The last order of a dispatcher that died began attempt 2 while attempt 1 was judged."""
    verdict = {"attempt": 1, "verdict": "lost", "cause": "…"}
    paths = paths_with(tmp_path, start(1, "x"), start(2, "y"), verdict)
    first, second = attempts_of("a", paths)
    assert first.verdict == VerdictLine(Verdict(Kind.LOST, "…"), 1)
    assert second.verdict is None


def test_of_two_with_one_number_the_last_is_meant(tmp_path: Path) -> None:
    """Numbers begin anew when the sweep file has changed."""
    paths = paths_with(tmp_path, start(1, "x"), start(1, "y"), {"attempt": 1, "verdict": "lost"})
    assert [attempt.verdict is None for attempt in attempts_of("a", paths)] == [True, False]


def test_the_known_attempt_is_judged_though_the_next_has_begun(tmp_path: Path) -> None:
    paths = paths_with(tmp_path, start(1, "x"), start(2, "y"))
    known = AttemptRecord(StartLine(1, ("cpu:0",), token="x"), ended=EndLine(5.0, code=1))
    (only,) = attempts_of("a", paths, known)
    assert only.ended == EndLine(5.0, code=1)


def test_the_known_attempt_is_judged_though_its_file_is_gone(tmp_path: Path) -> None:
    known = AttemptRecord(StartLine(3, ("cpu:0",), token="z"))
    assert attempts_of("a", paths_with(tmp_path), known) == [known]


def sweep_of(folder: Path, word: str) -> Sweep:
    path = folder / "s.yaml"
    path.write_text(json.dumps({"matrix": {"p": ["a"]}, "worker": {"command": ["true", word]}}))
    return read_sweep(path)


@pytest.mark.parametrize("code", [0, 2])
def test_what_another_version_of_the_sweep_file_asked_for_is_no_verdict_on_this_one(
    tmp_path: Path, code: int
) -> None:
    old, new = sweep_of(tmp_path, "old"), sweep_of(tmp_path, "new")
    begun = start(1, "x") | {"digest": old.digest(old.tasks[0])}
    paths = paths_with(tmp_path, begun, {"ended": 5.0, "code": code})
    paths.log("a").write_text("Successfully completed\n")
    verdict = judge_attempt(new.tasks[0], paths, new).verdict
    kept = paths.checkpoints / "a.done.aside"
    assert verdict.kind is Kind.STOPPED
    assert verdict.cause.startswith(SWEEP_CHANGED)
    assert kept.exists() == (code == 0), "what it completed counts when the file is put back"
    assert verdict.cause.endswith("kept as a.done.aside") == kept.exists()


@pytest.mark.parametrize(("first", "seconds"), [("timed stage done", 7.0), ("failed", 5.0)])
def test_the_time_of_a_task_is_that_of_both_its_stages(
    tmp_path: Path, first: str, seconds: float
) -> None:
    lines = [
        start(1, "x") | {"started": 100.0},
        {"attempt": 1, "ended": 102.0, "code": 0},
        {"attempt": 1, "verdict": first, "cause": "…"},
        start(2, "y") | {"started": 110.0},
        {"attempt": 2, "ended": 115.0, "code": 0},
    ]
    attempts = attempts_of("a", paths_with(tmp_path, *lines))
    judged = Judgement(Verdict(Kind.COMPLETED, "…"), attempts, None, {}, 115.0)
    assert judged.seconds == seconds
