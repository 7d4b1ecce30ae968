"""The dispatcher dies at every point of its I/O, and at random; nothing is lost, repeated, invented."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.fake_nvml import FakeNvml

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent
LOGGING_WORKER = [
    "python",
    "-I",
    "-S",
    str(HERE / "logging_worker.py"),
    "event_log",
    "{task}",
    "{behaviour}",
]
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
    folder: Path, expected: Mapping[str, tuple[list[str], list[int | None] | None]]
) -> None:
    """Compare what the scheduler says with what the witnesses saw.

    Args:
        expected: for each task, what its worker shall have logged, and the exit codes on record; None
            if it shall be completed, with whatever record.
    """
    lines = [line.split() for line in (folder / "event_log").read_text().splitlines()]
    assert not [line for line in lines if line[0].startswith("shares-with")]
    checkpoints = folder / "checkpoints" / "crash"
    files = {".lock", ".specs", ".settings", ".room", ".sweep.json", ".tasks.json", ".versions.jsonl"}
    for task, (seen, codes) in expected.items():
        assert [line[0] for line in lines if line[1] == task] == seen, task
        name = f"{task}.{'failed' if codes and codes[-1] != 0 else 'done'}"
        content = json.loads((checkpoints / name).read_text())
        assert content["exit_code"] == (codes[-1] if codes else 0)
        if codes is not None:
            assert [attempt["code"] for attempt in content["attempts"]] == codes, task
        files.add(name)
    left = {p.name for p in checkpoints.iterdir() if ".aside" not in p.name}
    assert left <= files, "files of unfinished tasks are left over"


TURNS = 4  # tries at a point: threads do not come by the same points each time


# --- what the dispatcher is killed in ------------------------------------------------------------


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
    sections: Mapping[str, Any] = field(default_factory=dict)
    meanwhile: Callable[[Path], None] = lambda folder: None  # between death and resumption
    only: str = ""  # of the points, those that match it, known or not

    def check(self, folder: Path) -> None:
        tasks = [f"{number}_{behaviour}" for number, behaviour in enumerate(self.behaviours)]
        check_promises(folder, dict(zip(tasks, self.expected, strict=True)))


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
    "taken over": Scenario(["waits", "ok"], [(OK, [0])] * 2, 0, leave_one_running),
    "not adopted": Scenario(
        ["waits"], [(["start", *OK], [None, 0])], 0, leave_one_waiting, ["--no-adopt"]
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
        ["breaks", "ok"], [(OK, [0])] * 2, 0, sections={"devices": {"idle_for": "0s", "only": [0]}}
    ),
}


def run_driver(folder: Path, gpus: FakeNvml, *words: str) -> str:
    """Run one of the functions below in a process without threads, since it forks dispatchers."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.test_crash", str(folder), *words],
        cwd=REPOSITORY,
        env=gpus.environment() | {"SCHEDULER_LEASES": str(folder / "leases")},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done.stdout


@pytest.mark.parametrize(
    ("scenario", "part", "parts"),
    [
        *(("fresh", part, 4) for part in range(4)),
        *((name, 0, 1) for name in SCENARIOS if name != "fresh"),
    ],
)
def test_killed_at_every_point_of_its_io(
    tmp_path: Path, fake_nvml: FakeNvml, scenario: str, part: int, parts: int
) -> None:
    fake_nvml.gpus(2)
    output = run_driver(tmp_path, fake_nvml, "points", scenario, str(part), str(parts))
    found = re.search(r"^killed at (\d+) of (\d+) points", output, re.M)
    assert found is not None, output
    killed, tried = map(int, found.groups())
    assert tried > 0, "the sweep came by no point of its own"
    assert tried - killed <= max(1, tried // 10), output  # it is up to threads which come by


def test_random_kills(tmp_path: Path, fake_nvml: FakeNvml) -> None:
    fake_nvml.gpus(4)
    output = run_driver(tmp_path, fake_nvml, "random")
    assert re.search(r"^50 kills", output, re.M), output


# --- the drivers ---------------------------------------------------------------------------------


def play(
    scenario: Scenario, folder: Path, reached: Callable[[Any], None] | None
) -> tuple[int, list[str]]:
    """Bring a scenario about in ``folder`` and run it; return the dispatcher's exit code, and its words."""
    from tests.crash import fault_injection

    folder.mkdir()
    words = write_sweep(folder, scenario.behaviours, 2, **scenario.sections)
    let_through = scenario.prepare(folder, words)
    words += scenario.options
    pid = fault_injection.fork_dispatcher(words, folder / "output", reached)
    if let_through is None:
        return fault_injection.wait(pid), words
    while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0:
        if "; taken over\n" in (folder / "output").read_text():  # not in its folder's name
            break
        time.sleep(0.005)
    let_through()
    return fault_injection.wait(pid) if ended[0] == 0 else os.waitstatus_to_exitcode(
        ended[1]
    ), words


def every_point(folder: Path, name: str, part: int, parts: int) -> None:
    """Kill a dispatcher at every point that the scenario, but none before it, comes by; then resume."""
    from tests.crash import fault_injection

    known: list[Any] = []
    for earlier, scenario in SCENARIOS.items():
        listing = folder / f"points of {earlier}"
        code, _ = play(scenario, folder / f"clean {earlier}", fault_injection.note_points(listing))
        assert code == scenario.code
        scenario.check(folder / f"clean {earlier}")
        points = fault_injection.read_points(listing)
        if scenario.only:
            points = [point for point in points if re.match(scenario.only, point[0])]
        else:
            points = [point for point in points if point not in known]
        if earlier == name:
            break
        known += points
    killed = 0
    points = points[part::parts]
    for number, point in enumerate(points):
        cases = (folder / f"point {number}, turn {turn}" for turn in range(TURNS))
        if any(dies_at(point, scenario, case) for case in cases):
            killed += 1
        else:
            print(f"missed {point}")
    print(f"killed at {killed} of {len(points)} points")


def dies_at(point: Any, scenario: Scenario, case: Path) -> bool:
    """Kill a dispatcher at a point, resume, and check the promises; say whether it came by the point."""
    from tests.crash import fault_injection

    code, words = play(scenario, case, fault_injection.die_at(point))
    scenario.meanwhile(case)
    again = fault_injection.wait(fault_injection.fork_dispatcher(words, case / "output"))
    try:
        assert code in (-signal.SIGKILL, scenario.code)
        assert again == scenario.code
        scenario.check(case)
    except AssertionError:
        print(f"killed at {point}:\n{(case / 'output').read_text()}", file=sys.stderr)
        raise
    return code == -signal.SIGKILL


def random_kills(folder: Path, kills: int = 50) -> None:
    from tests.crash import fault_injection

    chance = random.Random(2026)
    behaviours = ["waits", *(["ok"] * 8 + ["fails-once", "fails"]) * 8]
    expected = {"ok": (OK, [0]), "fails-once": (FAILS_ONCE, [1, 0]), "fails": (FAILS, [1, 1])}
    expected["waits"] = OK, [0]  # for the last kill: however late they come, the sweep is not over
    os.mkfifo(folder / "gate")
    gate = os.open(folder / "gate", os.O_RDWR | os.O_CLOEXEC)
    words = write_sweep(folder, behaviours, 4, worker={"command": [*LOGGING_WORKER, "0.1"]})
    killed = 0
    while True:
        pid = fault_injection.fork_dispatcher(words, folder / "output")
        if killed < kills:
            time.sleep(chance.uniform(0.0, 0.12))  # the moment of its death is what is drawn
            os.kill(pid, signal.SIGKILL)
        else:
            os.write(gate, b"!")
        code = fault_injection.wait(pid)
        if code != -signal.SIGKILL:
            break
        killed += 1
    try:
        assert code == 1, code
        assert killed == kills, "a dispatcher ended by itself"
        check_promises(folder, {f"{n}_{b}": expected[b] for n, b in enumerate(behaviours)})
    except AssertionError:
        print((folder / "output").read_text()[-5000:], file=sys.stderr)
        raise
    print(f"{killed} kills")


if __name__ == "__main__":
    where, what, *rest = sys.argv[1:]
    if what == "points":
        every_point(Path(where), rest[0], int(rest[1]), int(rest[2]))
    else:
        random_kills(Path(where))
