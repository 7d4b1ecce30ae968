"""What one event costs the core: 8, 80, 800 and 8,000 devices side by side, in ratio to 8.

    python benchmarks/core_events.py

Each scenario is a sweep with twenty tasks for each device; nodes have eight devices. The clock is simulated.
The figure is the time within ``Core.handle``, divided by the events; small sweeps are repeated until there
are enough events, and the sizes take turns, so that a busy machine slows all alike. A ratio is the median
over the rounds. Tasks that have several devices, or share one, have them on one machine: there are no more
than 80 of those.
"""

from __future__ import annotations

import argparse
import gc
import heapq
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scheduler.config.sweep import Limits, RetrySettings  # noqa: E402  (the folder above must be importable)
from scheduler.core import events as ev  # noqa: E402
from scheduler.core.core import Core  # noqa: E402
from scheduler.core.retry import JudgedAttempt, Policy  # noqa: E402
from scheduler.core.states import ONE_ALONE, InitialTask, Need, State  # noqa: E402
from scheduler.core.tables.order import LongestFirst  # noqa: E402
from scheduler.core.verdict import Kind, Verdict  # noqa: E402

SIZES = (8, 80, 800, 8_000)
MOST_ON_ONE_MACHINE = 80
ON_A_NODE = 8
TASKS_EACH = 20
LEAST_EVENTS = 40_000  # that one figure is taken from
GIB = 2**30
FAILS = 20  # one attempt in so many comes to harm
COMPLETED = Verdict(Kind.COMPLETED, "exit code 0, success line found, no failure pattern")


@dataclass
class Scenario:
    """What tasks and devices are like, and what happens to them."""

    name: str
    need: Callable[[int], Need] = lambda _task: ONE_ALONE
    memory: Callable[[int], int] = lambda _device: 80 * GIB
    # Of an attempt that comes to harm.
    harm: Kind = Kind.FAILED
    # Bytes that a task needs; one that gets less is out of memory.
    needed: Callable[[int], int] = lambda _task: 0
    limits: Limits = field(default_factory=lambda: Limits(timeout=86400.0, stall=1800.0, log=None))
    # Again and again one dies with all that runs on it, and is back after a while.
    nodes_die: bool = False
    longest_first: bool = False
    on_one_machine: bool = False
    # After so many events somebody fails a waiting task by hand, again and again; 0: nobody does.
    stops: int = 0


SCENARIOS = (
    Scenario("one device each, one attempt in 20 fails"),
    Scenario("each writes: looked at every second", limits=Limits(log=GIB, stall=1800.0)),
    Scenario("nodes die and come back", nodes_die=True),
    Scenario("one attempt in 20 meets an error of its device", harm=Kind.DEVICE_ERROR),
    Scenario(
        "half of the tasks need devices of 80 GiB, half have 24",
        memory=lambda device: (24 if device // ON_A_NODE % 2 else 80) * GIB,
        needed=lambda task: 40 * GIB * (task % 2),
    ),
    Scenario(
        "tasks of 1, 2, 4 and 8 devices",
        need=lambda task: Need(devices=1 << task % 4),
        on_one_machine=True,
    ),
    Scenario(
        "half of the tasks share devices",
        need=lambda task: Need(memory=10 * GIB, alone=False) if task % 2 else ONE_ALONE,
        on_one_machine=True,
    ),
    Scenario("the longest first", longest_first=True),
    Scenario("somebody stops waiting tasks for good", stops=20),
)


class Sweep:
    """The core with a simulated clock, whose actions are answered at once; counts what ``handle`` takes."""

    def __init__(self, scenario: Scenario, devices: int) -> None:
        self._scenario = scenario
        self._now = 0.0
        self._devices = [f"node{n // ON_A_NODE}:{n % ON_A_NODE}" for n in range(devices)]
        self._memory = {name: scenario.memory(n) for n, name in enumerate(self._devices)}
        tasks = TASKS_EACH * devices
        self._numbers = {f"task{number}": number for number in range(tasks)}
        needs = [scenario.need(number) for number in range(tasks)]
        values = [(number % 5, number % 7, number) for number in range(tasks)]
        self.core = Core(
            (InitialTask(name, need=need) for name, need in zip(self._numbers, needs, strict=True)),
            Policy(RetrySettings(max_attempts=20, backoff=30.0, stop_after=None)),
            scenario.limits,
            self._now,
            dict(self._memory),
            order=LongestFirst(values) if scenario.longest_first else None,
            groups={name: name.partition(":")[0] for name in self._devices},
        )
        self._running: dict[str, tuple[int, ev.Start]] = {}
        # Heap: (when, attempt, what is told then).
        self._ahead: list[tuple[float, int, Callable[[], Iterable[ev.Event]]]] = []
        self._shared = dict.fromkeys(self._devices, 0)
        self._dead: set[str] = set()
        self._attempts = 0
        self._next_to_stop = tasks
        self.finished = False
        self.events = 0
        self.seconds = 0.0

    def run(self) -> None:
        """Run the sweep to its end."""
        self.handle([self._idle(name) for name in self._devices])
        if self._scenario.nodes_die:
            self._later(50.0, self._a_node_dies)
        while not self.finished:
            wake = self.core.next_wake()
            if self._ahead and (wake is None or self._ahead[0][0] <= wake):
                self._now, _, tell = heapq.heappop(self._ahead)
                self.handle(tell())
            else:
                assert wake is not None, "nothing will ever happen again"
                self._now = wake
                self.handle([ev.Tick()])

    def _later(self, seconds: float, tell: Callable[[], Iterable[ev.Event]]) -> None:
        self._attempts += 1
        heapq.heappush(self._ahead, (self._now + seconds, self._attempts, tell))

    def _idle(self, name: str) -> ev.DeviceIdle:
        memory = self._memory[name]
        return ev.DeviceIdle(name, int(0.97 * memory) - self._shared[name], memory)

    def handle(self, events: Iterable[ev.Event]) -> None:
        """Tell the core what happened, and what follows from its actions; the list grows by it."""
        told = list(events)
        for event in told:
            begun = time.perf_counter()
            actions = self.core.handle(event, self._now)
            self.seconds += time.perf_counter() - begun
            self.events += 1
            for action in actions:
                told += self._carry_out(action)
            if self._scenario.stops and self.events % self._scenario.stops == 0:
                told += self._somebody_stops_one()

    def _carry_out(self, action: ev.Action) -> list[ev.Event]:
        match action:
            case ev.Start():
                self._later(duration(self._attempts), lambda: self._ends(action, attempt))
                attempt = self._attempts
                self._running[action.task] = attempt, action
                if action.share is not None:
                    self._shared[action.devices[0]] += action.share
                    if self._shared[action.devices[0]] < 60 * GIB:
                        return [self._idle(action.devices[0])]
            case ev.WriteCheckpoint():
                return [ev.CheckpointWritten(action.task)]
            case ev.CheckActivity():
                return [ev.Activity(action.task, self._now)]
            case ev.CheckOutput():
                return [ev.Output(action.task, 1000)]
            case ev.Finish():
                self.finished = True
        return []

    def _ends(self, start: ev.Start, attempt: int) -> list[ev.Event]:
        if self._running.get(start.task) != (attempt, start):
            return []  # its node has died
        needed = self._scenario.needed(self._numbers[start.task])
        if min(self._memory[name] for name in start.devices) < needed:
            kind = Kind.OUT_OF_MEMORY
        else:
            kind = COMPLETED.kind if attempt % FAILS else self._scenario.harm
        verdict = COMPLETED if kind is COMPLETED.kind else Verdict(kind, "it ended so")
        return self._over(start, verdict, idle=True)

    def _over(self, start: ev.Start, verdict: Verdict, *, idle: bool) -> list[ev.Event]:
        del self._running[start.task]
        if start.share is not None:
            self._shared[start.devices[0]] -= start.share
        free = int(0.97 * min(self._memory[name] for name in start.devices))
        asked = start.share
        judged = JudgedAttempt(verdict, start.devices, self._now, free_memory=free, asked=asked)
        devices = [self._idle(name) for name in start.devices] if idle else []
        return [ev.AttemptExited(start.task), *devices, ev.AttemptJudged(start.task, judged)]

    def _a_node_dies(self) -> list[ev.Event]:
        """Let a node die: a tenth of them do in 100 s. Its attempts are lost at once, uncharged."""
        nodes = len(self._devices) // ON_A_NODE
        node = f"node{self._attempts % nodes}"
        self._later(1_000.0 / nodes, self._a_node_dies)
        gone = [f"{node}:{n}" for n in range(ON_A_NODE)]
        if not self._dead.isdisjoint(gone):
            return []
        self._dead |= set(gone)
        self._later(300.0, lambda: self._comes_back(gone))
        lost = [start for _, start in self._running.values() if start.devices[0] in self._dead]
        events: list[ev.Event] = [ev.DeviceGone(name, "its node died") for name in gone]
        for start in lost:
            events += self._over(start, Verdict(Kind.LOST, "its node died"), idle=False)
        return events

    def _comes_back(self, names: list[str]) -> list[ev.Event]:
        self._dead -= set(names)
        return [self._idle(name) for name in names]

    def _somebody_stops_one(self) -> list[ev.Event]:
        while self._next_to_stop:
            self._next_to_stop -= 1
            task = f"task{self._next_to_stop}"
            if self.core.state(task) is State.WAITING:
                return [ev.StopAsked(task, fail=True)]
        return []


def duration(attempt: int) -> float:
    """Return a duration between 100 s and 500 s, spread without a random generator's cost."""
    return 100.0 + (attempt * 2654435761 % 400)


def cost(scenario: Scenario, devices: int) -> float:
    """Return the seconds that an event takes."""
    events, seconds = 0, 0.0
    while events < LEAST_EVENTS:
        sweep = Sweep(scenario, devices)
        gc.collect()
        gc.disable()
        sweep.run()
        gc.enable()
        events, seconds = events + sweep.events, seconds + sweep.seconds
    return seconds / events


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="devices")
    parser.add_argument("--only", help="scenarios whose names hold this text")
    options = parser.parse_args()
    chosen = [one for one in SCENARIOS if (options.only or "") in one.name]
    print(f"Python {platform.python_version()}, one core, {options.rounds} rounds")
    print("µs an event (its ratio to the smallest size)")
    print(f"{'devices':<56}" + "".join(f"{size:>16,}" for size in options.sizes))
    for scenario in chosen:
        most = MOST_ON_ONE_MACHINE if scenario.on_one_machine else max(options.sizes)
        figures: dict[int, list[float]] = {size: [] for size in options.sizes if size <= most}
        for _ in range(options.rounds):
            for size, found in figures.items():
                found.append(cost(scenario, size))
        first = figures[options.sizes[0]]
        row = f"{scenario.name:<56}"
        for found in figures.values():
            ratio = statistics.median(a / b for a, b in zip(found, first, strict=True))
            row += f"{statistics.median(found) * 1e6:>8.1f} ({ratio:.2f})"
        print(row, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
