"""What dispatching costs: throughput and gaps beside other schedulers, resuming, and start-up.

    pip install simple-gpu-scheduler; apt-get install parallel task-spooler
    python benchmarks/dispatch.py [--rounds 5] [--beside ANOTHER_CHECKOUT]

Tools that are missing are left out. Rounds are interleaved (ours, parallel, …, ours, parallel, …), since
such machines drift; ratios are taken within a round and their median is printed. CPU time is of the whole
process tree, but for task-spooler, whose server is nobody's child.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

TASKS, SLOTS = 500, 8
SCHEDULER = [sys.executable, "-m", "scheduler"]
# Without what this shell wants of Python (no bytecode kept, nothing buffered), which costs at every start.
BASE = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
BASE |= {"PYTHONPATH": str(REPOSITORY)}
DONE = "Successfully completed"


def run(
    command: list[str],
    environment: dict[str, str] = BASE,
    stdin: str | None = None,
    folder: Path = REPOSITORY,
) -> str:
    """Run a command to its end; return its standard output."""
    done = subprocess.run(
        command, env=environment, input=stdin, capture_output=True, text=True, cwd=folder
    )
    if done.returncode:
        raise SystemExit(
            f"{command[:4]}… exited with {done.returncode}:\n{done.stdout}{done.stderr}"
        )
    return done.stdout


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that ``work`` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def cpu_seconds() -> float:
    """Return the CPU time of this process and of all below it that have ended."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def write_sweep(folder: Path, tasks: int, slots: int) -> Path:
    """Write a sweep of no-op tasks."""
    sweep = {
        "name": "noop",
        "matrix": {"block": list(range(-(-tasks // 500))), "number": list(range(min(tasks, 500)))},
        "worker": {"command": ["/bin/echo", DONE]},
        "devices": {"cpu_slots": slots, "idle_for": "0s"},
    }
    path = folder / "noop.yaml"
    path.write_text(json.dumps(sweep))
    return path


def ours(
    folder: Path,
    slots: int = SLOTS,
    environment: dict[str, str] = BASE,
    checkout: Path = REPOSITORY,
) -> str:
    """Run the no-op sweep in a new root, so that nothing need be removed first; return what it printed.

    Removing would cost the next runs: ext4 passes by the inodes of files removed in the last minutes.
    """
    sweep, root = write_sweep(folder, TASKS, slots), tempfile.mkdtemp(dir=folder)
    environment = environment | {"PYTHONPATH": str(checkout)}
    return run([*SCHEDULER, str(sweep), "--root", root], environment, folder=checkout)


def ours_on_gpus(folder: Path) -> Callable[[], object] | None:
    """Return our run on the GPUs of the fake NVML, if it can be built."""
    if shutil.which("cc") is None:
        return None
    from tests.helpers.fake_nvml import FakeNvml, build

    fake_nvml = FakeNvml(folder, build(folder))
    fake_nvml.gpus(SLOTS)
    environment = fake_nvml.environment(BASE) | {"SCHEDULER_LEASES": str(folder / "leases")}
    return lambda: ours(folder, environment=environment)


def parallel(folder: Path) -> Callable[[], object]:
    """GNU parallel with a job log that it could resume from."""
    log = folder / "joblog"

    def work() -> None:
        log.unlink(missing_ok=True)
        numbers = [str(n) for n in range(TASKS)]
        run(
            [
                "parallel",
                "--jobs",
                str(SLOTS),
                "--joblog",
                str(log),
                "--resume",
                "/bin/echo",
                DONE,
                ":::",
                *numbers,
            ]
        )

    return work


def task_spooler(folder: Path) -> Callable[[], object]:
    """task-spooler: a server, fed by one client process per task."""
    environment = BASE | {
        "TS_SOCKET": str(folder / "ts"),
        "TS_MAXCONN": "1000",
        "TMPDIR": str(folder),
    }

    def work() -> None:
        run(["tsp", "-S", str(SLOTS)], environment)
        for _ in range(TASKS):
            run(["tsp", "-n", "/bin/echo", DONE], environment)
        run(["tsp", "-w"], environment)
        run(["tsp", "-K"], environment)

    return work


def simple_gpu_scheduler() -> Callable[[], object]:
    """simple_gpu_scheduler: keeps no record of what it ran."""
    program = shutil.which("simple_gpu_scheduler") or str(
        Path(sys.executable).with_name("simple_gpu_scheduler")
    )
    commands = "".join(f"/bin/echo {DONE} {n}\n" for n in range(TASKS))
    return lambda: run([program, "--gpus", *map(str, range(SLOTS))], stdin=commands)


def bare(folder: Path) -> None:
    """Start and wait for the programs, each with a log and a synced file in a synced folder; nothing else."""
    place = Path(tempfile.mkdtemp(dir=folder))
    of_folder = os.open(place, os.O_RDONLY)
    running: dict[int, int] = {}
    for number in range(TASKS + SLOTS):
        if number >= SLOTS:
            task = running.pop(os.wait()[0])
            done = os.open(place / f"{task}.done", os.O_WRONLY | os.O_CREAT)
            os.write(done, DONE.encode())
            os.fsync(done)
            os.close(done)
            os.fsync(of_folder)
        if number < TASKS:
            log = str(place / f"{number}.log")
            output = (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT, 0o644)
            words = ["/bin/echo", DONE]
            running[os.posix_spawn(words[0], words, BASE, file_actions=[output])] = number
    os.close(of_folder)


def throughput(rounds: int, folder: Path, beside: Path | None) -> None:
    """Print tasks per second of each tool, and the ratio of ours to it within each round."""
    tools: dict[str, Callable[[], object] | None] = {
        "ours, CPU slots": lambda: ours(folder),
        f"ours, as in {beside}": (lambda: ours(folder, checkout=beside)) if beside else None,
        "only starts, logs and synced files": lambda: bare(folder),
        "ours, GPUs of the NVML fake": ours_on_gpus(folder),
        "GNU parallel --joblog --resume": parallel(folder) if shutil.which("parallel") else None,
        "task-spooler": task_spooler(folder) if shutil.which("tsp") else None,
        "simple_gpu_scheduler": simple_gpu_scheduler()
        if shutil.which("simple_gpu_scheduler")
        or Path(sys.executable).with_name("simple_gpu_scheduler").exists()
        else None,
    }
    present = {name: work for name, work in tools.items() if work is not None}
    seconds: dict[str, list[float]] = {name: [] for name in present}
    cpu: dict[str, list[float]] = {name: [] for name in present}
    for number in range(rounds + 1):
        for name, work in present.items():
            before, took = cpu_seconds(), timed(work)
            if number:  # the first round warms caches up
                seconds[name].append(took)
                cpu[name].append(cpu_seconds() - before)
    print(
        f"\n{TASKS} no-op tasks over {SLOTS} slots, whole process, median of {rounds} interleaved rounds"
    )
    print("| tool | tasks/s | CPU ms a task | ours (CPU slots) is faster by |\n|---|---|---|---|")
    for name, all_seconds in seconds.items():
        ratios = [
            theirs / own
            for theirs, own in zip(all_seconds, seconds["ours, CPU slots"], strict=True)
        ]
        spread = f"{statistics.median(ratios):.2f}× ({min(ratios):.2f}–{max(ratios):.2f})"
        rate = TASKS / statistics.median(all_seconds)
        each = statistics.median(cpu[name]) / TASKS * 1000
        print(
            f"| {name} | {rate:.0f} | {each:.2f} | {spread if name != 'ours, CPU slots' else ''} |"
        )


def gaps(folder: Path) -> None:
    """Print the time from a worker's exit to the next one's start, on one slot and on eight."""
    print("\ntime from a worker's exit to the next worker's start on its slot")
    print("| slots | median |\n|---|---|")
    for slots in (1, SLOTS):
        median = re.search(
            r"median gap between tasks on a device: ([\d.]+ ms)", ours(folder, slots)
        )
        print(f"| {slots} | {median[1] if median else '?'} |")


def resume(folder: Path, tasks: int = 100_000) -> None:
    """Print time and memory of resuming, and of status, where every task is done."""
    from scheduler.config.loader import read_sweep
    from scheduler.core.progress import SweepProgress
    from scheduler.core.snapshot import TaskView
    from scheduler.dispatch.dispatcher import SNAPSHOT_EVERY
    from scheduler.storage.atomic import Draft
    from scheduler.storage.journal import Journal, JournalReader

    root = folder / "resume"
    root.mkdir()
    path = write_sweep(root, 1, 4)
    run([*SCHEDULER, str(path), "--root", str(root)])
    checkpoints, logs = root / "checkpoints" / "noop", root / "logs" / "noop"
    proof = json.loads((checkpoints / "0_0.done").read_text())
    log = (logs / "0_0.log").read_text()
    entries = JournalReader(logs / "journal.jsonl")
    events = [e.event for e in entries if getattr(e.event, "task", None) == "0_0"]
    sweep = read_sweep(write_sweep(root, tasks, 4))
    os.fsync = lambda _: None  # a hundred thousand checkpoints are made here, not promised
    progress = SweepProgress({task.id: TaskView() for task in sweep.tasks})
    journal, emitted = Journal(logs / "journal.jsonl"), 0
    for task in sweep.tasks:
        file = logs / f"{task.id}.log"
        file.write_text(log)
        state = file.stat()
        proof |= {"task": task.id, "digest": sweep.digest(task)}
        proof["log"] |= {"size": state.st_size, "mtime_ns": state.st_mtime_ns}
        draft = Draft(checkpoints / f"{task.id}.done", proof)
        draft.sync()
        draft.publish()
        for event in events:
            progress.apply(journal.add(replace(event, task=task.id)))
            emitted += 1
            if emitted % SNAPSHOT_EVERY == 0:
                journal.add(progress.snapshot())
        journal.flush()
    journal.close()
    print(f"\na sweep of {tasks:,} tasks, all done")
    print("| command | seconds | peak memory |\n|---|---|---|")
    for name, words in (("resume", []), ("status", ["status"])):
        command = [*SCHEDULER, *words, str(path), "--root", str(root)]
        seconds, memory = min(measured(command) for _ in range(3))
        print(f"| {name} | {seconds:.2f} | {memory / 2**20:.0f} MiB |")


def measured(command: list[str]) -> tuple[float, int]:
    """Return seconds and peak memory in bytes of a command."""
    probe = (
        "import resource, subprocess, sys, time; t = time.perf_counter(); "
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
        "print(time.perf_counter() - t, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)"
    )
    seconds, memory = run([sys.executable, "-c", probe, *command]).split()
    return float(seconds), int(memory)


def start_up(rounds: int = 15) -> None:
    """Print how long --help takes beside the two imports that any such tool needs."""
    help_command, imports = [*SCHEDULER, "--help"], [sys.executable, "-c", "import yaml, rich"]
    pairs = [(timed(lambda: run(help_command)), timed(lambda: run(imports))) for _ in range(rounds)]
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    print(
        f"\n--help: {statistics.median(a for a, _ in pairs) * 1000:.0f} ms, {ratio:.2f} × `import yaml, rich`"
    )


def machine() -> str:
    """Return the machine's processor, cores, kernel and Python."""
    cpu = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "?",
    )
    return f"{cpu}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--beside", type=Path, help="another checkout of this project")
    parser.add_argument("--only", choices=["throughput", "gaps", "resume", "start-up"])
    arguments = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts: dict[str, Callable[[], None]] = {
            "start-up": start_up,
            "gaps": lambda: gaps(folder),
            "throughput": lambda: throughput(arguments.rounds, folder, arguments.beside),
            "resume": lambda: resume(folder),
        }
        for part, work in parts.items():
            if arguments.only in (None, part):
                work()


if __name__ == "__main__":
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    )
    main()
