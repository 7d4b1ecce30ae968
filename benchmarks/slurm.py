"""What a sweep costs on Slurm: its time beside plain sbatch, and how often it asks the controller.

    apt-get install slurm-wlm munge
    python benchmarks/slurm.py [--only overhead|requests] [--rounds 3]

As root, on a Slurm that is started for it on this machine: a controller and two nodes of four fake GPUs each.
Plain sbatch is a script that does as much: it submits each command as a job, one GPU each, and learns of each
end by a file that the job writes, which it looks for twice a second. Rounds are interleaved and ratios taken
within a round. Requests are counted by programs of the same names that stand before Slurm's on the PATH.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from benchmarks.dispatch import machine  # noqa: E402  (the folder above must be importable first)
from tests.helpers.slurm import GPUS, NODES, SlurmLab  # noqa: E402

TASKS = 48
SECONDS = (0, 2, 5)  # that a command takes
WAITING = 5_000
# What each takes, in seconds, and what its section says: how many wait in Slurm's queue.
SWEEPS: tuple[tuple[float, dict[str, int]], ...] = ((2, {}), (30, {}), (2, {"queue": 1000}))
MINUTES = 3
LOOK = 0.5
COMMANDS = ("sbatch", "squeue", "scancel", "scontrol", "sinfo")


def work(seconds: float) -> str:
    """Return what a task runs, for a shell."""
    return f"sleep {seconds}; echo Successfully completed"


def write_sweep(folder: Path, tasks: int, seconds: float, **executor: object) -> Path:
    """Write a sweep of tasks that sleep."""
    sweep = {
        "name": "sleep",
        "matrix": {"number": list(range(tasks))},
        "worker": {"command": ["/bin/sh", "-c", work(seconds)]},
        "devices": {"idle_for": "0s"},
        "executor": {"kind": "slurm", "time": "5m", **executor},
    }
    path = folder / "sleep.yaml"
    path.write_text(json.dumps(sweep))
    return path


def ours(folder: Path, environment: dict[str, str], tasks: int, seconds: float) -> None:
    """Run the sweep to its end, the dispatcher's start included."""
    sweep, root = write_sweep(folder, tasks, seconds), tempfile.mkdtemp(dir=folder)
    command = [sys.executable, "-m", "scheduler", str(sweep), "--root", root]
    subprocess.run(command, env=environment, check=True, capture_output=True, cwd=folder)


def plain(folder: Path, environment: dict[str, str], tasks: int, seconds: float) -> None:
    """Submit the commands one by one, and wait for the end of each."""
    place = Path(tempfile.mkdtemp(dir=folder))
    options = ["--gres=gpu:1", "--nodes=1", "--ntasks=1", "--time=5", "--parsable"]
    waited_for = set(range(tasks))
    for number in range(tasks):
        script = place / f"{number}.sh"
        script.write_text(f"#!/bin/sh\n{work(seconds)}\necho $? > {place}/{number}.end\n")
        command = ["sbatch", *options, f"--output={place}/{number}.log", str(script)]
        subprocess.run(command, env=environment, check=True, capture_output=True)
    while waited_for:
        time.sleep(LOOK)
        for number in list(waited_for):
            end = place / f"{number}.end"
            if end.exists() and end.read_text() == "0\n":
                waited_for.remove(number)


def overhead(folder: Path, environment: dict[str, str], rounds: int) -> None:
    """Print the time of both, and their ratio within each round."""
    print(f"\n{TASKS} tasks on {NODES * GPUS} GPUs, whole processes, median of {rounds} rounds")
    print("| a task's command takes | ours | plain sbatch | ours takes |\n|---|---|---|---|")
    for seconds in SECONDS:
        both: list[tuple[float, float]] = []
        for _ in range(rounds):
            times = []
            for way in (ours, plain):
                begun = time.perf_counter()
                way(folder, environment, TASKS, seconds)
                times.append(time.perf_counter() - begun)
            both.append((times[0], times[1]))
        mean = [statistics.median(pair[way] for pair in both) for way in (0, 1)]
        ratios = [own / other for own, other in both]
        spread = f"{statistics.median(ratios):.2f} × ({min(ratios):.2f}–{max(ratios):.2f})"
        print(f"| {seconds} s | {mean[0]:.1f} s | {mean[1]:.1f} s | {spread} |", flush=True)


def counted(folder: Path, environment: dict[str, str]) -> tuple[dict[str, str], Path]:
    """Return an environment whose Slurm commands write down each call, and the file that they write."""
    programs, calls = folder / "counted", folder / "calls"
    programs.mkdir()
    for name in COMMANDS:
        program = programs / name
        program.write_text(
            f'#!/bin/sh\necho "$(date +%s) {name}" >> {calls}\nexec {shutil.which(name)} "$@"\n'
        )
        program.chmod(0o755)
    return environment | {"PATH": f"{programs}:{environment['PATH']}"}, calls


def requests(folder: Path, environment: dict[str, str]) -> None:
    """Print how often each of Slurm's commands is called in each minute of a sweep of many tasks."""
    for seconds, executor in SWEEPS:
        place = Path(tempfile.mkdtemp(dir=folder))
        watched, calls = counted(place, environment)
        sweep = write_sweep(place, WAITING, seconds, **executor)
        command = [sys.executable, "-m", "scheduler", str(sweep), "--root", str(place)]
        begun = int(time.time())
        quiet = subprocess.DEVNULL
        running = subprocess.Popen(command, env=watched, stdout=quiet, stderr=quiet, cwd=place)
        time.sleep(60 * MINUTES + 1)
        lines = [line.split() for line in calls.read_text().splitlines()]
        running.send_signal(signal.SIGINT)
        time.sleep(1)
        running.send_signal(signal.SIGINT)
        running.wait()
        done = len(list((place / "checkpoints" / "sleep").glob("*.done")))
        print(
            f"\n{WAITING} tasks of {seconds} s each, {executor}: {done} ended in {MINUTES} minutes"
        )
        print("| minute | all | " + " | ".join(COMMANDS) + " |\n|---|---|" + "---|" * len(COMMANDS))
        for minute in range(MINUTES):
            of_minute = Counter(n for at, n in lines if (int(at) - begun) // 60 == minute)
            each = " | ".join(str(of_minute[name]) for name in COMMANDS)
            print(f"| {minute + 1} | {of_minute.total()} | {each} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["overhead", "requests"])
    arguments = parser.parse_args()
    print(machine())
    lab = SlurmLab()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = {**os.environ, **lab.environment, "PYTHONPATH": str(REPOSITORY)}
        try:
            lab.start()
            if arguments.only != "requests":
                overhead(folder, environment, arguments.rounds)
            if arguments.only != "overhead":
                requests(folder, environment)
        finally:
            lab.stop()


if __name__ == "__main__":
    main()
