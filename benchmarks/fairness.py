"""How several sweeps come to share the GPUs of a machine, and what that costs a sweep that is alone.

    python benchmarks/fairness.py [--gpus 8] [--seconds 4] [--idle-for 1s] [--rounds 5]

First three sweeps under three real dispatchers, on the GPUs of a stand-in for NVML (it needs a C compiler),
with workers that hold a GPU and sleep: a long one, a second one that comes later, and a short one with a
higher priority that comes last. Told is how many GPUs each uses over time, by the journals, how long each
waited for its first one, and how much of the GPUs' time went by unused while somebody waited.

Then one sweep of no-op tasks alone, with and without all that sharing takes, in turns: its tasks a second,
and the ratio of the wall times and of the CPU times (user and system, of the whole process tree).
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from scheduler.cli.main import main as scheduler  # noqa: E402
from scheduler.devices.fairness.share import FairShare  # noqa: E402
from tests.helpers.fake_nvml import FakeNvml, build  # noqa: E402

WORKER = """
import os, sys, time
use = os.path.join(os.environ["FAKE_NVML"], "use", os.environ["CUDA_VISIBLE_DEVICES"])
with open(os.path.join(use, str(os.getpid())), "w") as file:
    file.write(str(4 * 2**30))
time.sleep(float(sys.argv[1]))
print("Successfully completed")
"""
NO_OP = ["echo", "Successfully completed"]
NO_OPS = 1000
COLUMN = 2.0  # seconds between two lines of the table


class Plan(NamedTuple):
    """A sweep of the first part."""

    name: str
    # Seconds after the first one, in tasks' lengths.
    begins: float
    # For each GPU of the machine.
    tasks: float
    priority: int


PLANS = (Plan("long", 0, 8, 0), Plan("second", 1.5, 4, 0), Plan("urgent", 5.5, 1.5, 5))


class Box:
    """Sweeps on the GPUs of the stand-in."""

    def __init__(self, folder: Path, gpus: int) -> None:
        self.folder = folder
        (folder / "library").mkdir()
        (folder / "scenario").mkdir()
        nvml = FakeNvml(folder / "scenario", build(folder / "library"))
        nvml.gpus(gpus)
        leases = str(folder / "leases")
        self.environment = nvml.environment() | {"SCHEDULER_LEASES": leases}
        (folder / "worker.py").write_text(WORKER)

    def start(
        self,
        name: str,
        tasks: int,
        command: list[str],
        *words: str,
        priority: int = 0,
        idle_for: str = "0s",
    ) -> subprocess.Popen[bytes]:
        sweep = {
            "matrix": {"number": list(range(tasks))},
            "priority": priority,
            "worker": {"command": command},
            "devices": {"idle_for": idle_for},
        }
        file = self.folder / f"{name}.yaml"
        file.write_text(json.dumps(sweep))
        return subprocess.Popen(
            [sys.executable, __file__, "--dispatch", str(file), *words],
            env=self.environment,
            stdout=subprocess.DEVNULL,
        )

    def spans(self, name: str) -> Iterator[tuple[float, float]]:
        """Yield when each attempt began and ended (time of day)."""
        began: dict[str, float] = {}
        for line in (self.folder / "logs" / name / "journal.jsonl").read_text().splitlines():
            entry = json.loads(line)
            if entry["event"] == "attempt_started":
                began[entry["task"]] = entry["started"]
            elif entry["event"] == "attempt_ended":
                yield began.pop(entry["task"]), entry["ended"]


def together(box: Box, arguments: argparse.Namespace) -> Iterator[str]:
    """Run the three sweeps; yield what came of it."""
    sleeps = [sys.executable, "-I", "-S", str(box.folder / "worker.py"), str(arguments.seconds)]
    begun, running, started = time.time(), [], {}
    for plan in PLANS:
        time.sleep(max(0.0, begun + plan.begins * arguments.seconds - time.time()))
        started[plan.name] = time.time()
        tasks = round(plan.tasks * arguments.gpus)
        keys = {"priority": plan.priority, "idle_for": arguments.idle_for}
        running.append(box.start(plan.name, tasks, sleeps, **keys))
    if any(process.wait() for process in running):
        raise SystemExit("not all tasks were completed")
    spans = {plan.name: sorted(box.spans(plan.name)) for plan in PLANS}
    yield f"GPUs in use, of {arguments.gpus}, every {COLUMN:g} s; tasks of {arguments.seconds:g} s"
    yield "| s | " + " | ".join(spans) + " |"
    yield "|---" * (len(spans) + 1) + "|"
    end, at = max(span[-1][1] for span in spans.values()), begun + COLUMN
    while at < end:
        uses = [str(sum(b <= at < e for b, e in span)) for span in spans.values()]
        yield f"| {at - begun:.0f} | " + " | ".join(uses) + " |"
        at += COLUMN
    for name, span in spans.items():
        yield f"{name}: waited {span[0][0] - started[name]:.1f} s for its first GPU"
    # Until the last start somebody waited.
    first, last = spans["long"][0][0], max(b for span in spans.values() for b, _ in span)
    used = sum(min(e, last) - b for span in spans.values() for b, e in span if b < last)
    yield f"unused while somebody waited: {1 - used / (arguments.gpus * (last - first)):.1%}"


def alone(box: Box, rounds: int) -> Iterator[str]:
    """Run no-op tasks with and without what sharing takes; yield the ratios."""
    wall: dict[bool, list[float]] = {True: [], False: []}
    cpu: dict[bool, list[float]] = {True: [], False: []}
    for number in range(2 * rounds):
        shares = number % 2 == number // 2 % 2  # each goes first as often
        before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        words = [] if shares else ["--alone"]
        if box.start(f"alone{number}", NO_OPS, NO_OP, *words).wait():
            raise SystemExit("not all tasks were completed")
        wall[shares].append(time.monotonic() - begun)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu[shares].append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    yield f"alone: {NO_OPS / statistics.median(wall[True]):.0f} no-op tasks/s"
    for what, taken in (("wall time", wall), ("CPU time", cpu)):
        ratios = [a / b for a, b in zip(taken[True], taken[False], strict=True)]
        yield (
            f"{what} with sharing, beside the same without: {statistics.median(ratios):.3f} × "
            f"({min(ratios):.2f} to {max(ratios):.2f})"
        )


def dispatch(sweep: Path, *, shares: bool) -> int:
    """Be a dispatcher, in a process of its own."""
    if not shares:
        FairShare.why_left = lambda *_: None  # type: ignore[method-assign]
        FairShare.tell = lambda _: iter(())  # type: ignore[method-assign]
    return scheduler([str(sweep), "--root", str(sweep.parent), "--plain"])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--gpus", type=int, default=8, help="of the stand-in (8)")
    add("--seconds", type=float, default=4.0, help="that a task takes (4)")
    add("--idle-for", default="1s", help="devices.idle_for of the first part (1s)")
    add("--rounds", type=int, default=5, help="of the second part (5)")
    add("--dispatch", type=Path, help=argparse.SUPPRESS)
    add("--alone", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.dispatch is not None:
        return dispatch(arguments.dispatch, shares=not arguments.alone)
    with tempfile.TemporaryDirectory(prefix="fairness-") as folder:
        box = Box(Path(folder), arguments.gpus)
        for line in (*together(box, arguments), *alone(box, arguments.rounds)):
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
