"""The dispatcher dies at every point of its I/O, and at random; nothing is lost, repeated, invented."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.crash.scenarios import (
    FAILS,
    FAILS_ONCE,
    FORKED_WORKER,
    LOGGING_WORKER,
    OK,
    SCENARIOS,
    Scenario,
    check_promises,
    write_sweep,
)
from tests.helpers.fake_nvml import FakeNvml
from tests.helpers.sweep_runner import REPOSITORY

TURNS = 6  # tries at a point: some, a dispatcher comes by only if others are quick, or slow


def run_driver(folder: Path, gpus: FakeNvml, *words: str) -> str:
    """Run one of the functions below in a process without threads, since it forks dispatchers."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.test_crash", str(folder), *words],
        cwd=REPOSITORY,
        env=gpus.environment(),
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
    found = re.search(r"^killed at (\d+), by chance not at (\d+), of (\d+) points", output, re.M)
    assert found is not None, output
    killed, by_chance, tried = map(int, found.groups())
    assert killed > 0, "the sweep came by no point of its own"
    assert killed + by_chance == tried, output


@pytest.mark.parametrize("launch", ["programs", "forked"])
def test_random_kills(tmp_path: Path, fake_nvml: FakeNvml, launch: str) -> None:
    fake_nvml.gpus(4)
    output = run_driver(tmp_path, fake_nvml, "random", launch)
    found = re.search(r"^50 kills, (\d+) forked", output, re.M)
    assert found is not None, output
    assert (int(found[1]) > 0) == (launch == "forked"), output


# --- the drivers ---------------------------------------------------------------------------------


def play(
    scenario: Scenario, folder: Path, reached: Callable[[Any], None] | None
) -> tuple[int, list[str]]:
    """Bring a scenario about in ``folder`` and run it.

    Returns:
        The dispatcher's exit code, and its words without the scenario's options.
    """
    from tests.crash import fault_injection

    folder.mkdir()
    os.environ["SCHEDULER_LEASES"] = str(folder / "leases")  # none are there at first
    words = write_sweep(folder, scenario.behaviours, 2, **scenario.sections)
    let_through = scenario.prepare(folder, words)
    asked = [*words, *scenario.options]
    pid = fault_injection.fork_dispatcher(asked, folder / "output", reached, scenario.within)
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


def points_passed(scenario: Scenario, folder: Path) -> list[Any]:
    """Return the points that a dispatcher comes by which nobody kills, in ``folder``."""
    from tests.crash import fault_injection

    listing = folder.with_name(f"points of {folder.name}")
    listing.touch()
    code, _ = play(scenario, folder, fault_injection.note_points(listing))
    assert code == scenario.code
    scenario.check(folder)
    points = fault_injection.read_points(listing)
    return [point for point in points if re.match(scenario.only, point[0])]


def every_point(folder: Path, name: str, part: int, parts: int) -> None:
    """Kill a dispatcher at every point that the scenario, but none before it, comes by; then resume.

    Args:
        part: of the points, those whose checksum falls to this part, of so many. (Their places in the list
            are no measure: a point that comes up by chance moves all that follow.)
    """
    known: set[Any] = set()
    wanted = SCENARIOS[name]
    if not (wanted.only or wanted.within):
        for earlier, scenario in SCENARIOS.items():
            if earlier == name:
                break
            if not scenario.within:
                known.update(points_passed(scenario, folder / f"clean {earlier}"))
    points = [p for p in points_passed(wanted, folder / f"clean {name}") if p not in known]
    points = [p for p in points if zlib.crc32("".join(p).encode()) % parts == part]
    killed = by_chance = 0
    for number, point in enumerate(points):
        match come_by(point, wanted, folder / f"point {number}"):
            case "killed":
                killed += 1
            case "by chance":
                by_chance += 1
                print(f"not come by this time: {point}")
            case "missed":
                print(f"missed, though others come by: {point}")
    print(f"killed at {killed}, by chance not at {by_chance}, of {len(points)} points")


def come_by(
    point: Any, scenario: Scenario, folder: Path
) -> Literal["killed", "by chance", "missed"]:
    """Have a dispatcher die at a point, in a few turns.

    Each time that it does not come by the point, another is started, which nobody kills. If all of those come
    by it, the point was missed; otherwise it is up to chance, as the machine's load is.
    """
    always = True
    for turn in range(TURNS):
        if dies_at(point, scenario, folder.with_name(f"{folder.name}, turn {turn}")):
            return "killed"
        undisturbed = folder.with_name(f"{folder.name}, turn {turn}, clean")
        always = always and point in points_passed(scenario, undisturbed)
    return "missed" if always else "by chance"


def dies_at(point: Any, scenario: Scenario, case: Path) -> bool:
    """Kill a dispatcher at a point, resume, and check the promises; say whether it came by the point."""
    from tests.crash import fault_injection

    code, words = play(scenario, case, fault_injection.die_at(point))
    scenario.meanwhile(case)
    words += scenario.options_again(case, scenario.options)
    again = fault_injection.wait(fault_injection.fork_dispatcher(words, case / "output"))
    try:
        assert code in (-signal.SIGKILL, scenario.code)
        assert again == scenario.code
        scenario.check(case)
        if scenario.afterwards is not None:
            write_sweep(case, scenario.behaviours, 2, **scenario.afterwards)
            pid = fault_injection.fork_dispatcher(words, case / "output")
            assert fault_injection.wait(pid) == scenario.code
            scenario.check(case)
    except AssertionError:
        print(f"killed at {point}:\n{(case / 'output').read_text()}", file=sys.stderr)
        raise
    return code == -signal.SIGKILL


def random_kills(folder: Path, worker: dict[str, Any], kills: int = 50) -> None:
    from tests.crash import fault_injection

    chance = random.Random(2026)
    behaviours = ["waits", *(["ok"] * 8 + ["fails-once", "fails"]) * 8]
    expected = {"ok": (OK, [0]), "fails-once": (FAILS_ONCE, [1, 0]), "fails": (FAILS, [1, 1])}
    expected["waits"] = OK, [0]  # for the last kill: however late they come, the sweep is not over
    os.mkfifo(folder / "gate")
    gate = os.open(folder / "gate", os.O_RDWR | os.O_CLOEXEC)
    worker = {**worker, "command": [*worker["command"], "0.1"]}
    words = write_sweep(folder, behaviours, 4, worker=worker)
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
    checkpoints = (folder / "checkpoints" / "crash").glob("*.[df]*e*")
    forked = sum('"launch": "forked"' in path.read_text() for path in checkpoints)
    print(f"{killed} kills, {forked} forked")


if __name__ == "__main__":
    where, what, *rest = sys.argv[1:]
    if what == "points":
        every_point(Path(where), rest[0], int(rest[1]), int(rest[2]))
    else:
        random_kills(
            Path(where), FORKED_WORKER if rest == ["forked"] else {"command": LOGGING_WORKER}
        )
