"""The dispatcher dies at every point of its I/O, and at random; nothing is lost, repeated, invented."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.nvml_stand_in import StandIn

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent
EXPECTED_STARTS = {"ok": 1, "fails": 2, "fails-once": 2}


def write_sweep(folder: Path, behaviours: list[str], slots: int, seconds: str = "") -> Path:
    """Write a sweep of one witness per behaviour, ``NUMBER_BEHAVIOUR``; return its file."""
    witness = [sys.executable, "-I", "-S", str(HERE / "witness.py"), str(folder / "witness")]
    sweep = {
        "name": "crash",
        "matrix": {"number": [0], "behaviour": ["ok"]},
        "exclude": [{"number": 0}],
        "include": [{"number": n, "behaviour": b} for n, b in enumerate(behaviours)],
        "worker": {"command": [*witness, "{task}", "{behaviour}", *([seconds] if seconds else [])]},
        "devices": {"cpu_slots": slots, "idle_for": "0s"},
        "retries": {"max_attempts": 2, "backoff": "1ms"},
    }
    path = folder / "crash.yaml"
    path.write_text(json.dumps(sweep))
    return path


def check_promises(folder: Path, tasks: list[str]) -> None:
    """Compare what the scheduler says with what the witnesses saw."""
    lines = (folder / "witness").read_text().splitlines()
    checkpoints = folder / "checkpoints" / "crash"
    for task in tasks:
        seen = [line.split()[0] for line in lines if line.split()[1] == task]
        starts = EXPECTED_STARTS[task.split("_", 1)[1]]
        assert seen == ["start", "end"] * starts, f"{task} was run {seen}"
        ended = "failed" if task.endswith("fails") else "done"
        content = json.loads((checkpoints / f"{task}.{ended}").read_text())
        assert content["exit_code"] == (1 if ended == "failed" else 0)
        assert [a["code"] for a in content["attempts"]] == [1] * (starts - 1) + [
            content["exit_code"]
        ]
    left = {p.name for p in checkpoints.iterdir()} - {".lock", ".specs"}
    expected = {f"{t}.failed" if t.endswith("fails") else f"{t}.done" for t in tasks}
    assert left == expected, "files of unfinished tasks are left over"


def run_driver(folder: Path, gpus: StandIn, *words: str) -> str:
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


@pytest.mark.parametrize("part", range(4))
def test_killed_at_every_point_of_its_io(tmp_path: Path, stand_in: StandIn, part: int) -> None:
    stand_in.gpus(2)
    output = run_driver(tmp_path, stand_in, "points", str(part), "4")
    tried = int(re.search(r"^(\d+) points tried", output, re.M)[1])
    assert tried >= 10, output


def test_random_kills(tmp_path: Path, stand_in: StandIn) -> None:
    stand_in.gpus(4)
    output = run_driver(tmp_path, stand_in, "random")
    assert re.search(r"^(\d+) kills", output, re.M)[1] == "50", output


# --- the drivers ---------------------------------------------------------------------------------


def every_point(folder: Path, part: int, parts: int) -> None:
    from tests.crash import saboteur

    behaviours = ["ok", "fails-once", "fails"]
    tasks = [f"{n}_{b}" for n, b in enumerate(behaviours)]

    def case(name: str) -> tuple[Path, list[str]]:
        root = folder / name
        root.mkdir()
        return root, [str(write_sweep(root, behaviours, 2)), "--root", str(root)]

    root, words = case("listing")
    found = saboteur.points(words, root / "output", root / "points")
    check_promises(root, tasks)
    for number, point in list(enumerate(found))[part::parts]:
        root, words = case(f"point {number}")
        code = saboteur.run_and_kill(words, root / "output", point)
        again = saboteur.wait(saboteur.fork_dispatcher(words, root / "output"))
        try:
            assert code == -signal.SIGKILL or code == 1, (
                code
            )  # a point that this run did not come by
            assert again == 1, "the sweep did not end with the one failure it has"
            check_promises(root, tasks)
        except AssertionError:
            print(f"killed at {point}:\n{(root / 'output').read_text()}", file=sys.stderr)
            raise
    print(f"{len(found[part::parts])} points tried")


def random_kills(folder: Path, kills: int = 50) -> None:
    from tests.crash import saboteur

    chance = random.Random(2026)
    behaviours = (["ok"] * 8 + ["fails-once", "fails"]) * 8
    tasks = [f"{n}_{b}" for n, b in enumerate(behaviours)]
    sweep = write_sweep(folder, behaviours, 4, seconds="0.1")
    words = [str(sweep), "--root", str(folder)]
    killed = 0
    while True:
        pid = saboteur.fork_dispatcher(words, folder / "output")
        if killed < kills:
            time.sleep(chance.uniform(0.0, 0.12))  # the moment of its death is what is drawn
            os.kill(pid, signal.SIGKILL)
        code = saboteur.wait(pid)
        if code != -signal.SIGKILL:
            break
        killed += 1
    try:
        assert code == 1, code
        assert killed == kills, (
            "the sweep was over before all kills were tried; make its tasks longer"
        )
        check_promises(folder, tasks)
    except AssertionError:
        print((folder / "output").read_text()[-5000:], file=sys.stderr)
        raise
    print(f"{killed} kills")


if __name__ == "__main__":
    where, what, *rest = sys.argv[1:]
    if what == "points":
        every_point(Path(where), *map(int, rest))
    else:
        random_kills(Path(where))
