"""A changed sweep file, taken in by the dispatcher that runs it."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from scheduler.config.loader import read_sweep
from scheduler.core import events as ev
from scheduler.core import journal_events as je
from scheduler.core.core import Core
from scheduler.core.retry import Policy
from scheduler.core.states import InitialTask
from scheduler.dispatch.clock import Clock
from scheduler.dispatch.inbox import Inbox
from scheduler.dispatch.wishes import reload
from scheduler.dispatch.wishes.files import Asked, ask, read_wishes
from scheduler.dispatch.wishes.settings import taken_over
from scheduler.dispatch.wishes.sweep_in_use import SweepInUse
from tests.helpers.sweep_runner import PATIENCE, Running, SweepRunner
from tests.helpers.waiting import readable
from tests.scheduler.dispatch.test_stopping import alive
from tests.scheduler.dispatch.test_wishes import ME, hand

ONE = {"cpu_slots": 1}


def one_at_its_gate(
    runner: SweepRunner, script: dict[str, Any], **sections: Any
) -> tuple[Running, Any]:
    """Start a sweep whose first task stands at its gate, and for whose others there is no slot."""
    runner.write(script, devices=ONE, **sections)
    running = runner.start()
    return running, runner.reach_gate("a")


def edit(runner: SweepRunner, script: dict[str, Any], **sections: Any) -> None:
    runner.write(script, **{"devices": ONE, **sections})


def test_new_tasks_are_run(runner: SweepRunner) -> None:
    running, open_gate = one_at_its_gate(runner, {"a": "gate; ok", "z": "ok"})
    edit(runner, {"new": "ok", "a": "gate; ok", "z": "ok"})
    status = runner.run("status", runner.file).out
    assert "1 new; `reload` has it read the file again" in status
    assert "taken the file in: tasks: 1 new" in hand(runner, "reload")
    after = runner.status()
    assert not after["file_changed"]
    assert runner.states() == {"new": "waiting", "a": "running", "z": "waiting"}
    open_gate()
    ended = running.end()
    assert ended.code == 0
    assert "3 tasks" not in ended.out.splitlines()[0]
    assert runner.order() == [f"{w} {t}" for t in ("a", "new", "z") for w in ("start", "end")]
    (told,) = runner.journal("reloaded")
    assert (told["by"], told["new"], told["changed"], told["removed"]) == (ME, 1, 0, 0)
    assert not list(runner.paths.wishes.iterdir()), "the wish is forgotten once it is obeyed"


def test_a_new_task_that_has_more_devices_than_there_are_fails_at_once(runner: SweepRunner) -> None:
    script = {"a_1": "gate; ok", "a_2": "ok", "b_2": "ok"}
    several = {"cpu_slots": 1, "per_task": "slots"}
    runner.write(script, matrix={"case": ["a"], "slots": [1]}, devices=several)
    running = runner.start()
    open_gate = runner.reach_gate("a_1")
    runner.write(
        script,
        matrix={"case": ["a", "b"], "slots": [1, 2]},
        exclude=[{"case": "b", "slots": 1}],
        devices=several,
    )
    hand(runner, "reload")
    running.wait_for("b_2: failed for good: needs 2 devices at once, and 1 is the most here")
    open_gate()
    assert running.end().code == 1
    assert runner.starts() == 1
    failed = json.loads(runner.paths.failed("a_2").read_text())
    assert (failed["verdict"], failed["attempts"]) == ("not started", [])
    refused = runner.run("retry", runner.file).code, runner.run()
    assert (refused[0], refused[1].code) == (0, 2)
    assert "devices.per_task: a_2 has 2 devices at once, and 1 is the most here" in refused[1].err


def test_a_task_that_left_the_file_is_not_started_and_what_runs_comes_to_its_end(
    runner: SweepRunner,
) -> None:
    running, open_gate = one_at_its_gate(runner, {"a": "gate; ok", "b": "ok", "c": "ok"})
    edit(runner, {"c": "ok"})
    assert "2 no longer in it" in hand(runner, "reload")
    open_gate()
    running.wait_for("a: completed")
    assert running.end().code == 0
    assert (runner.starts("a"), runner.starts("b"), runner.starts("c")) == (1, 0, 1)
    assert runner.done("a")["verdict"] == "completed"
    edit(runner, {"a": "ok", "c": "ok"})
    assert runner.run().code == 0
    assert runner.starts("a") == 1, "what it completed counts when it is back"


def test_a_task_that_left_the_file_is_not_tried_again(runner: SweepRunner) -> None:
    running, open_gate = one_at_its_gate(runner, {"a": "gate; exit 1", "c": "ok"})
    edit(runner, {"c": "ok"})
    hand(runner, "reload")
    open_gate()
    running.wait_for("a: is no longer in the sweep file; it leaves the sweep")
    assert running.end().code == 0
    assert runner.starts("a") == 1
    assert not runner.paths.failed("a").exists()


def test_tasks_with_other_settings_begin_anew_as_after_a_new_start(runner: SweepRunner) -> None:
    script = {"done": "ok", "a": ["gate; ok", "ok"], "b": "ok"}
    running, _ = one_at_its_gate(runner, script)
    edit(runner, script, worker={"command": runner.command(), "args": {"steps": 4}})
    assert "3 changed" in hand(runner, "reload")
    ended = running.end()
    assert ended.code == 0
    assert "a: stopping attempt 1: the sweep file has changed" in ended.out
    assert not alive(runner.logged("start", "a")[0]["pid"])
    assert (runner.starts("done"), runner.starts("a"), runner.starts("b")) == (2, 2, 1)
    today = read_sweep(runner.file)
    for task in today.tasks:
        assert runner.done(task.id)["digest"] == today.digest(task)
    assert runner.run().code == 0, "the next dispatcher finds nothing to do"
    assert runner.starts() == 5


def test_what_was_completed_before_holds_again_when_the_file_is_put_back(
    runner: SweepRunner,
) -> None:
    other = {"worker": {"command": runner.command(), "args": {"steps": 4}}}
    edit(runner, {"b": "ok"}, **other)
    assert runner.run().code == 0
    edit(runner, {"b": "ok"})
    assert runner.run().code == 0
    running, _ = one_at_its_gate(runner, {"a": ["gate; ok", "ok"], "b": "ok"})
    edit(runner, {"a": ["gate; ok", "ok"], "b": "ok"}, **other)
    hand(runner, "reload")
    assert running.end().code == 0
    assert runner.starts("b") == 2


def test_retries_and_limits_are_taken_over(runner: SweepRunner) -> None:
    running, _ = one_at_its_gate(runner, {"a": ["gate", "exit 1"]}, retries={"max_attempts": 3})
    sections = {"retries": {"max_attempts": 1}, "limits": {"timeout": "1ms"}}
    edit(runner, {"a": ["gate", "exit 1"]}, **sections)
    said = hand(runner, "reload")
    assert said.endswith(
        "file in: its tasks are the same; retries.max_attempts: 3 → 1; limits.timeout: – → 0.001 s\n"
    )
    running.wait_for(r"was read again .*; retries.max_attempts: 3 → 1")
    assert running.end().code == 1
    assert runner.failed("a")["cause"].startswith("still running after")
    assert runner.starts() == 1


def test_a_priority_is_taken_over_and_shown(runner: SweepRunner) -> None:
    running, open_gate = one_at_its_gate(runner, {"a": "gate; ok"}, priority=-3)
    assert "; priority -3" in running.wait_for("1 tasks.*").string
    edit(runner, {"a": "gate; ok"}, priority=5)
    assert runner.status()["priority"] == -3
    assert hand(runner, "reload").endswith("its tasks are the same; priority: -3 → 5\n")
    assert runner.status()["priority"] == 5
    assert hand(runner, "reload").endswith("its tasks and its settings are the same\n")
    said = "its priority among the sweeps that wait for devices is 5"
    assert said in runner.run("status", runner.file).out
    said = "priority: 5, among the sweeps that wait for devices of this machine"
    assert said in runner.run(runner.file, "--dry-run").out
    open_gate()
    assert running.end().code == 0


HOURS = '[{from: "08:00", to: "20:00", gpus: 2}, {gpus: 8}]'


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ("", "", []),
        ("x-a: 1", "x-a: 2 # a remark", []),
        ("devices: {at_most: 2}", "", ["devices.at_most: 2 → –"]),
        (
            "devices: {at_most: 2}",
            f"devices: {{at_most: {HOURS}, zone: UTC}}",
            [
                "devices.at_most: 2 → 2 from 08:00 to 20:00, 8 at all other hours",
                "devices.zone: – → UTC",
            ],
        ),
        (
            f"devices: {{at_most: {HOURS}, zone: UTC}}",
            f"devices: {{at_most: {HOURS}, zone: Asia/Tokyo}}",
            ["devices.zone: UTC → Asia/Tokyo"],
        ),
        ("", "retries: {stop_after: none}", ["retries.stop_after: 10 → –"]),
        (
            "retries: {backoff: 60s}",
            "retries: {backoff: 60.01s}",
            ["retries.backoff: 60 s → 60.01 s"],
        ),
        ("", "limits: {log: 2GiB}", ["limits.log: 1024 MiB → 2048 MiB"]),
        ("", "exclude: [{case: b}]", []),
        ("", "matrix: {case: [c, a, b, d]}", ["its tasks stand in another order"]),
    ],
)
def test_what_is_taken_over_is_told(tmp_path: Path, before: str, now: str, told: list[str]) -> None:
    sweeps = []
    for text in (before, now):
        matrix = "" if "matrix" in text else "matrix: {case: [a, b, c]}\n"
        (tmp_path / "s.yaml").write_text(f"{matrix}{text}\nworker: {{command: [x]}}\n")
        sweeps.append(read_sweep(tmp_path / "s.yaml"))
    assert taken_over(*sweeps) == told


@pytest.mark.parametrize(
    ("sections", "names"),
    [
        ({"devices": {"cpu_slots": 2}}, "devices"),
        ({"validate": {"success": "hurrah"}}, "validate"),
        ({"order": "random"}, "order"),
        ({"worker": {"env": {"A": "1"}}}, "worker.env"),
        ({"order": "random", "validate": {"success": "hurrah"}}, "validate, order"),
    ],
)
def test_what_cannot_change_is_told_and_nothing_changes(
    runner: SweepRunner, sections: dict[str, Any], names: str
) -> None:
    running, open_gate = one_at_its_gate(runner, {"a": "gate; ok", "b": "ok"})
    edit(runner, {"new": "ok", "a": "gate; ok", "b": "ok"}, **sections)
    said = hand(runner, "reload", code=2)
    assert said.startswith(f"runner: the file is not taken in: {names} cannot change while it runs")
    assert said.count("\n") == 1
    open_gate()
    assert running.end().code == 0
    assert runner.starts("new") == 0
    assert runner.journal("reload_refused")[0]["why"].startswith(names)


@pytest.mark.parametrize("text", ["matrix: {case: [a", "matrix: {case: []}\nworkers: 3\n", "[]"])
def test_a_broken_file_is_told_here_and_in_the_journal(runner: SweepRunner, text: str) -> None:
    running, open_gate = one_at_its_gate(runner, {"a": "gate; ok", "b": "ok"})
    runner.write_text(text)
    said = hand(runner, "reload", code=2)
    assert said.startswith(str(runner.file))
    running.wait_for(r"the sweep file was not taken in \(")
    open_gate()
    assert running.end().code == 0
    assert runner.starts("b") == 1
    assert runner.journal("reload_refused")[0]["by"] == ME


def test_a_file_that_changed_since_it_was_checked_is_not_taken_in(runner: SweepRunner) -> None:
    running, open_gate = one_at_its_gate(runner, {"a": "gate; ok"})
    edit(runner, {"a": "gate; ok", "b": "ok"})
    ask(runner.paths, ev.ReloadAsked("of another one"))
    running.wait_for("it has changed again since it was checked")
    open_gate()
    assert running.end().code == 0
    assert runner.starts("b") == 0


def test_a_fifo_in_the_files_place_is_not_taken_in(runner: SweepRunner) -> None:
    running, open_gate = one_at_its_gate(runner, {"a": "gate; ok"})
    runner.file.unlink()
    os.mkfifo(runner.file)
    ask(runner.paths, ev.ReloadAsked("any"))
    running.wait_for("not taken in .*: is a FIFO, a socket or a device; a sweep is a YAML file")
    open_gate()
    assert running.end().code == 0


def test_a_file_that_cannot_be_read_holds_nothing_up_for_ever(
    runner: SweepRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner.write({"a": "ok"})
    sweep, never = read_sweep(runner.file), threading.Event()
    monkeypatch.setattr(reload, "LONGEST_READING", 0.01)
    monkeypatch.setattr(reload, "read_anew", lambda *_: never.wait())
    inbox, refused = Inbox(), list[je.ReloadRefused]()
    core = Core([InitialTask("a")], Policy.of(sweep), sweep.limits, 0.0)
    reloader = reload.Reloader(
        SweepInUse(sweep), runner.file, (), runner.paths, Clock(), core, inbox,
        take_in=lambda news: None, refuse=refused.append,
    )  # fmt: skip
    wish = ev.ReloadAsked(sweep.fingerprint)
    reloader.ask(Asked(wish, "ada", 0.0, (0, 0)), wish)
    assert readable(inbox, PATIENCE)
    inbox.call_all()
    assert refused == [je.ReloadRefused("ada", "it could not be read within 0.0 s")]
    never.set()


def test_two_at_once_are_both_answered(runner: SweepRunner) -> None:
    running, open_gate = one_at_its_gate(runner, {"a": "gate; ok"})
    edit(runner, {"a": "gate; ok", "b": "ok"})
    said: list[str] = []
    both = [threading.Thread(target=lambda: said.append(hand(runner, "reload"))) for _ in "12"]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert all("has taken the file in" in text for text in said)
    open_gate()
    assert running.end().code == 0
    assert runner.starts("b") == 1
    # The second may have asked when the end had come: who starts anew reads the file anyway.
    assert runner.run().code == 0
    assert not read_wishes(runner.paths).asked


def test_only_holds_for_new_tasks_too(runner: SweepRunner) -> None:
    runner.write({"a1": "gate; ok", "b1": "ok"}, devices=ONE)
    running = runner.start(runner.file, "--only", "a*")
    open_gate = runner.reach_gate("a1")
    edit(runner, {"a1": "gate; ok", "b1": "ok", "a2": "ok", "b2": "ok"})
    assert "1 new" in hand(runner, "reload")
    assert runner.status()["left_out"] == 2
    open_gate()
    assert running.end().code == 0
    assert sorted(e["task"] for e in runner.logged("start")) == ["a1", "a2"]


def test_what_an_earlier_dispatcher_left_running_is_taken_over_when_it_is_back(
    runner: SweepRunner,
) -> None:
    runner.write({"a": "gate; ok", "b": "gate; ok"})
    first = runner.start()
    gates = [runner.reach_gate(task) for task in "ab"]
    first.kill()
    edit(runner, {"b": "gate; ok"}, devices={"cpu_slots": 2})
    running = runner.start()
    running.wait_for("b: attempt 1 still runs on .*taken over")
    edit(runner, {"a": "gate; ok", "b": "gate; ok"}, devices={"cpu_slots": 2})
    assert "1 new" in hand(runner, "reload")
    running.wait_for("a: attempt 1 still runs on .*taken over")
    for open_gate in gates:
        open_gate()
    assert running.end().code == 0
    assert (runner.starts("a"), runner.starts("b")) == (1, 1)


def test_a_task_that_waits_for_its_next_attempt_begins_anew_with_other_settings(
    runner: SweepRunner,
) -> None:
    script = {"a": ["exit 1", "ok"], "b": "gate; ok"}
    runner.write(script, retries={"max_attempts": 2, "backoff": "1h"})
    running = runner.start()
    running.wait_for("a: will be tried again")
    open_gate = runner.reach_gate("b")
    other = {"command": [*runner.command(), "more"]}
    edit(runner, script, devices={"cpu_slots": 2}, worker=other, retries={"backoff": "1h"})
    hand(runner, "reload")
    running.wait_for("a: completed")
    open_gate()
    running.send(signal.SIGINT)
    running.send(signal.SIGINT)
    running.end()
    assert runner.starts("a") == 2


def test_another_name_is_another_sweep(runner: SweepRunner) -> None:
    running, open_gate = one_at_its_gate(runner, {"a": "gate; ok"})
    runner.write_text(f"name: other\n{runner.file.read_text()}")
    said = hand(runner, "reload", code=2)
    assert said.startswith(
        "other: its dispatcher runs it as runner; name cannot change while it runs"
    )
    open_gate()
    assert running.end().code == 0


def test_what_the_worker_finds_wrong_is_told_here_and_in_the_journal(runner: SweepRunner) -> None:
    running, open_gate = one_at_its_gate(runner, {"a": "gate; ok"})
    edit(runner, {"a": "gate; ok", "b": "ok"}, worker={"command": ["no-such-program", "{task}"]})
    assert "there is no program 'no-such-program'" in hand(runner, "reload", code=2)
    running.wait_for("the sweep file was not taken in .*there is no program 'no-such-program'")
    open_gate()
    assert running.end().code == 0


def test_a_paused_sweep_takes_the_file_in_and_stays_paused(runner: SweepRunner) -> None:
    running, open_gate = one_at_its_gate(runner, {"a": "gate; ok"})
    hand(runner, "pause")
    running.wait_for("paused by hand")
    edit(runner, {"a": "gate; ok", "b": "ok"})
    assert "1 new" in hand(runner, "reload")
    open_gate()
    running.wait_for("a: completed")
    assert runner.starts("b") == 0
    hand(runner, "resume")
    assert running.end().code == 0
    assert runner.starts("b") == 1


def test_an_interrupted_sweep_takes_nothing_in(runner: SweepRunner) -> None:
    running, open_gate = one_at_its_gate(runner, {"a": "gate; ok", "b": "ok"})
    running.send(signal.SIGINT)
    running.wait_for("interrupted: nothing new is started")
    edit(runner, {"a": "gate; ok", "c": "ok"})
    assert "it was interrupted, and starts nothing more" in hand(runner, "reload", code=2)
    open_gate()
    assert running.end().code == 130


def test_without_a_dispatcher_there_is_nothing_to_do(runner: SweepRunner) -> None:
    runner.write({"a": "ok"})
    assert "no dispatcher runs; the next one reads the file" in hand(runner, "reload")
    assert not runner.paths.wishes.exists()


def test_a_wish_that_its_dispatcher_never_saw_changes_nothing_for_the_next(
    runner: SweepRunner,
) -> None:
    runner.write({"a": "ok"})
    assert runner.run().code == 0
    ask(runner.paths, ev.ReloadAsked(read_sweep(runner.file).fingerprint))
    runner.write({"a": "ok", "b": "ok"})
    assert runner.run().code == 0
    assert runner.starts() == 2


def test_a_stop_of_a_new_task_is_obeyed_and_of_a_removed_one_forgotten(runner: SweepRunner) -> None:
    running, open_gate = one_at_its_gate(runner, {"a": "gate; ok", "b": "ok"})
    edit(runner, {"a": "gate; ok", "new": "ok"})
    hand(runner, "reload")
    ask(runner.paths, ev.StopAsked("b", fail=True))
    hand(runner, "stop", "new", "--fail")
    running.wait_for("new: failed for good: stopped by hand")
    open_gate()
    assert running.end().code == 1
    assert not read_wishes(runner.paths).asked
    assert runner.starts() == 1


def test_a_task_that_left_is_judged_by_the_sweep_that_it_was_of(runner: SweepRunner) -> None:
    runner.write({"a": "ok", "b": "ok"})
    before = read_sweep(runner.file)
    content = json.loads(json.dumps({"matrix": {"case": ["b"], "other": [1]}, "name": "runner"}))
    runner.write_text(json.dumps({**content, "worker": {"command": runner.command()}}))
    use = SweepInUse(before)
    use.take_in(read_sweep(runner.file))
    assert use.of("a") is before
    assert use.of("b_1") is use.now
    assert use.digest("a") == before.digest(before.tasks[0])
    assert not use.has("a")
    use.take_in(before)
    assert use.has("a")
