"""Joules of an image by two ways, and device time beside wall time, of SD1.5 at full size on one GPU.

    python benchmarks/energy_ways.py [--seconds 120]

The first way reads NVML's counter of energy at both ends of every call, while two configurations take
turns; the second is the worker's: calls of one configuration alone for two seconds, the counter read
where it has caught up. Random weights, DDIM 20 steps, batch 1. Prints a JSON line for each configuration
and way, then one for each configuration's device time; under a minute. --tiny tries it on whatever
there is with the miniature.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from worker.errors import UnknownFigureError
from worker.measure.context import EvaluationContext
from worker.measure.rounds import untimed
from worker.measure.rounds.call import generate
from worker.measure.samples import Samples
from worker.measure.session import Session
from worker.measure.settings import TaskRequest, settings_of
from worker.metrics import device_time, energy
from worker.metrics.device import choose_device
from worker.models.catalogue import find_pipe, find_sched
from worker.models.task import Task
from worker.search.configuration import BASELINE, Configuration
from worker.search.section import Search
from worker.search.studies import Study

ROUNDS = 10


def say(**line: object) -> None:
    """Print one line of JSON."""
    print(json.dumps(line, ensure_ascii=False), flush=True)


def call_by_call(context: EvaluationContext, block: Sequence[Samples]) -> None:
    """Read the counter at both ends of every call while the configurations take turns."""
    joules: dict[str, list[float]] = {samples.configuration.label: [] for samples in block}
    for number in range(ROUNDS):
        for place in range(len(block)):
            samples = block[(place + number) % len(block)]
            before = context.meter.joules()
            batch = generate(context, samples, context.batch(0))
            after = context.meter.joules()
            assert batch is not None, samples.failure
            samples.seconds.append(batch.seconds)
            if before is not None and after is not None:
                joules[samples.configuration.label].append(after - before)
    for samples in block:
        label, seconds = samples.configuration.label, samples.seconds
        line: dict[str, Any] = {"seconds": statistics.median(seconds)}
        if known := joules[label]:
            line["joules_per_image"] = statistics.mean(known)
            line["least_and_most"] = [min(known), max(known)]
            line["watts"] = sum(known) / sum(seconds)
        else:
            line["absent"] = context.meter.why_no_energy()
        say(way="call by call", configuration=label, **line)


def stretches(context: EvaluationContext, block: Sequence[Samples]) -> None:
    """Measure energy as the worker does, twice; where it would do so again, say why, and go on."""
    for _ in range(2):
        for samples in block:
            calls = untimed.FurtherCalls(context, samples)
            try:
                found = energy.measure(context.meter.joules, calls.another)
            except UnknownFigureError as error:
                line: dict[str, Any] = {"absent": context.meter.why_no_energy() or str(error)}
            else:
                line = {
                    "joules_per_image": found.joules / found.calls,
                    "watts": found.joules / found.seconds,
                    "idle_watts": found.idle_watts,
                    "calls": found.calls,
                    "seconds": found.seconds / found.calls,
                    "disturbed": str(calls.disturbance(most_on_host=0.1) or "no"),
                }
            say(way="one stretch", configuration=samples.configuration.label, **line)


def device_times(context: EvaluationContext, block: Sequence[Samples], device: str) -> None:
    """Profile each configuration as the worker does."""
    why = device_time.why_not(device)
    if why is not None:
        say(device_time="absent", reason=why)
        return
    start = time.monotonic()
    found = untimed.profile(context, [samples.configuration for samples in block])
    took = time.monotonic() - start
    baseline = found[0].seconds
    for samples, item in zip(block, found, strict=True):
        line: dict[str, Any] = {"unknown": item.unknown, "device_seconds": item.seconds}
        if item.seconds and baseline and samples.seconds:
            half = sorted(samples.seconds)[: (len(samples.seconds) + 1) // 2]
            line["busy_share"] = statistics.median(item.seconds) / statistics.mean(half)
            line["speedup_device"] = statistics.median(baseline) / statistics.median(item.seconds)
        line["speedup_wall"] = statistics.median(block[0].seconds) / statistics.median(
            samples.seconds
        )
        say(device_time=samples.configuration.label, **line)
    say(profiling_took=took)
    after = [generate(context, block[0], context.batch(0)) for _ in range(ROUNDS)]
    seconds = statistics.median(batch.seconds for batch in after if batch is not None)
    before = statistics.median(block[0].seconds)
    say(baseline_after_profiling=seconds, against_before=seconds / before)


def main() -> int:
    """Measure; print what is known even if the time ends."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=120, help="end after so long")
    parser.add_argument("--tiny", action="store_true", help="the miniature, on whatever there is")
    arguments = parser.parse_args()

    def end(_signal: int, _frame: object) -> None:
        raise TimeoutError(f"{arguments.seconds} s are over")

    signal.signal(signal.SIGALRM, end)
    signal.alarm(arguments.seconds)
    device = choose_device()
    pipe, steps = ("TINY_SD15", 4) if arguments.tiny else ("SD15", 20)
    task = Task(find_pipe(pipe), find_sched("DDIM"), steps)
    search = Search.model_validate(
        {"weights": "pretrained" if arguments.tiny else "random", "timing": {"repeats": ROUNDS}}
    )
    study = Study("", 1, 1)
    accelerators = {"deepcache": {"cache_interval": 3, "cache_branch_id": 0}}
    try:
        settings = settings_of(TaskRequest(task, search, 1, 1), study, device)
        with Session(task, device, lambda line: say(log=line)) as session:
            context = session.context(settings, study)
            block = [Samples(BASELINE), Samples(Configuration.accelerated(accelerators))]
            for samples in block * 3:
                generate(context, samples, context.batch(0))
            for part in (call_by_call, stretches):
                try:
                    part(context, block)
                except Exception as error:  # noqa: BLE001  # the other parts are worth having
                    say(part=part.__name__, error=f"{type(error).__name__}: {error}")
            device_times(context, block, device)
    except Exception as error:  # noqa: BLE001  # a line of JSON, too
        say(error=f"{type(error).__name__}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
