"""Two dispatchers and one set of leases: who wants both devices gets both or neither, and all ends."""

from __future__ import annotations

import random

import pytest

from scheduler.config.sweep import Limits, RetrySettings
from scheduler.core import events as ev
from scheduler.core.core import Core
from scheduler.core.retry import JudgedAttempt, Policy
from scheduler.core.states import InitialTask, Need, State
from scheduler.core.verdict import Kind, Verdict

DEVICES = ("gpu0", "gpu1")
TASKS = 6
STEPS = 4000
COMPLETED = Verdict(Kind.COMPLETED, "")


class Dispatcher:
    """A core whose starts take their leases one by one, so that another may take one in between."""

    def __init__(self, name: str, leases: dict[str, str], chance: random.Random) -> None:
        self.name = name
        self.leases = leases
        self.chance = chance
        needs = [Need(devices=chance.choice((1, 2, 2))) for _ in range(TASKS)]
        tasks = [InitialTask(f"{name}{number}", need=need) for number, need in enumerate(needs)]
        self.needs = {task.task: need for task, need in zip(tasks, needs, strict=True)}
        self.core = Core(tasks, Policy(RetrySettings()), Limits(log=None), 0.0)
        self.starting: list[ev.Start] = []
        self.running: list[ev.Start] = []
        self.finished = False

    def holds(self, task: str) -> list[str]:
        return [device for device, holder in self.leases.items() if holder == task]

    def handle(self, event: ev.Event, now: float) -> None:
        for action in self.core.handle(event, now):
            if isinstance(action, ev.Start):
                assert len(set(action.devices)) == self.needs[action.task].devices
                self.starting.append(action)
            elif isinstance(action, ev.WriteCheckpoint):
                self.handle(ev.CheckpointWritten(action.task), now)
            elif isinstance(action, ev.Finish):
                self.finished = True

    def step(self, now: float) -> None:
        """Do one thing: take a lease, end an attempt, or look at a device."""
        if self.starting and self.chance.random() < 0.7:
            self.take_one_lease(now)
        elif self.running and self.chance.random() < 0.3:
            self.end(self.running.pop(), now)
        else:
            device = self.chance.choice(DEVICES)
            free = device not in self.leases
            self.handle(ev.DeviceIdle(device) if free else ev.DeviceBusy(device), now)

    def take_one_lease(self, now: float) -> None:
        start = self.starting[0]
        held = self.holds(start.task)
        wanted = min(set(start.devices) - set(held))
        if wanted in self.leases:
            self.starting.pop(0)
            for device in held:
                del self.leases[device]
            self.handle(ev.StartRefused(start.task), now)
            return
        self.leases[wanted] = start.task
        if len(held) + 1 == len(start.devices):
            self.running.append(self.starting.pop(0))

    def end(self, start: ev.Start, now: float) -> None:
        assert sorted(self.holds(start.task)) == sorted(start.devices)
        for device in start.devices:
            del self.leases[device]
        self.handle(ev.AttemptExited(start.task), now)
        self.handle(ev.AttemptJudged(start.task, JudgedAttempt(COMPLETED, start.devices, now)), now)


@pytest.mark.parametrize("first_seed", range(0, 200, 50))
def test_neither_waits_for_what_the_other_holds_half_of(first_seed: int) -> None:
    refused = 0
    for seed in range(first_seed, first_seed + 50):
        chance = random.Random(seed)
        leases: dict[str, str] = {}
        both = [Dispatcher(name, leases, chance) for name in "ab"]
        for step in range(STEPS):
            if all(one.finished for one in both):
                break
            active = chance.choice([one for one in both if not one.finished])
            starting = len(active.starting)
            running = len(active.running)
            active.step(float(step))
            refused += len(active.starting) < starting and len(active.running) == running
        assert [one.core.count(State.DONE) for one in both] == [TASKS, TASKS], f"seed {seed}"
        assert not leases
    assert refused > 50  # the case that it is about was met
