"""Attempts that share a device, and tasks that have several: who gets what, and that nobody starves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from scheduler.config.sweep import Limits, RetrySettings
from scheduler.core import events as ev
from scheduler.core.core import Core
from scheduler.core.retry import GiveUp, GiveUpCode, JudgedAttempt, Policy, Retry, RetryCode
from scheduler.core.states import InitialTask, Need
from scheduler.core.tables.closeness import closest
from scheduler.core.verdict import Kind, Verdict

GIB = 2**30
SHARES = Need(memory=20 * GIB, alone=False)
PAIR = Need(devices=2)
OOM = Verdict(Kind.OUT_OF_MEMORY, "…")


@dataclass
class Place:
    name: str
    group: str | None = None


def core_with(
    *needs: Need,
    most: int | None = None,
    groups: dict[str, str] | None = None,
    lone: Sequence[str] = (),
) -> Core:
    tasks = [InitialTask(f"t{number}", need=need) for number, need in enumerate(needs)]
    policy = Policy(RetrySettings(max_attempts=3, backoff=0.0))
    limits = Limits(log=None)
    return Core(tasks, policy, limits, 0.0, most_sharers=most, groups=groups, lone=lone)


def see(core: Core, device: str, free: int = 80, at: float = 1.0) -> list[tuple[str, ...]]:
    """Let a device of 80 GiB be seen idle; return what is started, each with its devices."""
    return starts(core.handle(ev.DeviceIdle(device, free * GIB, 80 * GIB), at))


def starts(actions: list[ev.Action]) -> list[tuple[str, ...]]:
    return [(start.task, *start.devices) for start in actions if isinstance(start, ev.Start)]


def end(core: Core, task: str, *devices: str, at: float = 2.0) -> list[tuple[str, ...]]:
    exited = core.handle(ev.AttemptExited(task), at)
    judged = JudgedAttempt(Verdict(Kind.COMPLETED, ""), devices, at)
    return starts(exited + core.handle(ev.AttemptJudged(task, judged), at))


def test_as_many_share_a_device_as_fit() -> None:
    core = core_with(*[SHARES] * 5)
    assert see(core, "gpu0") == [("t0", "gpu0"), ("t1", "gpu0"), ("t2", "gpu0")]  # 76 GiB at most
    assert see(core, "gpu0", free=78) == []  # what they have asked for and not taken is not free


def test_no_more_share_a_device_than_may() -> None:
    core = core_with(*[SHARES] * 3, most=2)
    assert see(core, "gpu0") == [("t0", "gpu0"), ("t1", "gpu0")]


def test_sharers_are_spread_over_the_devices() -> None:
    core = core_with(SHARES, Need(), SHARES, SHARES)
    assert see(core, "gpu0") == [("t0", "gpu0")]  # beside it t1, which is timed, waits
    assert see(core, "gpu1") == [("t1", "gpu1"), ("t2", "gpu0"), ("t3", "gpu0")]


def test_the_place_of_one_that_ended_is_given_once_it_is_seen() -> None:
    core = core_with(*[SHARES] * 4, most=3)
    see(core, "gpu0")
    assert end(core, "t0", "gpu0") == []
    assert see(core, "gpu0", free=40, at=3.0) == [("t3", "gpu0")]


@pytest.mark.parametrize("large", [Need(), PAIR, Need(memory=70 * GIB, alone=False)])
def test_small_tasks_starve_no_large_one(large: Need) -> None:
    """However many small ones wait and end, and in whatever order, the large one's turn comes."""
    core = core_with(SHARES, SHARES, large, *[SHARES] * 40, most=2)
    running: list[tuple[str, ...]] = see(core, "gpu0") + see(core, "gpu1")
    ended = 0
    while "t2" not in [task for task, *_ in running]:
        task, *devices = running.pop(ended % len(running))
        at = 2.0 + ended
        running += end(core, task, *devices, at=at)
        for device in devices:
            free = 80 - 20 * sum(device in others for _, *others in running)
            running += see(core, device, free=free, at=at)
        ended += 1
        assert ended < 8


def test_several_devices_are_had_at_once_or_not_at_all() -> None:
    core = core_with(Need(), Need(), PAIR, Need(), Need())
    assert see(core, "gpu0") + see(core, "gpu1") == [("t0", "gpu0"), ("t1", "gpu1")]
    assert end(core, "t0", "gpu0") + see(core, "gpu0") == []  # kept for the pair
    assert end(core, "t1", "gpu1") + see(core, "gpu1") == [("t2", "gpu0", "gpu1")]
    assert end(core, "t2", "gpu0", "gpu1", at=3.0) == []
    assert see(core, "gpu1", at=3.0) == [("t3", "gpu1")]


def test_nothing_is_kept_for_what_has_more_devices_than_may_be_in_use() -> None:
    core = core_with(PAIR, Need(), Need(), Need())
    core.handle(ev.AtMost(1), 0.5)
    assert see(core, "gpu0") + see(core, "gpu1") == [("t1", "gpu0")]
    assert starts(core.handle(ev.AtMost(2), 1.0)) == []  # kept for the pair
    assert end(core, "t1", "gpu0") + see(core, "gpu0") == [("t0", "gpu0", "gpu1")]


def test_devices_of_one_board_go_together() -> None:
    boards = {"gpu0": "a", "gpu1": "b", "gpu2": "a", "gpu3": "b"}
    core = core_with(Need(), PAIR, PAIR, groups=boards)
    for device in boards:
        core.handle(ev.DeviceBusy(device), 0.5)
    assert see(core, "gpu1") == [("t0", "gpu1")]
    assert see(core, "gpu0") == []
    assert see(core, "gpu2") == [("t1", "gpu0", "gpu2")]


def test_what_no_attempt_can_have_beside_others_is_joined_to_none() -> None:
    core = core_with(PAIR, PAIR, lone=["gpu0"])
    assert see(core, "gpu0") + see(core, "gpu1") == []
    assert see(core, "gpu2") == [("t0", "gpu1", "gpu2")]
    assert end(core, "t0", "gpu1", "gpu2") + see(core, "gpu1") == []
    assert see(core, "gpu2") == [("t1", "gpu1", "gpu2")]


@pytest.mark.parametrize("lone", [[], ["gpu2"]])
def test_a_task_that_has_more_than_there_are_is_given_up(lone: list[str]) -> None:
    history = (JudgedAttempt(Verdict(Kind.FAILED, "…"), ("gpu0", "gpu1", "gpu3"), 0.0),)
    tasks = [
        InitialTask("never tried", need=Need(devices=3)),
        InitialTask("tried elsewhere", need=Need(devices=3), history=history),
        InitialTask("fits", need=PAIR),
    ]
    here = dict.fromkeys(["gpu0", "gpu1", *lone])
    core = Core(tasks, Policy(RetrySettings(backoff=0.0)), Limits(), 0.0, here, lone=lone)
    why = GiveUp(GiveUpCode.TOO_FEW_DEVICES, devices=3, most_devices=2)
    written = [a for a in core.handle(ev.Tick(), 1.0) if isinstance(a, ev.WriteCheckpoint)]
    assert written == [ev.WriteCheckpoint(task, why) for task in ("never tried", "tried elsewhere")]
    core.handle(ev.DeviceIdle("gpu0"), 1.0)
    assert starts(core.handle(ev.DeviceIdle("gpu1"), 1.0)) == [("fits", "gpu0", "gpu1")]
    for task in ("never tried", "tried elsewhere"):
        core.handle(ev.CheckpointWritten(task), 1.0)
    core.handle(ev.AttemptExited("fits"), 2.0)
    done = JudgedAttempt(Verdict(Kind.COMPLETED, ""), ("gpu0", "gpu1"), 2.0)
    core.handle(ev.AttemptJudged("fits", done), 2.0)
    assert ev.Finish(1) in core.handle(ev.CheckpointWritten("fits"), 2.0)


def test_a_pair_is_not_kept_waiting_by_a_limit_on_devices() -> None:
    core = core_with(Need(), PAIR, *[Need()] * 6)
    core.handle(ev.AtMost(2), 0.5)
    for device in ("gpu0", "gpu1", "gpu2"):
        see(core, device)
    assert see(core, "gpu3") == []
    assert end(core, "t0", "gpu0") == [("t1", "gpu1", "gpu2")]


@pytest.mark.parametrize(
    ("devices", "chosen"),
    [
        ("a1 b1 a2", "a1 a2"),
        ("a1 a2 a3 b1 b2", "b1 b2"),  # the three stay together
        ("a1 b1", "a1 b1"),
        ("a1", ""),
    ],
)
def test_the_closest_devices(devices: str, chosen: str) -> None:
    places = [Place(name, name[0]) for name in devices.split()]
    assert [place.name for place in closest(places, 2)] == chosen.split()


def after(*attempts: JudgedAttempt) -> Retry:
    step = Policy(RetrySettings(max_attempts=3, backoff=10.0, on_oom=("n",)), 2).next_step(attempts)
    assert isinstance(step, Retry)
    return step


def shared(taken: int | None, **more: bool) -> JudgedAttempt:
    memory = None if taken is None else taken * GIB
    return JudgedAttempt(OOM, ("gpu0",), 1.0, asked=20 * GIB, taken=memory, **more)


def test_who_took_too_much_asks_for_it_and_halves_nothing() -> None:
    step = after(shared(25, crowded=True))
    assert (step.reason.code, step.share, step.halvings) == (RetryCode.ASKS_FOR_MORE, 25 * GIB, 0)
    assert step.at == 1.0


def test_who_kept_to_its_share_is_not_charged() -> None:
    step = after(*[shared(20, crowded=True)] * 4)
    assert (step.reason.code, step.share, step.halvings) == (RetryCode.BESIDE_OTHERS, None, 0)


def test_where_nobody_knows_who_took_it_twice_as_much_is_asked_for() -> None:
    assert after(shared(None, crowded=True)).share == 40 * GIB


def test_out_of_memory_without_others_is_its_own_fault() -> None:
    assert after(shared(20)).halvings == 1


def test_what_asks_for_more_starts_where_there_is_so_much() -> None:
    core = core_with(SHARES, SHARES)
    see(core, "gpu0")
    core.handle(ev.AttemptExited("t0"), 2.0)
    assert starts(core.handle(ev.AttemptJudged("t0", shared(50, crowded=True)), 2.0)) == []
    started = core.handle(ev.DeviceIdle("gpu0", 55 * GIB, 80 * GIB), 3.0)
    assert [s.share for s in started if isinstance(s, ev.Start)] == [50 * GIB]


def wanted(core: Core) -> tuple[int, str]:
    found = core.wanted()
    return found.more, " ".join(found.devices)


def busy(core: Core, *devices: str) -> None:
    for device in devices:
        core.handle(ev.DeviceBusy(device), 0.0)


def test_what_is_wanted_is_what_would_be_started() -> None:
    core = core_with(*[Need()] * 4)
    busy(core, "gpu0", "gpu1", "gpu2", "gpu3", "gpu4")
    assert wanted(core) == (4, "gpu0 gpu1 gpu2 gpu3 gpu4")
    see(core, "gpu0", at=0.0)
    assert wanted(core) == (3, "gpu1 gpu2 gpu3 gpu4")
    core.handle(ev.DrainAsked("gpu1"), 0.0)
    assert wanted(core) == (3, "gpu2 gpu3 gpu4")
    core.handle(ev.AtMost(2), 0.0)
    assert wanted(core) == (1, "gpu2 gpu3 gpu4")
    core.handle(ev.PauseAsked(), 0.0)
    assert wanted(core) == (0, "")
    core.handle(ev.ResumeAsked(), 0.0)
    core.handle(ev.AtMost(1), 0.0)
    assert wanted(core) == (0, "")


@pytest.mark.parametrize(
    ("needs", "devices", "at_most", "more"),
    [
        ([PAIR] * 3, 5, None, 4),
        ([PAIR], 5, None, 2),
        ([PAIR], 1, None, 0),
        ([PAIR], 5, 1, 0),
        ([PAIR, Need()], 5, None, 3),
        ([PAIR, Need()], 1, None, 1),
        ([SHARES] * 3, 5, None, 1),
        ([SHARES] * 4, 5, None, 2),
        ([SHARES] * 40, 5, None, 5),
        ([SHARES, SHARES, Need()], 5, None, 2),
    ],
)
def test_as_many_devices_are_wanted_as_there_is_work_for(
    needs: list[Need], devices: int, at_most: int | None, more: int
) -> None:
    names = [f"gpu{number}" for number in range(devices)]
    tasks = [InitialTask(f"t{number}", need=need) for number, need in enumerate(needs)]
    sizes = dict.fromkeys(names, 80 * GIB)
    core = Core(tasks, Policy(RetrySettings()), Limits(log=None), 0.0, sizes)
    core.handle(ev.AtMost(at_most), 0.0)
    assert core.wanted().more == more


def test_no_device_is_wanted_that_is_too_small_for_what_waits() -> None:
    oom = JudgedAttempt(OOM, ("gpu0",), 1.0, free_memory=23 * GIB)
    sizes = {"small": 24 * GIB, "large": 80 * GIB}
    core = Core([InitialTask("a", history=(oom,))], Policy(RetrySettings()), Limits(), 1.0, sizes)
    assert wanted(core) == (1, "large")
