"""A hand on the running sweep: stop, pause, resume and drain, from another shell."""

from __future__ import annotations

import os
import re
import signal
import stat
from pathlib import Path
from typing import Any

import pytest

from scheduler.core import events as ev
from scheduler.devices.processes import user_name
from scheduler.dispatch.wishes.files import ask, forget, read_wishes
from scheduler.storage.paths import PAUSE_WISH, SweepPaths
from tests.helpers.sweep_runner import Running, SweepRunner
from tests.scheduler.dispatch.test_stopping import alive

ME = user_name(os.geteuid())
SOMEBODY = 12345  # a user's id that is not ours


def hand(runner: SweepRunner, command: str, *words: str, code: int = 0) -> str:
    """Give a command from another shell; return what it says."""
    ended = runner.run(command, runner.file, *words)
    assert ended.code == code, ended.err
    return ended.out + ended.err


def one_at_its_gate(runner: SweepRunner, **sections: Any) -> tuple[Running, Any]:
    """Start a sweep of a, whose first attempt stands at its gate, and b, for which there is no slot."""
    runner.write({"a": ["gate; ok", "ok"], "b": "ok"}, devices={"cpu_slots": 1}, **sections)
    running = runner.start()
    return running, runner.reach_gate("a")


# --- stop ----------------------------------------------------------------------------------------


def test_a_stopped_task_is_tried_again_and_charged_nothing(runner: SweepRunner) -> None:
    running, _ = one_at_its_gate(runner, retries={"max_attempts": 1})
    assert "ends its attempt" in hand(runner, "stop", "a")
    assert running.end().code == 0
    assert (runner.starts("a"), runner.starts("b")) == (2, 1)
    assert not alive(runner.logged("start", "a")[0]["pid"])
    assert runner.done("a")["attempts"][0]["cause"] == "stopped by hand"
    (asked,) = runner.journal("stop_asked")
    assert (asked["task"], asked["fail"], asked["by"]) == ("a", False, ME)
    assert not list(runner.paths.wishes.iterdir()), "the wish is forgotten once it is obeyed"


def test_a_task_that_is_stopped_to_fail_is_not_tried_again(runner: SweepRunner) -> None:
    running, _ = one_at_its_gate(runner)
    hand(runner, "stop", "a", "--fail")
    assert running.end().code == 1
    assert (runner.starts("a"), runner.starts("b")) == (1, 1)
    assert runner.failed("a")["cause"] == "stopped by hand"
    assert runner.status()["tasks"][0]["cause"] == "stopped by hand"
    assert hand(runner, "retry", "a")
    assert runner.run().code == 0


def test_a_waiting_task_is_failed_and_never_run(runner: SweepRunner) -> None:
    running, open_gate = one_at_its_gate(runner)
    hand(runner, "stop", "b", "--fail")
    running.wait_for("b: failed for good: stopped by hand")
    open_gate()
    assert running.end().code == 1
    assert (runner.starts("a"), runner.starts("b")) == (1, 0)
    assert runner.failed("b")["verdict"] == "stopped"


def test_what_has_ended_or_does_not_run_is_left_alone(runner: SweepRunner) -> None:
    running, open_gate = one_at_its_gate(runner)
    assert "b: does not run" in hand(runner, "stop", "b")
    open_gate()
    running.end()
    assert hand(runner, "stop", "a", "b", "--fail").count("has completed already") == 2


def test_unknown_tasks_are_told_with_the_nearest_name(runner: SweepRunner) -> None:
    runner.write({"first": "ok"})
    assert "no task 'frist'; did you mean first?" in hand(runner, "stop", "frist", code=2)


def test_a_wish_stands_until_a_dispatcher_comes(runner: SweepRunner) -> None:
    runner.write({"a": "ok", "b": "ok"})
    assert "the next one fails it" in hand(runner, "stop", "b", "--fail")
    assert runner.run().code == 1
    assert (runner.starts("a"), runner.starts("b")) == (1, 0)


def test_a_task_that_is_failed_while_an_attempt_of_other_settings_runs_stays_failed(
    runner: SweepRunner,
) -> None:
    running, _ = one_at_its_gate(runner)
    running.kill()
    other = {"command": runner.command(), "args": {"x": 1}}
    runner.write({"a": ["gate; ok", "ok"], "b": "ok"}, worker=other)
    hand(runner, "stop", "a", "--fail")
    assert [runner.run().code for _ in "12"] == [1, 1]
    assert runner.starts("a") == 1


# --- pause, resume -------------------------------------------------------------------------------


def test_a_paused_sweep_starts_nothing_until_it_is_resumed(runner: SweepRunner) -> None:
    running, open_gate = one_at_its_gate(runner)
    hand(runner, "pause")
    running.wait_for("paused by hand .*what runs may end")
    open_gate()
    running.wait_for("a: completed")
    status = runner.status()
    assert status["paused_by"] == ME
    assert "paused by hand" in status["tasks"][1]["waits"]
    assert "paused by hand" in runner.run("status", runner.file).out
    assert runner.starts("b") == 0
    hand(runner, "resume")
    assert running.end().code == 0
    assert runner.status()["paused_by"] is None


def test_a_pause_now_stops_what_runs_and_charges_nothing(runner: SweepRunner) -> None:
    running, _ = one_at_its_gate(runner, retries={"max_attempts": 1})
    hand(runner, "pause", "--now")
    running.wait_for("a: will be tried again")
    assert not alive(runner.logged("start", "a")[0]["pid"])
    hand(runner, "resume")
    assert running.end().code == 0
    assert runner.starts("a") == 2


def test_a_pause_outlives_its_dispatcher(runner: SweepRunner) -> None:
    running, open_gate = one_at_its_gate(runner)
    hand(runner, "pause")
    running.wait_for("paused by hand")
    running.kill()
    open_gate()
    runner.wait_for_end_of_attempt("a")
    running = runner.start()
    running.wait_for("paused by hand .*`resume` lets it go on")
    running.wait_for("a: completed")
    assert runner.starts("b") == 0
    hand(runner, "resume")
    assert running.end().code == 0


def test_a_paused_sweep_can_be_left(runner: SweepRunner) -> None:
    runner.write({"a": "ok"})
    assert "the next one starts nothing new" in hand(runner, "pause")
    running = runner.start()
    running.wait_for("paused by hand")
    running.send(signal.SIGINT)
    assert running.end().code == 130
    assert runner.starts() == 0
    assert "no dispatcher runs; the sweep is paused" in runner.status()["tasks"][0]["waits"]
    assert "starts tasks again" in hand(runner, "resume")
    assert "is not paused by hand" in hand(runner, "resume")
    assert runner.run().code == 0


def test_what_is_taken_back_between_two_looks_is_told_as_it_happened(runner: SweepRunner) -> None:
    """The dispatcher does not look while it is stopped; with drain it is the same."""
    running, open_gate = one_at_its_gate(runner)
    for command in ("pause", "resume"):
        hand(runner, command)
        running.wait_for(f"{command}d by hand")
    pid = running.process.pid
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
    for words in ("pause", "resume", "pause --now", "drain cpu:0", "drain cpu:0 --undo"):
        hand(runner, *words.split())
    os.kill(pid, signal.SIGCONT)
    running.wait_for("a: will be tried again")
    hand(runner, "resume")
    open_gate()
    ended = running.end()
    assert ended.code == 0
    told = re.findall(r"(paused|resumed) by hand \(", ended.out)
    assert told == ["paused", "resumed"] * 3
    assert [event["now"] for event in runner.journal("pause_asked")] == [False, False, True]
    assert [event["on"] for event in runner.journal("drain_asked")] == [True, False]


def test_a_resume_of_before_is_not_told_by_the_next_dispatcher(runner: SweepRunner) -> None:
    runner.write({"a": "gate; ok"})
    for command in ("pause", "resume"):
        hand(runner, command)
    running = runner.start()
    open_gate = runner.reach_gate("a")
    hand(runner, "drain", "cpu:0")
    running.wait_for("cpu:0: drained")  # so it has looked again
    open_gate()
    assert running.end().code == 0
    assert not runner.journal("resume_asked")


# --- drain ---------------------------------------------------------------------------------------


def test_nothing_is_started_on_a_drained_device(runner: SweepRunner) -> None:
    running, open_gate = one_at_its_gate(runner)
    hand(runner, "drain", "cpu:0")
    running.wait_for("cpu:0: drained by hand")
    open_gate()
    running.wait_for("a: completed")
    assert runner.status()["devices"][0]["drained"]
    assert "drained" in runner.status()["tasks"][1]["waits"]
    assert "has no device 'cpu:00' (it has cpu:0); did you mean cpu:0?" in hand(
        runner, "drain", "cpu:00", code=2
    )
    hand(runner, "drain", "cpu:0", "--undo")
    assert running.end().code == 0
    assert "is not drained" in hand(runner, "drain", "cpu:0", "--undo")


# --- the files -----------------------------------------------------------------------------------


@pytest.fixture
def paths(tmp_path: Path) -> SweepPaths:
    paths = SweepPaths(tmp_path, "sweep")
    paths.make_folders()
    return paths


def test_a_wish_is_read_as_it_was_written(paths: SweepPaths) -> None:
    wishes: list[Any] = [
        ev.StopAsked("a.b", fail=True),
        ev.PauseAsked(now=True),
        ev.DrainAsked("cpu:0"),
        ev.DrainAsked("GPU-1", on=False),
    ]
    for wish in wishes:
        ask(paths, wish)
    found = read_wishes(paths)
    assert not found.ignored
    assert sorted(map(repr, (a.wish for a in found.asked.values()))) == sorted(map(repr, wishes))
    assert found.paused is not None
    assert list(found.drained) == ["cpu:0"]
    assert stat.S_IMODE(paths.wishes.stat().st_mode) == 0o700


def test_a_wish_to_fail_is_not_replaced_by_one_that_wants_less(paths: SweepPaths) -> None:
    ask(paths, ev.StopAsked("a", fail=True))
    ask(paths, ev.StopAsked("a"))
    (asked,) = read_wishes(paths).asked.values()
    assert asked.wish == ev.StopAsked("a", fail=True)


def test_a_wish_to_fail_that_is_written_at_the_same_moment_stands(
    paths: SweepPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Just after it was looked for, by the one that wants less."""
    real = os.fsync

    def sync(descriptor: int) -> None:
        monkeypatch.undo()
        ask(paths, ev.StopAsked("a", fail=True))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    ask(paths, ev.StopAsked("a"))
    (asked,) = read_wishes(paths).asked.values()
    assert asked.wish == ev.StopAsked("a", fail=True)
    assert len(list(paths.wishes.iterdir())) == 1


@pytest.mark.parametrize("others_too", [False, True])
def test_a_wish_that_takes_the_place_of_an_obeyed_one_stands(
    paths: SweepPaths, monkeypatch: pytest.MonkeyPatch, others_too: bool
) -> None:
    """Just after the obeyed one was looked at; and a third one comes while its file is moved away."""
    ask(paths, ev.StopAsked("a"))
    (obeyed,) = read_wishes(paths).asked.values()
    real = os.rename

    def rename(source: Path, target: Path) -> None:
        monkeypatch.undo()
        ask(paths, ev.StopAsked("a", fail=True))
        real(source, target)
        if others_too:
            ask(paths, ev.StopAsked("a"))

    monkeypatch.setattr(os, "rename", rename)
    forget(paths, "stop.a.json", obeyed)
    (asked,) = read_wishes(paths).asked.values()
    assert asked.wish == ev.StopAsked("a", fail=True)
    assert len(list(paths.wishes.iterdir())) == 1
    forget(paths, "stop.a.json", asked)
    assert not list(paths.wishes.iterdir())


def test_a_stop_replaces_what_is_not_believed(paths: SweepPaths) -> None:
    ask(paths, ev.StopAsked("a"))
    paths.wish("stop.a.json").write_text("{}")
    ask(paths, ev.StopAsked("a"))
    assert [asked.wish for asked in read_wishes(paths).asked.values()] == [ev.StopAsked("a")]


@pytest.mark.parametrize("where", ["folder", "file"])
@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda path: os.chown(path, SOMEBODY, -1), "is user 12345's"),
        (lambda path: path.chmod(0o777), "can be written by others"),
        (lambda path: path.chmod(0o720), "can be written by others"),
    ],
)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_others_can_write_is_not_believed(
    paths: SweepPaths, where: str, change: Any, why: str
) -> None:
    ask(paths, ev.PauseAsked())
    path = paths.wishes if where == "folder" else paths.wish(PAUSE_WISH)
    change(path)
    found = read_wishes(paths)
    assert not found.asked
    assert found.ignored == {path.name: why}


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", "{}", '{"on": 1, "hard": true, "by": "a", "at": 1}', '{"on": true, "by": 1}'],
)
def test_what_is_no_wish_is_ignored(paths: SweepPaths, content: str) -> None:
    ask(paths, ev.PauseAsked())
    paths.wish(PAUSE_WISH).write_text(content)
    assert read_wishes(paths).ignored == {PAUSE_WISH: "is no wish"}


def test_a_link_and_a_fifo_are_no_wishes(paths: SweepPaths) -> None:
    ask(paths, ev.PauseAsked())
    os.mkfifo(paths.wish("stop.a.json"))
    paths.wish("stop.b.json").symlink_to(paths.wish(PAUSE_WISH))
    found = read_wishes(paths)
    assert list(found.asked) == [PAUSE_WISH]
    assert found.ignored.keys() == {"stop.a.json", "stop.b.json"}


def test_a_distrusted_wish_is_told_and_changes_nothing(runner: SweepRunner) -> None:
    runner.write({"a": "ok"})
    hand(runner, "pause")
    runner.paths.wishes.chmod(0o777)
    ended = runner.run()
    assert ended.code == 0
    assert ".wishes: ignored: it can be written by others" in ended.out


def test_a_wish_about_a_task_that_left_the_sweep_is_forgotten(runner: SweepRunner) -> None:
    runner.write({"a": "ok", "b": "ok"})
    hand(runner, "stop", "b", "--fail")
    runner.write({"a": "ok"})
    assert runner.run().code == 0
    assert not list(runner.paths.wishes.iterdir())


def test_a_wish_about_a_task_left_out_by_only_stands(runner: SweepRunner) -> None:
    runner.write({"a": "ok", "b": "ok"})
    hand(runner, "stop", "b", "--fail")
    assert runner.run(runner.file, "--only", "case=a").code == 0
    assert runner.run().code == 1
    assert runner.starts("b") == 0


def test_an_excluded_task_that_still_runs_is_shown_with_its_pid(runner: SweepRunner) -> None:
    running, open_gate = one_at_its_gate(runner)
    running.kill()
    runner.write({"b": "ok"})
    ended = runner.run()
    status = runner.status()
    pid = status["left_running_pids"]["a"]
    assert (
        f"a: still runs, but is no longer in the sweep; left alone (`kill {pid}` ends it)"
        in ended.out
    )
    assert f"a (`kill {pid}` ends it)" in runner.run("status", runner.file).out
    os.kill(pid, signal.SIGTERM)
    runner.wait_for_end_of_attempt("a")
    assert not alive(runner.logged("start", "a")[0]["pid"])
    open_gate()
