"""Sweeps whose attempts are forked: when they are, and what happens where that cannot be."""

from __future__ import annotations

import os
import selectors
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from scheduler.executors.local.preload import preload
from tests.helpers.sweep_runner import FORKED, Running, SweepRunner
from tests.helpers.waiting import readable

ONE_SLOT = {"cpu_slots": 1}
LOADED = "is loaded, which took"
PLAINLY = "attempts start without it"
MODULE = "def main(argv):\n    import runpy\n    runpy.run_path({script!r}, run_name='__main__')\n"


def launches(runner: SweepRunner) -> dict[str, str | None]:
    """Return how the attempts of each task were started, the last one of each."""
    return {event["task"]: event["launch"] for event in runner.journal("attempt_started")}


def parent_of(running: Running) -> int:
    """Return the loaded parent of a dispatcher."""
    dispatcher = running.process.pid
    children = Path(f"/proc/{dispatcher}/task/{dispatcher}/children").read_text().split()
    found = [n for n in children if b"/parent.py" in Path(f"/proc/{n}/cmdline").read_bytes()]
    assert len(found) == 1, found
    return int(found[0])


def own_module(runner: SweepRunner, text: str = "") -> dict[str, Any]:
    """Write a module beside a script that does what the scripted worker does; return the section worker."""
    script = Path(str(FORKED["command"][1]))
    (runner.folder / "of_mine.py").write_text(MODULE.format(script=str(script)) + text)
    shutil.copy(script, runner.folder / "script.py")
    return {"preload": "of_mine", "command": ["python", "script.py", ".", "{task}"]}


def test_attempts_are_forked_once_it_is_loaded(runner: SweepRunner) -> None:
    runner.write({"a": "gate; ok", "b": "ok", "c": "exit 3"}, worker=FORKED, devices=ONE_SLOT)
    running = runner.start()
    running.wait_for(f"preloaded_worker {LOADED}")
    runner.open_gate("a")
    assert running.end().code == 1
    assert launches(runner) == {"a": None, "b": "forked", "c": "forked"}
    assert "launch" not in runner.done("a")["attempts"][0]
    assert runner.done("b")["attempts"][0]["launch"] == "forked"
    assert [attempt["code"] for attempt in runner.failed("c")["attempts"]] == [3, 3, 3]


@pytest.mark.parametrize(
    ("tasks", "slots", "setting"), [(2, 2, FORKED), (3, 1, {**FORKED, "preload": "off"})]
)
def test_nothing_is_loaded_for_a_few_tasks_or_where_it_is_turned_off(
    runner: SweepRunner, tasks: int, slots: int, setting: dict[str, Any]
) -> None:
    script: dict[str, str | list[str]] = dict.fromkeys("abc"[:tasks], "sleep 0.2; ok")
    runner.write(script, worker=setting, devices={"cpu_slots": slots})
    ended = runner.run()
    assert ended.code == 0
    assert "preload" not in ended.out
    assert not runner.journal("preloaded")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("def main(", "SyntaxError: "),
        ("raise SystemExit(2)", "SystemExit: 2"),
        ("del main", "it has no function main"),
        ("import os; os._exit(1)", "the process ended"),
        (
            "import threading, time; threading.Thread(target=time.sleep, args=[9], daemon=True).start()",
            "it has started 1 thread",
        ),
    ],
)
def test_what_cannot_be_loaded_is_said_once(runner: SweepRunner, text: str, why: str) -> None:
    worker = own_module(runner, text)
    runner.write({"a": "gate; ok", "b": "ok", "c": "ok"}, worker=worker, devices=ONE_SLOT)
    running = runner.start()
    running.wait_for(f"worker.preload: of_mine: {why}.*; {PLAINLY}")
    runner.open_gate("a")
    ended = running.end()
    assert (ended.code, ended.out.count(PLAINLY)) == (0, 1)
    assert set(launches(runner).values()) == {None}


def test_a_module_that_hangs_hinders_nobody_and_outlives_nobody(runner: SweepRunner) -> None:
    worker = own_module(runner, "import signal; print('hangs', flush=True); signal.pause()")
    runner.write({"a": "ok", "b": "gate; ok", "c": "ok"}, worker=worker, devices=ONE_SLOT)
    running = runner.start()
    runner.reach_gate("b")
    parent = os.pidfd_open(parent_of(running))
    running.kill()
    assert readable(parent, 60)
    os.close(parent)


def test_it_is_given_up_when_it_takes_too_long(
    runner: SweepRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preload, "LONGEST_LOADING", 0.05)
    own_module(runner, "import signal; signal.pause()")
    selector = selectors.DefaultSelector()
    words = [shutil.which("python3") or "", "script.py"]
    found = preload.Preload(
        "of_mine", os.environ, runner.folder / "stderr", selector, runner.folder, list
    )
    assert found.parent_for(words, worth_it=True) is None
    told = list(found.events())
    while not told:
        selector.select(0.01)
        told = list(found.events())
    assert told[0].why == "it was not loaded within 0 s"
    assert found.parent_for(words, worth_it=True) is None
    assert not list(found.events()) and not selector.get_map()


def test_a_parent_that_is_killed_hurts_nobody_and_is_replaced(runner: SweepRunner) -> None:
    script: dict[str, str | list[str]] = dict.fromkeys("abcd", "gate; ok")
    runner.write(script, worker=FORKED, devices=ONE_SLOT)
    running = runner.start()
    running.wait_for(LOADED)
    runner.open_gate("a")
    through = runner.reach_gate("b")
    os.kill(parent_of(running), signal.SIGKILL)
    through()
    through = runner.reach_gate("c")
    running.wait_for(LOADED)
    through()
    runner.open_gate("d")
    assert running.end().code == 0
    assert launches(runner) == {"a": None, "b": "forked", "c": None, "d": "forked"}
    assert runner.done("b")["attempts"][0]["code"] == 0


def test_code_that_changes_is_loaded_anew(runner: SweepRunner) -> None:
    worker = own_module(runner, "print('the first', flush=True)")
    script: dict[str, str | list[str]] = dict.fromkeys("abcd", "gate; ok")
    runner.write(script, worker=worker, devices=ONE_SLOT)
    running = runner.start()
    running.wait_for(LOADED)
    runner.open_gate("a")
    through = runner.reach_gate("b")
    with (runner.folder / "of_mine.py").open("a") as file:
        file.write("\nof_old, main = main, lambda argv: (print('of the new code'), of_old(argv))")
    through()
    through = runner.reach_gate("c")
    running.wait_for(LOADED)
    through()
    runner.open_gate("d")
    assert running.end().code == 0
    assert launches(runner) == {"a": None, "b": "forked", "c": None, "d": "forked"}
    assert "of the new code" in runner.log("d")
    assert "of the new code" not in runner.log("b")


def test_a_dispatcher_that_is_killed_leaves_a_forked_attempt_and_no_parent(
    runner: SweepRunner,
) -> None:
    runner.write({"a": "gate; ok", "b": "gate; ok", "c": "ok"}, worker=FORKED, devices=ONE_SLOT)
    running = runner.start()
    running.wait_for(LOADED)
    runner.open_gate("a")
    through = runner.reach_gate("b")
    parent = os.pidfd_open(parent_of(running))
    running.kill()
    assert readable(parent, 60)
    os.close(parent)
    again = runner.start()
    again.wait_for("b: attempt 1 still runs on cpu:0; taken over")
    through()
    assert again.end().code == 0
    assert [runner.starts(task) for task in "abc"] == [1, 1, 1]


def test_a_forked_attempt_is_found_without_its_files_and_ended_without_its_supervisor(
    runner: SweepRunner,
) -> None:
    """By its environment, which /proc shows as if it had been started with it."""
    twice = ["gate; ok", "ok"]
    runner.write({"a": twice, "b": twice, "c": "ok"}, worker=FORKED, devices=ONE_SLOT)
    running = runner.start()
    running.wait_for(LOADED)
    runner.open_gate("a")
    runner.reach_gate("b")
    supervisor = runner.attempt("b")["supervisor"]
    running.kill()
    shutil.rmtree(runner.root / "checkpoints")
    said = runner.run(runner.file, "--dry-run").out
    assert "b: still runs from before its files were removed" in said
    os.kill(supervisor, signal.SIGKILL)
    assert runner.run().code == 0
    assert runner.starts("b") == 2


def test_what_a_forked_attempt_leaves_behind_is_ended(runner: SweepRunner) -> None:
    runner.write({"a": "gate; ok", "b": "family; ok", "c": "hang"}, worker=FORKED, devices=ONE_SLOT)
    running = runner.start()
    running.wait_for(LOADED)
    runner.open_gate("a")
    runner.wait_for_log("hangs", "c")
    assert runner.run("stop", runner.file, "c", "--fail").code == 0
    assert running.end().code == 1
    assert runner.done("b")["attempts"][0]["leftovers"] == 4
    assert runner.failed("c")["attempts"][0]["signal"] == signal.SIGTERM
    for event in runner.logged("child"):
        assert not Path(f"/proc/{event['pid']}/cwd").exists()
