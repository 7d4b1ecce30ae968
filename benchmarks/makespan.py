"""How long the shipped sweeps take on 1 to 64 devices, by the order of their tasks, beside a lower bound.

    python benchmarks/makespan.py

The real core in a simulated clock. What a task truly takes is drawn from a model of its own, which the
order does not know: starting a worker (16 s); for each batch of each configuration so many seconds a
call of the denoiser and so many beside, as recorded in benchmarks/acceleration-results (H100), times
what its accelerators were recorded to leave of it; 1.6 times the fewest rounds, for the precision asked
for; noise of 8 % for a task, 5 % for a noise scheduler, 3 % for a device. One attempt in twenty fails at
a random moment and goes on in another, which starts anew and repeats what its block had measured. Cases
to be judged take a minute, give or take a factor of two, and one in four five times as long, which
nobody knows before.

The simple bound is all time divided by the devices, or the longest task. The bound is the most of it and
of what the tasks' sizes allow: a device with a task that leaves no room for the shortest has no other;
of k m + 1 tasks some device has k + 1; of tasks of which no two fit on one device each has its own, and
few fit beside it.
"""

from __future__ import annotations

import argparse
import heapq
import math
import re
import statistics
import sys
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scheduler.config.loader import read_sweep  # noqa: E402  (the folder above must be importable first)
from scheduler.config.matrix.values import value_text  # noqa: E402
from scheduler.config.sweep import Limits, RetrySettings, Sweep  # noqa: E402
from scheduler.core import events as ev  # noqa: E402
from scheduler.core.core import Core  # noqa: E402
from scheduler.core.retry import JudgedAttempt, Policy  # noqa: E402
from scheduler.core.states import InitialTask  # noqa: E402
from scheduler.core.tables.order import LongestFirst  # noqa: E402
from scheduler.core.verdict import Kind, Verdict  # noqa: E402
from worker.models.catalogue import find_pipe, find_sched  # noqa: E402
from worker.models.task import Task  # noqa: E402
from worker.search.cost import blocks, costs_of_tasks, least_rounds  # noqa: E402
from worker.search.plan import make_plan  # noqa: E402
from worker.search.section import read_search  # noqa: E402
from worker.search.studies import Study  # noqa: E402

SWEEPS = ("sd15", "sd21", "sdxl", "tiny", "codecheck")
DEVICES = (1, 2, 4, 8, 16, 32, 64)
ORDERS = ("axes", "random", "longest first")
START = 16.0  # seconds
# Seconds for a call of the denoiser, and for the rest of a batch, in batches as the sweeps have them.
RECORDED = {
    "SD15": (0.0272, 0.26),
    "SD21": (0.0610, 0.40),
    "SDXL": (0.0850, 0.20),
    "SHAPES_SD15": (0.0040, 0.01),
    "SHAPES_SDXL": (0.0055, 0.01),
}
# What is left of a call's time, by what the configuration's name holds.
LEFT = {"DeepCache 2": 0.55, "DeepCache 3": 0.41, "DeepCache 5": 0.29, "DeepCache 8": 0.23}
LEFT |= {"ToMe": 1.05, "T-GATE": 0.80}
FAILS = 0.05
COMPLETED = Verdict(Kind.COMPLETED, "exit code 0, success line found, no failure pattern")
FAILED = Verdict(Kind.FAILED, "exit code 1")


@dataclass
class Job:
    """A sweep as its order sees it: values and work, and as the model does: fewest seconds, by task."""

    values: list[tuple[str, ...]]
    work: dict[int, float]
    seconds: list[float] | None


def read_job(name: str) -> Job:
    """Return a shipped sweep; its seconds are None where only chance knows them."""
    sweep = read_sweep(ROOT / f"sweeps/{name}.yaml")
    values = [tuple(map(value_text, task.values)) for task in sweep.tasks]
    question = sweep.question()
    matrices = {task["id"]: task["matrix"] for task in question["tasks"]}
    if "pipe" not in sweep.axes:
        return Job(values, {}, None)
    told = costs_of_tasks(matrices, question["args"], question["search"])
    work = {number: told[task.id].work for number, task in enumerate(sweep.tasks)}
    return Job(values, work, [_least_seconds(sweep, matrix) for matrix in matrices.values()])


def _least_seconds(sweep: Sweep, matrix: dict[str, object]) -> float:
    search, _ = read_search(sweep.question()["search"])
    assert search is not None
    pipe, sched = str(matrix["pipe"]), find_sched(str(matrix["sched"]))
    task = Task(find_pipe(pipe), sched, int(str(matrix["steps"])))
    study = Study("", int(sweep.args["num_samples"]), int(sweep.args["batch_size"]))
    baseline, *others = make_plan(task, search).configurations
    measured = [item for block in blocks(others, search.timing) for item in (baseline, *block)]
    a_call, beside = RECORDED[pipe]
    seconds = 0.0
    for item in measured:
        left = math.prod(
            share for name, share in LEFT.items() if re.search(rf"{name}\b", item.label)
        )
        seconds += a_call * left * sched.calls(item.steps or task.steps) + beside
    return seconds * (search.timing.warmup + least_rounds(study, search.timing))


def draw(job: Job, rng: Random) -> list[float]:
    """Return what each task truly takes, its first start apart."""
    if job.seconds is None:
        count = len(job.values)
        return [60 * rng.lognormvariate(0, 0.7) * rng.choice((1, 1, 1, 5)) for _ in range(count)]
    scheds: dict[str, float] = {}
    drawn = []
    for values, least in zip(job.values, job.seconds, strict=True):
        of_sched = scheds.setdefault(values[1], rng.lognormvariate(0, 0.05))
        drawn.append(least * 1.6 * of_sched * rng.lognormvariate(0, 0.08))
    return drawn


@dataclass
class Outcome:
    """When all tasks were done, and how long each had a device."""

    seconds: float
    on_device: list[float]


def run(job: Job, order: str, devices: int, seed: int) -> Outcome:
    """Run a sweep in an order; the same seed has the same tasks, devices and failures."""
    rng = Random(f"{seed}")
    ahead = draw(job, rng)
    on_device = [0.0] * len(ahead)
    speeds = [Random(f"{seed} device {n}").lognormvariate(0, 0.03) for n in range(devices)]
    numbers = list(range(len(ahead)))
    if order == "random":
        Random(f"{seed} order").shuffle(numbers)
    longest = LongestFirst(list(job.values), dict(job.work)) if order == "longest first" else None
    core = Core(
        [InitialTask(str(number)) for number in numbers],
        Policy(RetrySettings(max_attempts=9, backoff=30.0)),
        Limits(log=None),
        0.0,
        {str(n): None for n in range(devices)},
        order=longest,
    )
    ends: list[tuple[float, str, str, Verdict]] = []
    now, events = 0.0, [ev.DeviceIdle(str(n)) for n in range(devices)]
    while True:
        for event in events:
            for action in core.handle(event, now):
                if isinstance(action, ev.Start):
                    task, (device,) = int(action.task), action.devices
                    fate = Random(f"{seed} {task} {action.number}")
                    share = fate.random() if fate.random() < FAILS else 1.0
                    took = START + share * ahead[task] * speeds[int(device)]
                    # A block of four of some twenty configurations is repeated.
                    ahead[task] *= 1.0 - max(0.0, share - 0.1)
                    on_device[task] += took
                    verdict = COMPLETED if share == 1.0 else FAILED
                    heapq.heappush(ends, (now + took, action.task, device, verdict))
                elif isinstance(action, ev.WriteCheckpoint):
                    events.append(ev.CheckpointWritten(action.task))
                elif isinstance(action, ev.Finish):
                    return Outcome(now, on_device)
        wake = core.next_wake()
        if ends and (wake is None or ends[0][0] <= wake):
            now, name, device, verdict = heapq.heappop(ends)
            judged = JudgedAttempt(verdict, (device,), now)
            events = [ev.AttemptExited(name), ev.DeviceIdle(device), ev.AttemptJudged(name, judged)]
        else:
            assert wake is not None
            now, events = wake, [ev.Tick()]


def simple_bound(seconds: Sequence[float], devices: int) -> float:
    """Return all time divided by the devices, or the longest task."""
    return max(sum(seconds) / devices, *seconds)


def bound(seconds: Sequence[float], devices: int) -> float:
    """Return a time in which no order can do tasks of these lengths on so many devices, nor in any less."""
    longest_first = sorted(seconds, reverse=True)
    least, most = simple_bound(seconds, devices), sum(seconds)
    for _ in range(40):
        capacity = (least + most) / 2
        if _may_be_done(longest_first, devices, capacity):
            most = capacity
        else:
            least = capacity
    return least


def _may_be_done(longest_first: Sequence[float], devices: int, capacity: float) -> bool:
    alone = sum(took + longest_first[-1] > capacity for took in longest_first)
    alone = min(alone, len(longest_first) - 1)
    rest, left = longest_first[alone:], devices - alone
    if left <= 0:
        return left == 0 and len(rest) == 1 and rest[0] + longest_first[alone - 1] <= capacity
    crowds = [sum(rest[k * left - k : k * left + 1]) for k in range(1, (len(rest) - 1) // left + 1)]
    if max([longest_first[0], sum(rest) / left, *crowds]) > capacity:
        return False
    apart = [took for took in longest_first if took > capacity / 2]
    shortest = list(accumulate(reversed(longest_first)))
    beside = sum(1 + bisect_right(shortest, capacity - took) for took in apart)
    elsewhere = (devices - len(apart)) * bisect_right(shortest, capacity)
    return len(apart) <= devices and beside + elsewhere >= len(longest_first)


def ratios(job: Job, order: str, devices: int, seeds: int) -> list[tuple[float, float]]:
    """Return for each seed how much longer the order takes than both bounds."""
    found = []
    for seed in range(seeds):
        outcome = run(job, order, devices, seed)
        least = bound(outcome.on_device, devices)
        simple = simple_bound(outcome.on_device, devices)
        found.append((outcome.seconds / least, outcome.seconds / simple))
    return found


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--devices", type=int, nargs="+", default=DEVICES)
    options = parser.parse_args()
    print(
        f"median over {options.seeds} seeds of time / bound; of the longest first also the 95th percentile,"
    )
    print("and beside it its median to the simple bound (all time / devices, or the longest task)")
    print("| sweep | devices | axes | random | longest first | to the simple bound |")
    print("|---|---|---|---|---|---|")
    for name in SWEEPS:
        job = read_job(name)
        for devices in options.devices:
            by = {order: ratios(job, order, devices, options.seeds) for order in ORDERS}
            medians = [f"{statistics.median(r for r, _ in by[order]):.2f}" for order in ORDERS]
            worst = sorted(r for r, _ in by["longest first"])[int(0.95 * options.seeds)]
            simple = statistics.median(r for _, r in by["longest first"])
            cells = [*medians[:2], f"{medians[2]} ({worst:.2f})", f"{simple:.2f}"]
            print(
                f"| {name}, {len(job.values)} tasks | {devices} | {' | '.join(cells)} |", flush=True
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
