"""What code ran is recorded with every attempt, and `status` says when versions mix."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.helpers.sweep_runner import Ended, SweepRunner

SCRIPT = {"a": "gate; ok", "b": "ok", "c": "exit 2", "d": "ok"}


@pytest.fixture
def train(runner: SweepRunner) -> Path:
    """A script that the sweep's command names, for a sweep of one task after the other."""
    train = runner.folder / "train.py"
    train.write_text("version 1\n")
    command = [*runner.command(), "train.py", "--out", "out.csv"]
    runner.write(SCRIPT, worker={"command": command}, devices={"cpu_slots": 1})
    return train


def run_with_an_edit(runner: SweepRunner, train: Path) -> Ended:
    """Edit the script while the first task runs."""
    running = runner.start()
    open_gate = runner.reach_gate("a")
    train.write_text("version 2\n")
    (train.parent / "out.csv").write_text("what workers write is no code\n")
    open_gate()
    ended = running.end()
    assert ended.code == 1
    return ended


def test_every_attempt_records_the_code_that_it_ran(runner: SweepRunner, train: Path) -> None:
    run_with_an_edit(runner, train)
    digests = [runner.done(task)["source"]["files"]["train.py"] for task in "abd"]
    assert digests[0] != digests[1] == digests[2]
    failed = runner.failed("c")
    assert failed["source"]["files"]["train.py"] == digests[1]
    assert failed["attempts"][-1]["source"] == failed["source"]


def test_status_says_when_versions_mix(runner: SweepRunner, train: Path) -> None:
    assert runner.status()["tasks"][0]["other_code"] == []
    ended = run_with_an_edit(runner, train)
    assert "1 task ran with other code than the newest (train.py changed)" in ended.out
    said = runner.run("results", runner.file).err
    assert "runner: 1 task ran with other code than the newest (train.py changed)" in said
    tasks = {task["task"]: task["other_code"] for task in runner.status()["tasks"]}
    assert tasks == {"a": ["train.py"], "b": [], "c": [], "d": []}
    said = runner.run("status", runner.file).out
    assert "1 task ran with other code than the newest (train.py changed)" in said
    # It is told, and no more: nothing is run again for it.
    assert "a [completed]" in runner.run(runner.file, "--dry-run").out
    runner.run("retry", runner.file, "--force", "a")
    runner.script({"a": "ok"})
    runner.run()
    assert "other code" not in runner.run("status", runner.file).out


def test_another_commit_is_told_where_no_file_differs(runner: SweepRunner, train: Path) -> None:
    def git(*words: str) -> str:
        own = ["-c", "user.email=a@b", "-c", "user.name=c"]
        done = subprocess.run(
            ["git", *own, *words], cwd=train.parent, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    train.write_text("echo Successfully completed\n")
    runner.write({"a": "ok", "b": "ok"}, worker={"command": ["sh", "train.py"]})
    git("init", "-q")
    git("add", "train.py")
    git("commit", "-qm", "1")
    first = git("rev-parse", "HEAD")
    runner.run()
    assert runner.done("a")["source"]["commit"] == first
    git("commit", "-qm", "2", "--allow-empty")
    runner.run("retry", runner.file, "--force", "a")
    runner.run()
    assert runner.done("a")["source"]["commit"] == git("rev-parse", "HEAD")
    said = runner.run("status", runner.file).out
    assert f"1 task ran at another commit than the newest ({first[:12]})" in said
    assert [task["other_code"] for task in runner.status()["tasks"]] == [[], ["commit"]]


@pytest.mark.parametrize(
    "source", [[], {"files": []}, {"files": {"train.py": {}}}, {"files": {"train.py": "\x1b"}}]
)
def test_what_a_checkpoint_says_of_its_code_is_not_trusted(
    runner: SweepRunner, train: Path, source: object
) -> None:
    run_with_an_edit(runner, train)
    done = runner.done("a")
    runner.paths.done("a").write_text(json.dumps(done | {"source": source}))
    assert runner.run("status", runner.file).code == 0
    assert runner.status()["tasks"][0]["state"] == "completed"


def test_where_nothing_can_be_recorded_tasks_run_all_the_same(
    runner: SweepRunner, train: Path
) -> None:
    runner.script({"a": "ok"})
    os.makedirs(runner.paths.versions)
    assert runner.run().code == 0
    assert runner.done("a")["source"]["files"]["train.py"]
