"""More devices at some hours than at others: the dispatcher goes by the hour, wakes for it, and says it."""

from __future__ import annotations

import re
import time
from functools import partial
from typing import Any

import pytest

from scheduler.cli.main import main
from scheduler.config.hours import Hours, Span
from scheduler.config.sweep import DeviceSettings, Sweep
from scheduler.core import events as ev
from scheduler.core import journal_events as je
from scheduler.core.progress import SweepProgress
from scheduler.dispatch import dispatcher
from scheduler.dispatch.wishes.hours import HourWatch
from scheduler.dispatch.wishes.sweep_in_use import SweepInUse
from tests.helpers.sweep_runner import AT_REST, SweepRunner
from tests.scheduler.config.test_hours import BERLIN, at
from tests.scheduler.dispatch.test_wishes import hand

DAY = Hours((Span(8 * 60, 20 * 60, 1),), 2, BERLIN)
DAY_AND_NIGHT = [{"from": "08:00", "to": "20:00", "gpus": 1}, {"gpus": 2}]
EVENING, MORNING = at("2026-10-24T18:00"), at("2026-10-25T07:00")  # an hour more than other nights
# The first of both waits for the other.
MEET = 'touch $0.here; until [ -e a.here ] && [ -e b.here ]; do sleep 0.02; done; echo "met"'


class Told:
    """A watch, with what it tells the journal and the core."""

    def __init__(self, setting: int | Hours | None, now: float) -> None:
        self.now = now
        self.use = SweepInUse(with_limit(setting))
        self.journal: list[je.JournalEvent] = []
        self.core: list[ev.Event] = []
        self.progress = SweepProgress({})
        self.watch = HourWatch(
            self.use, self.progress, self.core.append, self._emit, lambda: self.now
        )

    def _emit(self, event: je.JournalEvent) -> None:
        self.journal.append(event)
        self.progress.apply(je.Entry(self.now, event))

    def look(self, *times: float) -> list[tuple[int | None, float | None]]:
        """Look at these times of day, or now; return all numbers so far, and until when they hold."""
        for now in times or (self.now,):
            self.now = now
            self.watch.look()
        told = [event for event in self.journal if isinstance(event, je.AtMost)]
        assert [ev.AtMost(event.devices) for event in told] == self.core
        return [(event.devices, event.until) for event in told]


def with_limit(setting: int | Hours | None) -> Sweep:
    return Sweep("s", (), (), devices=DeviceSettings(at_most=setting))


def test_each_change_is_told_once_and_waited_for() -> None:
    told = Told(DAY, EVENING - 30)
    assert told.look() == told.look() == [(1, EVENING)]
    deadline = told.watch.deadline()
    assert deadline is not None
    assert deadline == pytest.approx(time.monotonic() + 30, abs=10)
    assert told.look(EVENING, EVENING + 1)[1:] == [(2, MORNING)]


def test_a_clock_that_is_set_is_believed() -> None:
    told = Told(DAY, EVENING + 5).look(EVENING + 5, EVENING - 5, MORNING + 3 * 86_400, EVENING + 10)
    assert [devices for devices, _ in told] == [2, 1, 1, 2]


def test_one_number_is_told_once_and_not_waited_for() -> None:
    told = Told(3, EVENING)
    assert told.look() == told.look(MORNING) == [(3, None)]
    assert told.watch.deadline() is None


def test_nothing_is_told_where_nothing_is_limited() -> None:
    told = Told(None, EVENING)
    assert told.look(EVENING, MORNING) == []
    assert told.watch.deadline() is None


@pytest.mark.parametrize(
    ("setting", "devices"), [(Hours(DAY.spans, 4, BERLIN), 4), (5, 5), (None, None)]
)
def test_another_setting_is_told_at_the_next_look(
    setting: int | Hours | None, devices: int | None
) -> None:
    told = Told(DAY, EVENING)
    told.look()
    told.use.take_in(with_limit(setting))
    assert [number for number, _ in told.look()] == [2, devices]


# --- a dispatcher --------------------------------------------------------------------------------------


def test_a_dispatcher_that_sleeps_wakes_when_more_devices_may_be_used(
    runner: SweepRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[float] = []

    def clock() -> float:
        """Return half a second before the change when first asked, and go on from there."""
        begun.append(time.monotonic())
        return EVENING - 0.5 + begun[-1] - begun[0]

    monkeypatch.setattr(dispatcher, "HourWatch", partial(HourWatch, time_of_day=clock))
    monkeypatch.chdir(runner.root)
    write_meeting(runner, at_most=DAY_AND_NIGHT, zone=BERLIN)
    assert main([str(runner.file), "--root", str(runner.root), "--plain"]) == 0
    told = [
        (entry["devices"], entry["until"], entry["zone"]) for entry in runner.journal("at_most")
    ]
    assert told == [(1, EVENING, BERLIN), (2, MORNING, BERLIN)]
    assert [entry["task"] for entry in runner.journal("attempt_started")] == ["a", "b"]


def test_changed_hours_are_taken_in_while_it_runs(runner: SweepRunner) -> None:
    write_meeting(runner, at_most=1)
    running = runner.start()
    running.wait_for("at most 1 in use at once")
    running.wait_for("a: attempt 1 started")
    status = runner.status()
    assert (status["at_most"], status["at_most_until"], status["at_most_zone"]) == (1, None, None)
    assert [task["waits"] for task in status["tasks"]] == [None, "at most 1 in use at once"]
    # At whatever hour: 2.
    later = [{"from": "08:00", "to": "20:00", "gpus": 2}, {"gpus": 2}]
    write_meeting(runner, at_most=later, zone=BERLIN)
    assert "has taken the file in: its tasks are the same" in hand(runner, "reload")
    assert running.end().code == 0
    assert [entry["devices"] for entry in runner.journal("at_most")] == [2]


def test_new_tasks_begin_by_the_number_that_came_with_them(runner: SweepRunner) -> None:
    runner.write({"a": "gate; ok"}, devices={"cpu_slots": 2, "at_most": 2})
    running = runner.start()
    open_gate = runner.reach_gate("a")
    runner.write({"a": "gate; ok", "b": "ok"}, devices={"cpu_slots": 2, "at_most": 1})
    hand(runner, "reload")
    assert runner.states() == {"a": "running", "b": "waiting"}
    open_gate()
    assert running.end().code == 0
    assert runner.order() == ["start a", "end a", "start b", "end b"]


def test_until_when_a_number_holds_is_shown(runner: SweepRunner) -> None:
    runner.write(
        {"a": "gate; ok"}, devices={"cpu_slots": 3, "at_most": DAY_AND_NIGHT, "zone": BERLIN}
    )
    planned = runner.run(runner.file, "--dry-run").out
    running = runner.start()
    open_gate = runner.reach_gate("a")
    status, shown = runner.status(), runner.run("status", runner.file).out
    open_gate()
    said = running.end()
    told = runner.journal("at_most")[-1]
    assert status["at_most"] in {1, 2}
    assert status["at_most_zone"] == BERLIN
    assert status["at_most_until"] == told["until"] > status["dispatcher"]["since"]
    until = r"at most [12] in use at once until (08|20):00 \(Europe/Berlin\)"
    hours = r"devices in use at once: 1 from 08:00 to 20:00, 2 at all other hours \(Europe/Berlin\)"
    assert re.search(rf"{hours}; now {until}", planned)
    assert re.search(rf"(?m)^devices: {until}", shown)
    assert re.search(until, said.out)
    assert runner.status()["at_most"] is None, "no dispatcher runs"


def write_meeting(runner: SweepRunner, **devices: Any) -> None:
    """Write a sweep of two tasks that end only if they run at the same time."""
    runner.write(
        {"a": "ok", "b": "ok"},
        worker={"command": ["sh", "-c", MEET, "{task}"]},
        validate={"success": "met"},
        devices={"cpu_slots": 2, **devices},
        limits={"timeout": "20s", **AT_REST},
        retries={"max_attempts": 1},
    )
