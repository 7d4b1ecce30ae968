"""How the cost of a decision grows: the core alone, up to 1,000,000 tasks on 10,000 devices.

    python benchmarks/core_scale.py

Each row is one sweep in a process of its own, on one core: every device falls idle, every attempt
exits, is judged and checkpointed; one task in twenty fails its first attempt and is tried again
after a back-off, and timeouts and stalls are watched. The clock is simulated; the seconds are those
of the processor. Making the tasks' ids is not counted, planting them in the core is.
"""

from __future__ import annotations

import argparse
import heapq
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scheduler.config.sweep import Limits, RetrySettings  # noqa: E402
from scheduler.core import events as ev  # noqa: E402  (the folder above must be importable first)
from scheduler.core.core import Core  # noqa: E402
from scheduler.core.retry import JudgedAttempt, Policy  # noqa: E402
from scheduler.core.states import InitialTask, State  # noqa: E402
from scheduler.core.verdict import Kind, Verdict  # noqa: E402

TASKS = (1_000, 10_000, 100_000, 1_000_000)
DEVICES = 10_000
FAILS = 20  # one task in so many fails its first attempt
COMPLETED = Verdict(Kind.COMPLETED, "exit code 0, success line found, no failure pattern")
FAILED = Verdict(Kind.FAILED, "exit code 1")


def run_sweep(tasks: int, devices: int) -> tuple[float, int]:
    """Run one simulated sweep to its end; return its processor seconds and its attempts."""
    ids = [f"task{number}" for number in range(tasks)]
    begun = time.process_time()
    sweep = SimulatedSweep(ids)
    sweep.handle([ev.DeviceIdle(f"gpu{number}") for number in range(devices)])
    while sweep.finish is None:
        sweep.go_on()
    seconds = time.process_time() - begun
    assert sweep.finish.exit_code == 0
    assert sweep.core.count(State.DONE) == tasks
    return seconds, sweep.attempts


class SimulatedSweep:
    """The core with a simulated clock, whose actions are answered at once."""

    def __init__(self, ids: list[str]) -> None:
        self._now = 0.0
        limits = Limits(timeout=86400.0, stall=1800.0)
        policy = Policy(RetrySettings(backoff=30.0))
        self.core = Core((InitialTask(task) for task in ids), policy, limits, self._now)
        self.attempts = 0
        self.finish: ev.Finish | None = None
        # heap: (when it ends, attempt, what was started)
        self._running: list[tuple[float, int, ev.Start]] = []

    def go_on(self) -> None:
        """Go to the next end of an attempt, or to when the core wants to be woken."""
        wake = self.core.next_wake()
        if self._running and (wake is None or self._running[0][0] <= wake):
            self._now, attempt, start = heapq.heappop(self._running)
            self.handle(self._end(attempt, start))
        else:
            assert wake is not None
            self._now = wake
            self.handle([ev.Tick()])

    def _end(self, attempt: int, start: ev.Start) -> list[ev.Event]:
        """Return the events of an attempt's end."""
        verdict = FAILED if start.number == 1 and attempt % FAILS == 0 else COMPLETED
        return [
            ev.AttemptExited(start.task),
            ev.DeviceIdle(start.devices[0]),
            ev.AttemptJudged(start.task, JudgedAttempt(verdict, start.devices, self._now)),
        ]

    def handle(self, events: list[ev.Event]) -> None:
        """Tell the core what happened, and what follows from its actions; the list grows by it."""
        for event in events:
            for action in self.core.handle(event, self._now):
                if isinstance(action, ev.Start):
                    self.attempts += 1
                    ends = self._now + duration(self.attempts)
                    heapq.heappush(self._running, (ends, self.attempts, action))
                elif isinstance(action, ev.WriteCheckpoint):
                    events.append(ev.CheckpointWritten(action.task))
                elif isinstance(action, ev.CheckActivity):
                    events.append(ev.Activity(action.task, self._now))
                elif isinstance(action, ev.Finish):
                    self.finish = action


def duration(attempt: int) -> float:
    """Return a duration between 100 s and 4,100 s, spread without a random generator's cost."""
    return 100.0 + (attempt * 2654435761 % 4000)


def main() -> int:
    """Print the table, or, with --tasks, run one row and print its figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--devices", type=int, default=DEVICES)
    parser.add_argument("--tasks", type=int, help="only this many tasks, in this process")
    options = parser.parse_args()
    if options.tasks is not None:
        figures = run_sweep(options.tasks, options.devices)
        print(*figures, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return 0
    print(f"Python {platform.python_version()}, {options.devices:,} devices, one core")
    print(f"{'tasks':>10} {'attempts':>10} {'seconds':>8} {'µs per task':>12} {'peak memory':>12}")
    for tasks in TASKS:
        row = ["--tasks", str(tasks), "--devices", str(options.devices)]
        output = subprocess.check_output([sys.executable, __file__, *row], text=True)
        seconds, attempts, memory = map(float, output.split())
        print(
            f"{tasks:>10,} {attempts:>10,.0f} {seconds:>8.2f} {seconds / tasks * 1e6:>12.1f}"
            f" {memory:>8.0f} MiB"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
