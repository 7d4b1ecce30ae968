"""Whether a device is idle: every situation on a shared runner, and what is said of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.devices.idle import (
    HIDDEN_MEMORY,
    IdleCode,
    Idleness,
    IdleReason,
    IdleRule,
    IdleTracker,
)
from scheduler.devices.model import Process, Reading

GIB = 2**30
MIB = 2**20
RULE = IdleRule(max_utilization=5, min_free_memory=24 * GIB, idle_for=0)
FREE = Reading(
    "GPU-1",
    utilization=0,
    free_memory=79 * GIB,
    total_memory=80 * GIB,
    reserved_memory=1 * GIB,
    processes=(),
)
ANNA = Process(4711, 3 * GIB + 100 * MIB, "python", "anna")
GONE = Process(4294967295, None, exists=False)
OURS = Process(99, 14 * GIB, "python", "me")


def judge(
    reading: Reading, own: set[int] | None = None, after_own: bool = False, rule: IdleRule = RULE
) -> Idleness:
    return IdleTracker(rule).judge(reading, 0.0, frozenset(own or ()), after_own=after_own)


def held(memory: int, *processes: Process) -> Reading:
    return replace(FREE, free_memory=79 * GIB - memory, processes=processes)


IDLE = {
    "nothing there": (FREE, "idle"),
    "utilisation at the limit": (replace(FREE, utilization=5), "idle"),
    "what a display holds": (replace(held(400 * MIB), display_memory=400 * MIB), "idle"),
    "a little memory of nobody": (held(HIDDEN_MEMORY), "idle"),
    "a pid that never was, and no memory": (held(0, GONE, Process(0, 0, exists=False)), "idle"),
    "a MIG instance": (replace(FREE, utilization=None), "idle (utilisation not known)"),
    "no process list": (replace(FREE, processes=None), "idle (processes not known)"),
    "no memory figures": (
        replace(FREE, free_memory=None, total_memory=None, reserved_memory=None),
        "idle (memory not known)",
    ),
    "nothing known": (Reading("GPU-1"), "idle (utilisation, memory, processes not known)"),
    "an old driver's reserve": (
        replace(FREE, reserved_memory=None, free_memory=79 * GIB),
        "idle",
    ),
    "a pid that never was, and no memory figures": (
        Reading("GPU-1", utilization=0, processes=(GONE,)),
        "idle (memory not known)",
    ),
}

BUSY = {
    "utilisation": (replace(FREE, utilization=87), "busy: utilisation 87 % (limit 5 %)"),
    "a process at 0 %": (
        held(4 * GIB, ANNA),
        "busy: process 4711 (python, user anna) holds 3.1 GiB",
    ),
    "two processes": (
        held(4 * GIB, ANNA, replace(ANNA, pid=4712)),
        "busy: process 4711 (python, user anna) holds 3.1 GiB, and 1 other",
    ),
    "a process of unknown size and name": (
        held(0, Process(4711), ANNA, OURS),
        "busy: process 4711 is on it, and 2 others",
    ),
    "a process, in the words for it rather than its utilisation": (
        replace(held(4 * GIB, ANNA), utilization=99),
        "busy: process 4711 (python, user anna) holds 3.1 GiB",
    ),
    "memory of nobody": (
        held(3 * GIB),
        "busy: 3.0 GiB held by processes that cannot be seen from here",
    ),
    "memory of nobody, without a process list": (
        replace(held(3 * GIB), processes=None),
        "busy: 3.0 GiB held by processes that cannot be seen from here",
    ),
    "memory of a pid that does not exist here": (
        held(3 * GIB, replace(GONE, used_memory=3 * GIB)),
        "busy: 3.0 GiB held by processes that cannot be seen from here",
    ),
    "the same without the device's memory figures": (
        Reading("GPU-1", processes=(replace(GONE, used_memory=3 * GIB),)),
        "busy: 3.0 GiB held by processes that cannot be seen from here",
    ),
    "a context, and nothing more, of nobody": (
        held(HIDDEN_MEMORY + 1),
        "busy: 128 MiB held by processes that cannot be seen from here",
    ),
    "more than an old driver's reserve": (
        replace(FREE, reserved_memory=None, free_memory=77 * GIB),
        "busy: 3.0 GiB held by processes that cannot be seen from here",
    ),
    "too little memory": (
        replace(FREE, total_memory=16 * GIB, free_memory=15 * GIB, reserved_memory=1 * GIB),
        "too small: 16.0 GiB in all, 24.0 GiB wanted (min_free_memory)",
    ),
    "memory held by a display": (
        replace(held(60 * GIB), display_memory=60 * GIB),
        "busy: 19.0 GiB free of 24.0 GiB wanted",
    ),
    "lost": (Reading("GPU-1", error="it fell off the bus", lost=True), "lost: it fell off the bus"),
    "error": (Reading("GPU-1", error="NVML answers UNKNOWN"), "in error: NVML answers UNKNOWN"),
}


@pytest.mark.parametrize(("reading", "reason"), IDLE.values(), ids=IDLE)
def test_idle(reading: Reading, reason: str) -> None:
    judgement = judge(reading)
    assert judgement == Idleness(True, judgement.reason)
    assert judgement.reason.text == reason


@pytest.mark.parametrize(("reading", "reason"), BUSY.values(), ids=BUSY)
def test_busy(reading: Reading, reason: str) -> None:
    judgement = judge(reading)
    assert (judgement.idle, judgement.reason.text, judgement.until) == (False, reason, None)


def test_names_the_foreign_processes_alone() -> None:
    assert judge(held(20 * GIB, OURS, ANNA, GONE), own={OURS.pid}).foreign == (ANNA,)


def test_sees_hidden_memory_beside_our_own_attempt() -> None:
    assert judge(held(14 * GIB + 9 * MIB, OURS), own={OURS.pid}).hidden_memory == 0
    assert judge(held(17 * GIB, OURS), own={OURS.pid}).hidden_memory == 3 * GIB
    assert judge(held(17 * GIB, replace(OURS, used_memory=None))).hidden_memory == 0


def test_a_reason_stays_the_same_while_only_its_figures_change() -> None:
    others = (replace(ANNA, pid=1), replace(ANNA, pid=2, used_memory=5))
    first, second = (IdleReason(IdleCode.OTHERS_PROCESS, processes=(one,)) for one in others)
    assert first.kind == second.kind
    assert first.text != second.text
    by_bob = IdleReason(IdleCode.OTHERS_PROCESS, processes=(replace(ANNA, user="bob"),))
    assert by_bob.kind != first.kind
    busy = [IdleReason(IdleCode.UTILIZATION, measured=percent, limit=5) for percent in (6, 87)]
    assert busy[0].kind == busy[1].kind
    assert len({IdleReason(code).kind for code in IdleCode}) == len(IdleCode)


class TestIdleFor:
    rule = replace(RULE, idle_for=3)

    def test_counts_from_the_first_quiet_reading(self) -> None:
        tracker = IdleTracker(self.rule)
        at = [tracker.judge(FREE, 100 + s, frozenset(), after_own=False) for s in (0, 1.25, 3)]
        assert at == [
            Idleness(False, IdleReason(IdleCode.NOT_FOR_LONG, measured=0, limit=3), until=103),
            Idleness(False, IdleReason(IdleCode.NOT_FOR_LONG, measured=1.25, limit=3), until=103),
            Idleness(True, IdleReason(IdleCode.IDLE)),
        ]
        assert at[1].reason.text == "idle for 1.2 s of 3 s"

    @pytest.mark.parametrize(("reading", "reason"), BUSY.values(), ids=BUSY)
    def test_begins_anew_after_anything_that_is_not_idle(
        self, reading: Reading, reason: str
    ) -> None:
        tracker = IdleTracker(self.rule)
        tracker.judge(FREE, 0, frozenset(), after_own=False)
        tracker.judge(reading, 2, frozenset(), after_own=False)
        assert tracker.judge(FREE, 4, frozenset(), after_own=False).until == 7

    def test_stays_idle(self) -> None:
        tracker = IdleTracker(self.rule)
        tracker.judge(FREE, 0, frozenset(), after_own=False)
        assert all(tracker.judge(FREE, s, frozenset(), after_own=False).idle for s in (3, 4, 900))

    def test_survives_a_clock_that_goes_back(self) -> None:
        tracker = IdleTracker(self.rule)
        tracker.judge(FREE, 1000, frozenset(), after_own=False)
        assert tracker.judge(FREE, 10, frozenset(), after_own=False).until == 13


class TestAfterOurOwnAttempt:
    rule = replace(RULE, idle_for=3)

    def test_waits_neither_for_utilisation_nor_for_idle_for(self) -> None:
        assert judge(replace(FREE, utilization=99), after_own=True, rule=self.rule).idle

    def test_waits_for_its_memory(self) -> None:
        judgement = judge(held(14 * GIB), after_own=True, rule=self.rule)
        assert judgement.reason.text == "busy: 14.0 GiB still held after our own last attempt"

    def test_waits_for_its_process(self) -> None:
        judgement = judge(held(14 * GIB, OURS), own={OURS.pid}, after_own=True, rule=self.rule)
        assert judgement.reason.text == "busy: our own process 99 (python, user me) holds 14.0 GiB"
        assert judgement.foreign == ()

    def test_a_dead_process_that_stays_listed_does_not_matter(self) -> None:
        left = replace(OURS, exists=False)
        assert judge(held(0, left), own={OURS.pid}, after_own=True, rule=self.rule).idle

    def test_a_foreign_process_does(self) -> None:
        judgement = judge(held(4 * GIB, ANNA), after_own=True, rule=self.rule)
        assert judgement.reason.text == "busy: process 4711 (python, user anna) holds 3.1 GiB"

    def test_idle_for_counts_again_once_a_foreign_process_was_there(self) -> None:
        tracker = IdleTracker(self.rule)
        tracker.judge(held(4 * GIB, ANNA), 0, frozenset(), after_own=True)
        reasons = [
            tracker.judge(FREE, s, frozenset(), after_own=True).reason.text for s in (1, 2, 4)
        ]
        assert reasons == ["idle for 0.0 s of 3 s", "idle for 1.0 s of 3 s", "idle"]
        assert tracker.judge(replace(FREE, utilization=99), 9, frozenset(), after_own=True).idle


memories = st.none() | st.integers(0, 2**64 - 1)
processes = st.builds(
    Process, st.integers(0, 2**32 - 1), memories, st.none() | st.text(), st.none(), st.booleans()
)
readings = st.builds(
    Reading,
    st.just("GPU-1"),
    utilization=st.none() | st.integers(0, 2**32 - 1),
    free_memory=memories,
    total_memory=memories,
    reserved_memory=memories,
    display_memory=st.integers(0, 2**64 - 1),
    processes=st.none() | st.lists(processes, max_size=4).map(tuple),
    error=st.none() | st.text(min_size=1),
    lost=st.booleans(),
)


@given(st.lists(st.tuples(readings, st.booleans())), st.frozensets(st.integers(0, 9), max_size=3))
def test_no_reading_breaks_it_and_none_with_foreign_processes_is_idle(
    looks: list[tuple[Reading, bool]], own: frozenset[int]
) -> None:
    tracker = IdleTracker(replace(RULE, idle_for=2))
    for now, (reading, after_own) in enumerate(looks):
        judgement = tracker.judge(reading, now, own, after_own=after_own)
        present = any(p.exists and p.pid not in own for p in reading.processes or ())
        assert not (judgement.idle and (present or reading.error))
        assert judgement.reason.text
