"""State that an earlier version left on disk is read by this one, and goes on counting.

tests/state_of_version_1 was written by the version before the folders: a sweep of one's own script, killed
with one attempt running, and one of the default worker, completed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scheduler.config.loader import read_sweep
from scheduler.devices.processes import start_ticks
from scheduler.executors.local.handles import AdoptedSupervisor
from scheduler.executors.local.process_tree import identity
from scheduler.storage.attempts_file import AttemptRecord, StartLine, read_attempts
from scheduler.storage.journal import JournalReader
from scheduler.storage.paths import SweepPaths
from scheduler.views.from_files import progress_from_files
from worker.measure.settings import TaskRequest
from worker.measure.task.run import run
from worker.models.catalogue import find_pipe, find_sched
from worker.models.task import Task
from worker.results import environment
from worker.results.file import ResultsFile
from worker.results.row import read_rows
from worker.results.summary import summarise
from worker.search.section import Search

OLD = Path(__file__).with_name("state_of_version_1")
REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return shutil.copytree(OLD, tmp_path / "old state")


def scheduler(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scheduler", *words],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )


def test_its_status_is_read(old: Path) -> None:
    status = json.loads(scheduler(old, "status", "plain.yaml", "--json").stdout)
    states = {task["task"]: task["state"] for task in status["tasks"]}
    waiting = dict.fromkeys(("wrong", "oom", "waits", "runs", "never"), "waiting")
    assert states == {"good": "completed", "bad": "failed", **waiting}


def test_what_it_completed_and_what_it_gave_up_is_not_run_again(old: Path) -> None:
    (old / "script.py").write_text("print('Successfully completed')")
    plain = (old / "plain.yaml").read_text().replace("backoff: 10m", "backoff: 1ms")
    (old / "plain.yaml").write_text(plain)
    ended = scheduler(old, "plain.yaml")
    assert ended.returncode == 1, ended.stderr  # bad stays failed
    assert "Traceback" not in ended.stdout + ended.stderr
    for task in ("good", "bad"):
        assert f"{task}: attempt" not in ended.stdout
    for task in ("wrong", "waits", "never"):  # each attempt that was judged then still counts
        done = json.loads((old / f"checkpoints/plain/{task}.done").read_text())
        assert [attempt["attempt"] for attempt in done["attempts"]] == [1, 2]
    done = json.loads((old / "checkpoints/plain/oom.done").read_text())
    assert [attempt["halvings"] for attempt in done["attempts"]] == [0, 1, 2, 2]
    assert "keeper" not in done["attempts"][0]


def test_a_sweep_that_it_completed_starts_nothing(old: Path) -> None:
    ended = scheduler(old, "old.yaml")
    assert ended.returncode == 0, ended.stderr
    assert "1 of 1 completed" in ended.stdout
    assert "attempt 1 started" not in ended.stdout


def test_its_attempts_files_and_journals_are_read_whole(old: Path) -> None:
    for file in (old / "checkpoints/plain").glob("*.attempts"):
        lines = file.read_text().splitlines()
        attempts = read_attempts(file)
        assert len(attempts) == sum('"device"' in line for line in lines)
        assert all(attempt.ended is not None for attempt in attempts if attempt.verdict)
    for file in old.glob("logs/*/journal.jsonl"):
        journal = JournalReader(file)
        assert len(list(journal)) == len(file.read_text().splitlines())
        assert journal.unread == 0


def test_a_supervisor_that_it_left_running_is_found() -> None:
    line = {"attempt": 1, "device": "cpu:0", **identity()}
    line["keeper"], line["birth"] = line.pop("supervisor"), line.pop("start_ticks")
    start = StartLine.parse(line)
    assert start is not None
    found = AdoptedSupervisor.find(AttemptRecord(start))
    assert found is not None
    assert found.pid == os.getpid()
    found.release()


def test_what_it_could_not_measure_is_not_measured_again(old: Path) -> None:
    """With the status in its own words; the settings' digest has to be what it was as well."""
    path = old / "checkpoints/old/TINY_SD15_DDIM_4.jsonl"
    *rows, _ = (json.loads(line) for line in path.read_text().splitlines())
    rows[2] |= {"status": "images are not numbers", "metrics": [], "samples": {}}
    here = environment.describe("cpu")
    before = "".join(json.dumps(row | {"environment": here}) + "\n" for row in rows)
    path.write_text(before)
    search = Search.model_validate(rows[0]["reproduce"]["search"])
    task = Task(find_pipe("TINY_SD15"), find_sched("DDIM"), 4)
    said: list[str] = []
    summary = run(TaskRequest(task, search, 2, 2), ResultsFile.open(path), "cpu", said.append)
    assert "task: 3 configurations, 3 of them measured before" in said
    assert summary.non_finite == ["DeepCache 2/0"]
    assert path.read_text() == before + json.dumps({"summary": summary.as_json()}) + "\n"


def test_a_dispatcher_of_it_that_still_runs_is_seen(old: Path) -> None:
    journal = old / "logs/plain/journal.jsonl"
    entry = json.loads(journal.read_text().splitlines()[0])
    assert entry["event"] == "dispatcher_started"
    with journal.open("a") as file:
        here = {"pid": os.getpid(), "birth": start_ticks(os.getpid())}
        file.write(json.dumps(entry | here) + "\n")
    sweep = read_sweep(old / "plain.yaml")
    assert progress_from_files(sweep, SweepPaths(old, "plain")).holder is not None


def test_its_rows_are_measurements_and_sum_up_to_what_they_did(old: Path) -> None:
    results = ResultsFile.open(old / "checkpoints/old/TINY_SD15_DDIM_4.jsonl")
    assert not results.notices
    *lines, last = results.lines
    rows, others = read_rows(lines)
    assert (len(rows), others) == (3, 0)
    assert [row.as_json() for row in rows] == lines
    summary = summarise(rows, max_loss=0.05).as_json()
    # which was one number then
    counted = summary.pop("configurations")
    assert counted["measured"] == last["summary"]["configurations"]
    new = ("null_arm", "told_apart", "more_images", "conclusion")
    added = {name: summary.pop(name) for name in new}
    assert {key: last["summary"][key] for key in summary} == summary
    assert not added.keys() & last["summary"].keys()
