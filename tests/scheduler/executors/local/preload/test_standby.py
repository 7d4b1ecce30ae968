"""The worker that prepares for the next task while every device is in use."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml

from scheduler.executors.local.preload.memory import available
from tests.helpers.fake_nvml import FakeNvml
from tests.helpers.sweep_runner import FORKED, Running, SweepRunner
from tests.helpers.waiting import PATIENCE, readable, wait_until

PREPARING = {**FORKED, "preload": "preparing_worker"}
LOADED = "is loaded, which took"


@pytest.fixture
def three(runner: SweepRunner, tmp_path: Path) -> SweepRunner:
    """A sweep of tasks a, b and c, one at a time, each of which waits at its gate."""
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 99999999 kB\nMemAvailable: 88888888 kB\n")
    runner.environment["SCHEDULER_MEMINFO"] = str(meminfo)
    runner.write(dict.fromkeys("abc", "gate; ok"), worker=PREPARING, devices={"cpu_slots": 1})
    return runner


def second_runs(runner: SweepRunner) -> tuple[Running, Callable[[], None]]:
    """Start the sweep and let a through; return the run, and what lets b through."""
    running = runner.start()
    running.wait_for(LOADED)
    runner.open_gate("a")
    return running, runner.reach_gate("b")


def prepared(runner: SweepRunner, task: str) -> int:
    """Wait until a worker has told that it is prepared for a task; return its process id."""
    runner.wait_for_log("prepare", task)
    pid = int(runner.logged("prepare", task)[-1]["pid"])
    wait_until(lambda: not any("pipe:" in target for target in descriptors(pid)))
    return pid


def descriptors(pid: int) -> list[str]:
    folder = f"/proc/{pid}/fd"
    found = []
    for name in os.listdir(folder):
        try:
            found.append(os.readlink(f"{folder}/{name}"))
        except FileNotFoundError:
            continue
    return found


def wait_for_end(pid: int) -> None:
    """Wait until a process is gone, whether it is there or not."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    assert readable(pidfd, PATIENCE), "it lives on"
    os.close(pidfd)


def assert_one_stands_by_for_d(runner: SweepRunner, running: Running) -> None:
    """Let c through while a worker prepares for d, which is the last."""
    through = runner.reach_gate("c")
    pid = prepared(runner, "d")
    through()
    runner.open_gate("d")
    assert running.end().code == 0
    assert runner.logged("start", "d")[0]["pid"] == pid


def launches(runner: SweepRunner) -> list[str | None]:
    return [event["launch"] for event in runner.journal("attempt_started")]


def supervisor_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_the_next_task_runs_where_it_was_prepared_for(three: SweepRunner) -> None:
    running, through = second_runs(three)
    pid = prepared(three, "c")
    [told] = three.logged("prepare")
    assert (len(told["cpus"]), told["device"]) == (1, "")
    assert (told["spec"], told["results"]) == ("c", str(three.paths.results("c")))
    assert "still runs" not in three.run(three.file, "--dry-run").out  # none of it does
    assert not three.paths.attempts("c").exists() and not three.paths.log("c").exists()
    through()
    through = three.reach_gate("c")
    [start] = three.logged("start", "c")
    assert start["pid"] == pid
    assert start["environment"]["SWEEP_TASK"] == "c"
    assert start["cpus"] == sorted(os.sched_getaffinity(0))
    threads = [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    assert len(threads) == 2
    assert all(os.sched_getaffinity(thread) == os.sched_getaffinity(0) for thread in threads)
    assert Path(f"/proc/{pid}/stat").read_text().split()[5] == str(pid)
    assert b"SWEEP_TASK=c\0" in Path(f"/proc/{pid}/environ").read_bytes()
    assert not [one for one in descriptors(pid) if one.startswith(("pipe:", "socket:"))]
    assert (
        Path(f"/proc/{pid}/oom_score_adj").read_text()
        == Path("/proc/self/oom_score_adj").read_text()
    )
    running.kill()
    os.kill(three.attempt("c")["supervisor"], 0)  # both outlive the dispatcher
    again = three.start()
    again.wait_for("c: attempt 1 still runs on cpu:0; taken over")
    through()
    assert again.end().code == 0
    assert three.log("c").splitlines()[0] == "prepared for c"
    assert launches(three) == [None, "forked", "standby"]
    assert three.done("c")["attempts"][0]["launch"] == "standby"
    assert three.starts("c") == 1


@pytest.mark.parametrize("whom", ["worker", "supervisor"])
@pytest.mark.parametrize("when", ["it is prepared", "its task starts"])
def test_one_that_is_killed_costs_nothing(three: SweepRunner, whom: str, when: str) -> None:
    running, through = second_runs(three)
    pid = prepared(three, "c")
    victim = pid if whom == "worker" else supervisor_of(pid)
    if when == "its task starts":  # and the dispatcher has no time to see it
        running.process.send_signal(signal.SIGSTOP)
        through()
        three.wait_for_log("end", "b")
    os.kill(victim, signal.SIGKILL)
    wait_for_end(pid)
    if when == "its task starts":
        running.process.send_signal(signal.SIGCONT)
    else:
        through()
    three.open_gate("c")
    assert running.end().code == 0
    assert three.starts("c") == 1
    assert three.done("c")["attempts"][0]["code"] == 0


@pytest.mark.parametrize("state", ["prepares", "is prepared"])
def test_nothing_of_it_outlives_its_dispatcher(three: SweepRunner, state: str) -> None:
    if state == "prepares":
        (three.folder / "prepare waits").touch()
    running, through = second_runs(three)
    three.wait_for_log("prepare", "c")
    pid = three.logged("prepare")[0]["pid"] if state == "prepares" else prepared(three, "c")
    supervisor = supervisor_of(pid)
    running.kill()
    wait_for_end(pid)
    wait_for_end(supervisor)
    assert not three.paths.attempts("c").exists() and not three.paths.log("c").exists()
    (three.folder / "prepare waits").unlink(missing_ok=True)
    through()
    again = three.start()
    three.open_gate("c")
    assert again.end().code == 0
    assert three.starts("c") == 1


def pause(runner: SweepRunner, running: Running) -> None:
    assert runner.run("pause", runner.file).code == 0
    running.wait_for("paused by hand")


def reload_without_it(runner: SweepRunner, running: Running) -> None:
    text = runner.file.read_text()
    runner.file.write_text(text.replace("  - c\n", ""))
    assert runner.run("reload", runner.file).code == 0
    running.wait_for("the sweep file was read again")


def drain(runner: SweepRunner, running: Running) -> None:
    assert runner.run("drain", runner.file, "cpu:0").code == 0
    running.wait_for("cpu:0: drained")


def no_device_at_this_hour(runner: SweepRunner, running: Running) -> None:
    now, hour = datetime.now(timezone.utc), timedelta(hours=1)
    span = f"from: '{now - hour:%H:%M}', to: '{now + hour:%H:%M}'"
    hours = f"cpu_slots: 1\n  zone: UTC\n  at_most: [{{{span}, gpus: 0}}, {{gpus: 1}}]"
    runner.file.write_text(runner.file.read_text().replace("cpu_slots: 1", hours))
    assert runner.run("reload", runner.file).code == 0
    running.wait_for("the sweep file was read again")


def stop_and_fail(runner: SweepRunner, running: Running) -> None:
    assert runner.run("stop", runner.file, "c", "--fail").code == 0
    running.wait_for("c: failed")


def interrupt(runner: SweepRunner, running: Running) -> None:
    running.send(signal.SIGINT)
    running.wait_for("interrupted")


@pytest.mark.parametrize(
    "happens",
    [pause, reload_without_it, interrupt, drain, no_device_at_this_hour, stop_and_fail],
)
@pytest.mark.parametrize("state", ["prepares", "is prepared"])
def test_it_is_ended_when_its_task_is_next_no_more(
    three: SweepRunner, happens: Callable[[SweepRunner, Running], None], state: str
) -> None:
    if state == "prepares":
        (three.folder / "prepare waits").touch()
    running, through = second_runs(three)
    three.wait_for_log("prepare", "c")
    pid = three.logged("prepare")[0]["pid"] if state == "prepares" else prepared(three, "c")
    happens(three, running)
    wait_for_end(pid)
    through()
    three.wait_for_log("end", "b")
    assert not three.paths.attempts("c").exists()


def test_a_stop_of_its_task_which_does_not_run_leaves_it(three: SweepRunner) -> None:
    running, through = second_runs(three)
    pid = prepared(three, "c")
    assert three.run("stop", three.file, "c").code == 0
    through()
    through = three.reach_gate("c")
    assert three.logged("start", "c")[0]["pid"] == pid
    assert three.run("stop", three.file, "c", "--fail").code == 0  # and of one that does, it is any
    assert running.end().code == 1
    assert [attempt["verdict"] for attempt in three.failed("c")["attempts"]] == ["stopped"]
    assert launches(three) == [None, "forked", "standby"]


def test_it_is_there_again_once_its_task_is_next_again(three: SweepRunner) -> None:
    running, through = second_runs(three)
    pid = prepared(three, "c")
    drain(three, running)
    wait_for_end(pid)
    assert three.run("drain", three.file, "cpu:0", "--undo").code == 0
    wait_until(lambda: len(three.logged("prepare", "c")) >= 2)
    pid = prepared(three, "c")
    through()
    three.open_gate("c")
    assert running.end().code == 0
    assert three.logged("start", "c")[0]["pid"] == pid


def test_another_task_that_comes_before_it_takes_its_place(three: SweepRunner) -> None:
    running, through = second_runs(three)
    pid = prepared(three, "c")
    three.script({"d": "gate; ok"} | dict.fromkeys("abc", "gate; ok"))
    three.file.write_text(three.file.read_text().replace("- c\n", "- d\n  - c\n"))
    assert three.run("reload", three.file).code == 0
    wait_for_end(pid)
    pid = prepared(three, "d")
    through()
    through = three.reach_gate("d")
    assert three.logged("start", "d")[0]["pid"] == pid
    through()
    three.open_gate("c")
    assert running.end().code == 0
    assert [three.starts(task) for task in "abcd"] == [1, 1, 1, 1]


def test_a_worker_that_still_prepares_is_not_waited_for(three: SweepRunner) -> None:
    (three.folder / "prepare waits").touch()
    running, through = second_runs(three)
    three.wait_for_log("prepare", "c")
    through()
    three.open_gate("c")
    assert running.end().code == 0
    wait_for_end(three.logged("prepare")[0]["pid"])
    assert launches(three) == [None, "forked", "forked"]


@pytest.mark.parametrize(
    ("file", "why"),
    [
        ("c fails", "prepare: ValueError: as asked"),
        ("c exits", "prepare: it ended with exit code 3"),
    ],
)
def test_one_that_cannot_prepare_costs_its_task_nothing_and_no_other(
    three: SweepRunner, file: str, why: str
) -> None:
    three.write(dict.fromkeys("abcd", "gate; ok"), worker=PREPARING, devices={"cpu_slots": 1})
    (three.folder / file).touch()
    running, through = second_runs(three)
    running.wait_for(f"worker.preload: preparing_worker: {why}; nothing is prepared for c")
    through()
    assert_one_stands_by_for_d(three, running)
    assert launches(three) == [None, "forked", "forked", "standby"]
    assert len(three.logged("prepare", "c")) == 1


def test_where_none_can_prepare_it_is_given_up(three: SweepRunner) -> None:
    three.write(dict.fromkeys("abcdef", "gate; ok"), worker=PREPARING, devices={"cpu_slots": 1})
    (three.folder / "prepare fails").touch()
    running, through = second_runs(three)
    for task in "cd":
        running.wait_for(f"prepare: ValueError: as asked; nothing is prepared for {task}")
        through()
        through = three.reach_gate(task)
    running.wait_for("prepare: ValueError: as asked, 3 times by now; nothing is prepared$")
    through()
    for task in "ef":
        three.open_gate(task)
    assert running.end().code == 0
    assert launches(three) == [None] + 5 * ["forked"]
    assert [event["task"] for event in three.logged("prepare")] == ["c", "d", "e"]


def test_what_it_has_started_ends_with_it(three: SweepRunner) -> None:
    (three.folder / "c has a child").touch()
    running, _ = second_runs(three)
    prepared(three, "c")
    child = three.logged("child", "c")[0]["child"]
    running.kill()
    wait_for_end(child)


def test_it_prepares_for_its_task_as_that_is_now(three: SweepRunner) -> None:
    second_runs(three)
    pid = prepared(three, "c")
    content = yaml.safe_load(three.file.read_text())
    content["search"] = {"anything": "else"}  # of which the command line tells nothing
    three.file.write_text(yaml.safe_dump(content))
    assert three.run("reload", three.file).code == 0
    wait_for_end(pid)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two attempts share one core")
def test_it_prepares_where_no_attempt_is_any_more(three: SweepRunner) -> None:
    three.write(dict.fromkeys("abcd", "gate; ok"), worker=PREPARING, devices={"cpu_slots": 2})
    running = three.start()
    running.wait_for(LOADED)
    (three.folder / "prepare waits").touch()
    three.open_gate("a")
    through = {task: three.reach_gate(task) for task in "bc"}
    three.wait_for_log("prepare", "d")
    pid = three.logged("prepare", "d")[0]["pid"]
    cores = {task: set(three.logged("start", task)[0]["cpus"]) for task in "bc"}
    # of both slots, the one on whose core it does not prepare yet
    ends, slot = ("b", "cpu:1") if os.sched_getaffinity(pid) == cores["c"] else ("c", "cpu:0")
    assert three.run("drain", three.file, slot).code == 0
    running.wait_for(f"{slot}: drained")
    through[ends]()
    running.wait_for(f"{ends}: completed")
    wait_until(lambda: os.sched_getaffinity(pid) == cores[ends])


def test_a_parent_that_was_killed_costs_no_standby_for_good(three: SweepRunner) -> None:
    three.write(dict.fromkeys("abcd", "gate; ok"), worker=PREPARING, devices={"cpu_slots": 1})
    running, through = second_runs(three)
    pid = prepared(three, "c")
    parent = supervisor_of(supervisor_of(pid))
    os.kill(parent, signal.SIGKILL)
    wait_for_end(pid)
    through()
    running.wait_for(LOADED)
    assert_one_stands_by_for_d(three, running)


def test_there_is_one_at_most_and_none_where_memory_is_short(three: SweepRunner) -> None:
    script: dict[str, Any] = dict.fromkeys("abcdef", "gate; ok")
    three.write(script, worker=PREPARING, devices={"cpu_slots": 2})
    running = three.start()
    running.wait_for(LOADED)
    three.open_gate("a")
    gates = [three.reach_gate(task) for task in "bc"]
    pid = prepared(three, "d")
    Path(three.environment["SCHEDULER_MEMINFO"]).write_text("MemAvailable: 1000000 kB\n")
    wait_for_end(pid)  # it is had sooner than memory of an attempt
    gates.pop()()
    gates.append(three.reach_gate("d"))
    for gate in gates:
        gate()
    three.open_gate("e")
    three.open_gate("f")
    assert running.end().code == 0
    assert [event["task"] for event in three.logged("prepare")] == ["d"]


@pytest.mark.parametrize(
    ("files", "room"),
    [
        ({}, 4000 * 1024),
        ({"g/memory.max": "max", "memory.max": "5000000", "memory.current": "2000000"}, 3000000),
        (
            {
                "g/memory.max": "1000",
                "g/memory.current": "900",
                "g/memory.stat": "inactive_file 50",
            },
            150,
        ),
        ({"g/memory.max": "1000", "g/memory.current": "2000"}, 0),
        ({"g/memory.max": "x", "g/memory.current": ""}, 4000 * 1024),
    ],
)
def test_memory_is_what_the_least_of_kernel_and_cgroups_leaves(
    tmp_path: Path, files: dict[str, str], room: int
) -> None:
    (tmp_path / "meminfo").write_text("MemFree: 1 kB\nMemAvailable:    4000 kB\n")
    (tmp_path / "groups").write_text("0::/g\n")
    root = tmp_path / "cgroup"
    (root / "g").mkdir(parents=True)
    for name, text in files.items():
        (root / name).write_text(text + "\n")
    assert available(tmp_path / "meminfo", root, tmp_path / "groups") == room
    assert available(tmp_path / "none", tmp_path / "none", tmp_path / "none") is None
    assert re.search("MemAvailable", Path("/proc/meminfo").read_text())


def test_on_a_gpu_forked_and_prepared_workers_hold_its_lease(
    three: SweepRunner, fake_nvml: FakeNvml
) -> None:
    fake_nvml.gpus(1)
    leases = three.folder / "leases"
    three.environment |= fake_nvml.environment({}) | {"SCHEDULER_LEASES": str(leases)}
    on_gpu = {"idle_for": "0s", "min_free_memory": "1MiB"}
    three.write(dict.fromkeys("abc", "gate; ok"), worker=PREPARING, devices={"only": [0], **on_gpu})
    running, through = second_runs(three)
    [b] = three.logged("start", "b")
    [lease] = [path for path in map(str, leases.iterdir()) if "part" not in path]
    assert lease in descriptors(b["pid"])
    pid = prepared(three, "c")
    assert lease not in descriptors(pid) + descriptors(supervisor_of(pid))
    through()
    through = three.reach_gate("c")
    [c] = three.logged("start", "c")
    assert (c["pid"], three.attempt("c")["launch"]) == (pid, "standby")
    assert c["environment"]["CUDA_VISIBLE_DEVICES"] == three.attempt("c")["device"] != ""
    assert lease in descriptors(pid) and lease in descriptors(supervisor_of(pid))
    through()
    assert running.end().code == 0
