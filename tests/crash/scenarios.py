"""What the dispatcher is killed in: the states of a sweep, and how each must end wherever that happens."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scheduler.config.loader import read_sweep
from scheduler.core import events as ev
from scheduler.dispatch.wishes.files import ask
from scheduler.storage.attempts_file import read_attempts
from scheduler.storage.paths import RELOAD_WISH, SweepPaths

HERE = Path(__file__).parent
LOGGING_WORKER = [
    "python",
    "-I",
    "-S",
    str(HERE / "logging_worker.py"),
    "event_log",
    "{task}",
    "{behaviour}",
]
# The same, forked from a process that has loaded it.
FORKED_WORKER = {
    "command": ["python", *LOGGING_WORKER[3:]],
    "preload": "logging_worker",
}
NO_SUCCESS = {"success": "no program says this"}
ONE_GPU = {"idle_for": "0s", "only": [0]}
OK, FAILS, FAILS_ONCE = ["start", "end"], ["start", "end"] * 2, ["start", "end"] * 2


def write_sweep(folder: Path, behaviours: Sequence[str], slots: int, **sections: Any) -> list[str]:
    """Write a sweep of one worker per behaviour, ``NUMBER_BEHAVIOUR``; return the words that run it."""
    sweep = {
        "name": "crash",
        "matrix": {"number": [0], "behaviour": ["ok"]},
        "exclude": [{"number": 0}],
        "include": [{"number": n, "behaviour": b} for n, b in enumerate(behaviours)],
        "worker": {"command": LOGGING_WORKER},
        "devices": {"cpu_slots": slots, "idle_for": "0s"},
        "retries": {"max_attempts": 2, "backoff": "1ms"},
        **sections,
    }
    (folder / "crash.yaml").write_text(json.dumps(sweep))
    return ["crash.yaml", "--root", "."]


def check_promises(
    folder: Path,
    expected: Mapping[str, tuple[list[str], list[int | None] | None]],
    *,
    failed: bool = False,
) -> None:
    """Compare what the scheduler says with what the witnesses saw.

    Args:
        folder: where the sweep ran.
        expected: for each task, what its worker shall have logged, and the exit codes on record; None
            if it shall be completed, with whatever record.
        failed: all shall have failed, whatever their exit codes.
    """
    lines = [line.split() for line in (folder / "event_log").read_text().splitlines()]
    assert not [line for line in lines if line[0].startswith("shares-with")]
    checkpoints = folder / "checkpoints" / "crash"
    files = {
        ".lock",
        ".specs",
        ".settings",
        ".room",
        ".sweep.json",
        ".tasks.json",
        ".versions.jsonl",
        ".wishes",
    }
    for task, (seen, codes) in expected.items():
        assert [line[0] for line in lines if line[1] == task] == seen, task
        name = f"{task}.{'failed' if failed or (codes and codes[-1] != 0) else 'done'}"
        content = json.loads((checkpoints / name).read_text())
        assert content["exit_code"] == (codes[-1] if codes else 0)
        if codes is not None:
            assert [attempt["code"] for attempt in content["attempts"]] == codes, task
        files.add(name)
        check_measurements(checkpoints, task, seen.count("end"))
    left = {p.name for p in checkpoints.iterdir() if not re.search(r"\.aside|\.jsonl", p.name)}
    assert left <= files, "files of unfinished tasks are left over"


def check_measurements(checkpoints: Path, task: str, count: int) -> None:
    """See that none was lost, and that those made with different settings lie in different files."""
    measured = [path.read_text().splitlines() for path in checkpoints.glob(f"{task}.jsonl*")]
    assert sum(map(len, measured)) == count, task
    assert all(len(set(rows)) == 1 for rows in measured), task


@dataclass(frozen=True)
class Scenario:
    """A sweep's state, what is asked for, and how it must end, wherever a dispatcher dies meanwhile."""

    behaviours: Sequence[str]
    expected: Sequence[
        tuple[list[str], list[int | None] | None]
    ]  # for each behaviour; see `check_promises`
    code: int
    prepare: Callable[[Path, list[str]], Callable[[], object] | None] = lambda folder, words: None
    options: Sequence[str] = ()
    # Of them, those that whoever resumes gets as well.
    options_again: Callable[[Path, Sequence[str]], Sequence[str]] = lambda folder, options: options
    sections: Mapping[str, Any] = field(default_factory=dict)
    meanwhile: Callable[[Path], None] = lambda folder: None  # between death and resumption
    only: str = ""  # of the points, those that match it, known or not
    within: Sequence[
        str
    ] = ()  # functions: of the points, those come to by way of them, known or not
    afterwards: Mapping[str, Any] | None = (
        None  # sections of a further run, which has nothing to do
    )
    failed: bool = False  # see `check_promises`

    def check(self, folder: Path) -> None:
        tasks = [f"{number}_{behaviour}" for number, behaviour in enumerate(self.behaviours)]
        check_promises(folder, dict(zip(tasks, self.expected, strict=True)), failed=self.failed)


def damage_checkpoints(folder: Path, words: list[str]) -> None:
    """Run the sweep; then cut one checkpoint off, change another's log, and make one no object."""
    from tests.crash import fault_injection

    whole = folder.with_name("whole")
    if not whole.exists():
        shutil.copytree(folder, whole)
        assert fault_injection.wait(fault_injection.fork_dispatcher(words, whole / "output")) == 1
    shutil.copytree(whole, folder, dirs_exist_ok=True)
    checkpoints = folder / "checkpoints" / "crash"
    path = checkpoints / "0_ok.done"
    path.write_bytes(path.read_bytes()[:100])
    with (folder / "logs" / "crash" / "1_fails-once.log").open("a") as log:
        log.write("one line more\n")
    (checkpoints / "2_fails.failed").write_text("[]")


def with_round(number: int) -> dict[str, Any]:
    """Return the sections of a sweep whose completions are not those of another round."""
    return {"worker": {"command": LOGGING_WORKER, "env": {"ROUND": str(number)}}}


def after(behaviours: Sequence[str], *rounds: Mapping[str, Any]) -> Callable[..., None]:
    """Return what runs a sweep to its end with other sections before, one after the other."""

    def prepare(folder: Path, words: list[str]) -> None:
        from tests.crash import fault_injection

        before = folder.with_name("before")
        if not before.exists():
            before.mkdir()
            for sections in rounds:
                write_sweep(before, behaviours, 2, **sections)
                pid = fault_injection.fork_dispatcher(words, before / "output")
                assert fault_injection.wait(pid) in (0, 1), (before / "output").read_text()
        ignore = shutil.ignore_patterns("crash.yaml", "output")
        shutil.copytree(before, folder, dirs_exist_ok=True, ignore=ignore)

    return prepare


def leave_other_running(folder: Path, words: list[str]) -> Callable[[], object]:
    """Complete a sweep, edit it and leave it with an attempt at the gate; then put its file back."""
    after(["waits-later"], with_round(1))(folder, words)
    today = (folder / "crash.yaml").read_text()
    write_sweep(folder, ["waits-later"], 2, **with_round(2))
    let_through = leave_one_running(folder, words)
    (folder / "crash.yaml").write_text(today)
    return let_through


def leave_other_waiting(folder: Path, words: list[str]) -> None:
    """The same, with an attempt that is there until somebody stops it."""
    leave_other_running(folder, words)


def leave_other_ended(folder: Path, words: list[str]) -> None:
    """The same, with an attempt that came to its end, which nobody has judged."""
    leave_other_running(folder, words)()
    with (folder / "checkpoints" / "crash" / "0_waits-later.attempts").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # let go of at its end


def leave_between_attempts(folder: Path, words: list[str]) -> None:
    """Leave a sweep whose task failed, for want of a line in its log, and is to be tried again later."""
    from tests.crash import fault_injection

    today = (folder / "crash.yaml").read_text()
    retries = {"max_attempts": 2, "backoff": "1h"}
    write_sweep(folder, ["ok"], 2, validate=NO_SUCCESS, retries=retries)
    pid = fault_injection.fork_dispatcher(words, folder / "output")
    attempts = folder / "checkpoints" / "crash" / "0_ok.attempts"
    while not (attempts.exists() and '"verdict"' in attempts.read_text()):
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    fault_injection.wait(pid)
    (folder / "crash.yaml").write_text(today)


def leave_one_running(folder: Path, words: list[str]) -> Callable[[], object]:
    """Kill a dispatcher whose attempt stands at the gate; return what lets the attempt through."""
    from tests.crash import fault_injection

    os.mkfifo(folder / "gate")
    pid = fault_injection.fork_dispatcher(words, folder / "output")
    os.open(folder / "gate", os.O_WRONLY | os.O_CLOEXEC)  # returns when the worker is there
    gate = os.open(folder / "gate", os.O_RDWR | os.O_CLOEXEC)  # whether it still is or not
    os.kill(pid, signal.SIGKILL)
    fault_injection.wait(pid)
    return lambda: os.write(gate, b"!")


def leave_one_waiting(folder: Path, words: list[str]) -> None:
    """Kill a dispatcher whose attempt stands at the gate, and will for ever."""
    leave_one_running(folder, words)


def wishing(
    wish: ev.StopAsked | ev.PauseAsked | ev.DrainAsked,
) -> Callable[[Path, list[str]], Any]:
    """Return what leaves an attempt at the gate and a wish; where that is no stop, what ends both."""

    def prepare(folder: Path, words: list[str]) -> Callable[[], object] | None:
        let_through = leave_one_running(folder, words)
        ask(SweepPaths(folder, "crash"), wish)
        if isinstance(wish, ev.StopAsked):
            return None

        def go_on() -> None:
            let_through()
            ask(SweepPaths(folder, "crash"), ev.ResumeAsked())

        return go_on

    return prepare


def reloading(folder: Path, words: list[str]) -> None:
    """Have a worker put the sweep file in place that is there: until then there is another one."""
    os.rename(folder / "crash.yaml", folder / "next.yaml")
    wish = ev.ReloadAsked(read_sweep(folder / "next.yaml").fingerprint)
    paths = SweepPaths(folder, "crash")
    paths.make_folders()
    ask(paths, wish)
    os.rename(paths.wish(RELOAD_WISH), folder / "next.json")
    write_sweep(folder, ["ok", "reloads", "fails-once"], 1, devices=ONE_GPU)


def while_the_first_attempt_lasts(folder: Path, options: Sequence[str]) -> Sequence[str]:
    """Return no options once the first attempt is over: they would stop its successor, if that still runs."""
    path = folder / "checkpoints" / "crash" / "0_waits.attempts"
    attempts = read_attempts(path) if path.exists() else []
    return options if attempts and attempts[0].ended is None else []


def damage_every_checkpoint(folder: Path) -> None:
    """Cut off what there is: the record of the exit, or the journal, must prove it again."""
    for path in (folder / "checkpoints" / "crash").glob("*.done"):
        path.write_bytes(path.read_bytes()[:20])


SCENARIOS = {
    "fresh": Scenario(
        ["ok", "fails-once", "fails"], [(OK, [0]), (FAILS_ONCE, [1, 0]), (FAILS, [1, 1])], 1
    ),
    "damaged": Scenario(
        ["ok", "fails-once", "fails"],
        [(OK, []), (FAILS_ONCE + OK, [0]), (FAILS + FAILS, [1, 1])],
        1,
        damage_checkpoints,
    ),
    "taken over": Scenario(
        ["waits", "ok"],
        [(OK, [0])] * 2,
        0,
        leave_one_running,
        within=["take_over", "_adopted_ended"],
    ),
    "not adopted": Scenario(
        ["waits"],
        [(["start", *OK], [None, 0])],
        0,
        leave_one_waiting,
        ["--no-adopt"],
        while_the_first_attempt_lasts,
    ),
    "timeout": Scenario(
        ["hangs"],
        [(["start", "start"], [None, None])],
        1,
        sections={"limits": {"timeout": "300ms"}},
    ),
    "damaged at once": Scenario(
        ["ok"],
        [(OK, None)],
        0,
        meanwhile=damage_every_checkpoint,
        only=r".*/(judgement|outcomes|writer|atomic|attempts_file|checkpoints|journal)\.py",
    ),
    "folder removed": Scenario(  # on one GPU: what follows must find the folder gone
        ["breaks", "ok"], [(OK, [0])] * 2, 0, sections={"devices": ONE_GPU}
    ),
    "edited": Scenario(  # what was completed is set aside, and what was measured
        ["ok", "fails"],
        [(OK + OK, [0]), (FAILS + FAILS, [1, 1])],
        1,
        after(["ok", "fails"], with_round(1)),
        sections=with_round(2),
        within=["set_right", "make_way"],
        afterwards=with_round(1),
    ),
    "put back": Scenario(  # both are taken again
        ["ok", "fails"],
        [(OK + OK, [0]), (FAILS + FAILS, [1, 1])],
        1,
        after(["ok", "fails"], with_round(1), with_round(2)),
        sections=with_round(1),
        within=["set_right"],
        afterwards=with_round(2),
    ),
    "put back while the other runs": Scenario(
        ["waits-later"],
        [([*OK, "start"], [0])],
        0,
        leave_other_waiting,
        sections=with_round(1),
        within=["_stop", "make_way"],
    ),
    "put back when the other has ended": Scenario(
        ["waits-later"],
        [(OK + OK, [0])],
        0,
        leave_other_ended,
        sections=with_round(1),
        within=["set_right"],
        afterwards=with_round(2),
    ),
    "judged again, completed": Scenario(
        ["ok", "fails"],
        [(OK + OK, [0, 0]), (FAILS, [1, 1])],
        1,
        after(["ok", "fails"], {"validate": NO_SUCCESS}),
        within=["set_right", "take_over"],
    ),
    "judged again, failed": Scenario(
        ["ok"],
        [(OK + OK, [0, 0])],
        1,
        after(["ok"], {}),
        sections={"validate": NO_SUCCESS},
        within=["set_right", "take_over"],
        failed=True,
    ),
    "judged again between attempts": Scenario(
        ["ok"], [(OK, [0])], 0, leave_between_attempts, within=["set_right", "take_over"]
    ),
    "stopped by hand": Scenario(
        ["waits", "ok"],
        [(["start", *OK], [None, 0]), (OK, [0])],
        0,
        wishing(ev.StopAsked("0_waits")),
        within=["begin_watching"],
    ),
    "failed by hand": Scenario(
        ["waits", "ok"],
        [(["start"], [None]), (OK, [0])],
        1,
        wishing(ev.StopAsked("0_waits", fail=True)),
        within=["begin_watching", "obeyed"],
    ),
    "paused by hand": Scenario(
        ["waits", "ok"],
        [(OK, [0])] * 2,
        0,
        wishing(ev.PauseAsked()),
        within=["begin_watching"],
    ),
    "drained by hand": Scenario(
        ["waits", "ok"],
        [(OK, [0])] * 2,
        0,
        wishing(ev.DrainAsked("cpu:0")),
        within=["begin_watching"],
    ),
    "reloaded": Scenario(  # one has completed, one runs, one is gone, one is new
        ["ok", "reloads", "fails"],
        [(OK + OK, [0]), (["start", *OK], [None, 0]), (FAILS, [1, 1])],
        1,
        reloading,
        sections={
            "worker": {"command": [*LOGGING_WORKER, "0"]},
            "devices": ONE_GPU,
        },
        within=["go_on"],
    ),
    "forked": Scenario(
        ["first", "ok", "ok"],
        [(OK, [0])] * 3,
        0,
        sections={"worker": FORKED_WORKER, "devices": ONE_GPU},
        only=r".*(/(preload|loaded)\.py|__call__$)",
    ),
    "lease removed": Scenario(
        ["unleases"],
        [(OK, [0])],
        0,
        sections={"devices": ONE_GPU},
        within=["_keep_lease"],
    ),
}
