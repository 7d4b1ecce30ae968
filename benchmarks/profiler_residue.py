"""Whether calls take longer once a process has profiled, and whether the profile's device time is right.

    python benchmarks/profiler_residue.py [--seconds 60]

Processes take turns on one GPU with calls of many small kernels, for which the host is the limit: one
never profiles, the others do so twice in between, each with another word on whether CUPTI is taken down
afterwards. Their times are held against that one's of the same turn, so that what the machine does to
all of them cancels out. Then each profiles calls of large kernels, whose device time has to be their
wall time. Prints a JSON line for each process; about half a minute. --cpu tries everything but the
profiler where there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

# the values of TEARDOWN_CUPTI; the last process never profiles
MODES: dict[str, str | None] = {
    "as torch does": None,
    "kept": "0",
    "taken down": "1",
    "never": None,
}
TURNS = 12
CALLS = 4


def child(device: str) -> None:
    """Do what standard input says, line by line, and answer each with a line of JSON."""
    import torch

    from worker.metrics import device_time

    torch.set_grad_enabled(False)

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    def timed(work: Callable[[], object]) -> float:
        wait()
        start = time.perf_counter()
        work()
        wait()
        return time.perf_counter() - start

    layers = [torch.nn.Linear(64, 64, device=device) for _ in range(40)]
    small = torch.randn(64, 64, device=device)
    side = 4096 if device == "cuda" else 256
    large = torch.randn(side, side, device=device) / side

    def many_small() -> object:
        x = small
        for _ in range(20):
            for layer in layers:
                x = torch.nn.functional.silu(layer(x)) + small
        return x

    def few_large() -> object:
        x = large
        for _ in range(40):
            x = x @ large
        return x

    def profiled(work: Callable[[], object]) -> dict[str, Any]:
        events, seconds = device_time._profiled(lambda: timed(work), 0.0)
        lost = device_time.what_is_lost(events, seconds)
        quiet = min(timed(work) for _ in range(3))
        busy = device_time.busy_seconds(events)
        return {"device_s": busy, "profiled_s": seconds, "after_s": quiet, "lost": lost}

    def measured(order: str, work: Callable[[], object]) -> Any:
        return [timed(work) for _ in range(CALLS)] if order == "time" else profiled(work)

    for work in (many_small, few_large):
        for _ in range(3):
            timed(work)
    works = {"small": many_small, "large": few_large}
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        order, _, name = line.strip().partition(" ")
        answer: Any
        try:
            answer = measured(order, works[name])
        except Exception as error:  # noqa: BLE001  # the other processes go on
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


class Process:
    """One of the processes that take turns."""

    def __init__(self, mode: str, device: str, deadline: float) -> None:
        environment = {k: v for k, v in os.environ.items() if k != "TEARDOWN_CUPTI"}
        word = MODES[mode]
        if word is not None:
            environment["TEARDOWN_CUPTI"] = word
        self.mode = mode
        self._deadline = deadline
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--child", device],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # no line waits in a buffer where select does not see it
        )
        self.seconds: list[list[float]] = []
        """Medians of each turn, a list for each phase: before the profile, after it, after another."""
        self.profiles: list[Any] = []

    def ask(self, order: str) -> Any:
        """Send a line and return the answer.

        Raises:
            TimeoutError: there is none in time, or the process has ended.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(f"{order}\n".encode())
        return self.answer()

    def answer(self) -> Any:
        """Return what the process says next; lines of libraries are passed over."""
        assert self._process.stdout is not None
        while True:
            left = max(0.0, self._deadline - time.monotonic())
            if not select.select([self._process.stdout], [], [], left)[0]:
                raise TimeoutError(f"{self.mode}: no answer in time")
            line = self._process.stdout.readline()
            if not line:
                raise TimeoutError(f"{self.mode}: ended")
            try:
                return json.loads(line)
            except ValueError:
                continue

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


def take_turns(processes: list[Process]) -> None:
    """Let all processes time calls, turn by turn."""
    for process in processes:
        process.seconds.append([])
    for turn in range(TURNS):
        for place in range(len(processes)):
            process = processes[(place + turn) % len(processes)]
            process.seconds[-1].append(statistics.median(process.ask("time small")))


def report(process: Process, reference: Process) -> dict[str, object]:
    """Return what one process shows beside the one that never profiles."""
    ratios = [
        [own / other for own, other in zip(mine, its, strict=False)]
        for mine, its in zip(process.seconds, reference.seconds, strict=False)
    ]
    known = [ratio for ratio in ratios if len(ratio) > 1]
    line: dict[str, object] = {"cupti": process.mode, "profiles": process.profiles}
    if process.seconds and process.seconds[0]:
        line["seconds_before"] = statistics.median(process.seconds[0])
    line["against_never"] = [round(statistics.median(ratio), 4) for ratio in known]
    if len(known) > 1:
        before = statistics.median(known[0])
        line["slower_after_percent"] = [
            round(100 * (statistics.median(ratio) / before - 1), 2) for ratio in known[1:]
        ]
        line["spread_percent"] = [
            round(100 * statistics.stdev(ratio) / len(ratio) ** 0.5, 2) for ratio in known
        ]
    return line


def main() -> int:
    """Run the processes; print a line for each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="end after so long")
    parser.add_argument("--cpu", action="store_true", help="time small calls on a CPU")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child)
        return 0
    deadline = time.monotonic() + arguments.seconds
    device = "cpu" if arguments.cpu else "cuda"
    processes = [Process(mode, device, deadline) for mode in MODES]
    *others, reference = processes
    status = 0
    try:
        for process in processes:
            process.answer()
        take_turns(processes)
        for _ in range(2):
            for process in others:
                process.profiles.append(process.ask("profile small"))
            take_turns(processes)
        for process in processes:
            process.profiles.append({"large": process.ask("profile large")})
    except (TimeoutError, OSError) as error:
        print(json.dumps({"error": str(error)}), flush=True)
        status = 1
    finally:
        for process in processes:
            process.end()
        for process in processes:
            print(json.dumps(report(process, reference)), flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
