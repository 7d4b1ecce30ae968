"""The simulation bites: each bug below, planted in the real core, is found within a few seeds."""

import heapq
from dataclasses import replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from scheduler.config.hours import Holding, Hours
from scheduler.core import events as ev
from scheduler.core.brake import COUNTED
from scheduler.core.core import Core
from scheduler.core.moves.course import BY_HAND
from scheduler.core.states import ImpossibleEventError, State
from scheduler.core.tables.devices import ASIDE
from scheduler.core.verdict import Kind, Verdict
from scheduler.dispatch.wishes.hours import HourWatch
from tests.simulation.safety import Broken
from tests.simulation.scenario import build, live_through
from tests.simulation.shell import Shell

SEEDS = 300


class ForgetsToMarkADeviceBusy(Core):
    def _occupy(self, task, names, *rest):
        super()._occupy(task, names, *rest)
        device = self._fleet[names[0]]
        device.attempts, device.alone, device.idle = 0, 0, True
        self._fleet.offer(device, self._now)

    def _release(self, task):
        device = self._fleet[self._running[task].devices[0]]
        device.attempts = device.alone = 1
        super()._release(task)


class DropsARetryFromTheHeap(Core):
    def _pass_time(self):
        delayed = self._waiting.delayed
        if len(delayed) > 1 and delayed[0][0] <= self._now:
            heapq.heappop(delayed)
        super()._pass_time()


class ForgetsHowManyDevicesMayBeUsed(Core):
    def _asked(self, event):
        if not isinstance(event, ev.AtMost):
            super()._asked(event)


class CountsOneDeviceTooMany(Core):
    def _asked(self, event):
        if isinstance(event, ev.AtMost) and event.devices is not None:
            event = ev.AtMost(event.devices + 1)
        super()._asked(event)


class KeepsToTheLeastThatItWasEverTold(Core):
    def _asked(self, event):
        before = self._fleet.at_most
        super()._asked(event)
        if before is not None and isinstance(event, ev.AtMost):
            self._fleet.at_most = min(before, before if event.devices is None else event.devices)


class WantsNothingForWhatWasTried(Core):
    def wanted(self):
        constrained, self._waiting.constrained = self._waiting.constrained, {}
        found = super().wanted()
        self._waiting.constrained = constrained
        return found


class WantsWhatItMayNotUse(Core):
    def wanted(self):
        drained = [device for device in self._fleet._by_ordinal if device.drained]
        for device in drained:
            device.drained = False
        found = super().wanted()
        for device in drained:
            device.drained = True
        return found


class StopsWhatIsBeyondTheNumber(Core):
    def _asked(self, event):
        super()._asked(event)
        if isinstance(event, ev.AtMost) and event.devices is not None:
            for task in list(self._running)[event.devices :]:
                self._stop(task, Verdict(Kind.STOPPED, "one too many"))


class TakesLostForCompleted(Core):
    def _judged(self, task, event):
        if event.attempt.verdict.kind is Kind.LOST:
            if self._tasks.states[task] is State.RUNNING:
                self._exited(task, ev.AttemptExited(event.task))
            self._write(task)
        else:
            super()._judged(task, event)


class LearnsFromFailuresHowLongTasksTake(Core):
    def _judged(self, task, event):
        if not event.attempt.verdict.completed:
            self._waiting.completed(task)
        super()._judged(task, event)


class ForgetsWhatWasPutBackBehindTheFirst(Core):
    def _start_refused(self, task, event):
        line = self._waiting._lines[self._waiting.needs[task]]
        first = line.first
        super()._start_refused(task, event)
        line.first = first


class StopsWhatItAdopts(Core):
    def _add_task(self, seed):
        super()._add_task(seed)
        if seed.state is State.RUNNING:
            self._stop(self._tasks.number(seed.task), Verdict(Kind.TIMEOUT, "not one of mine"))


class StartsWhileARunningAttemptIsForgotten(Core):
    def _add_task(self, seed):
        if seed.state is State.RUNNING:
            seed = type(seed)(seed.task, State.WAITING, seed.history)
        super()._add_task(seed)

    def _exited(self, task, event):
        if task in self._running:
            super()._exited(task, event)


class WritesDoneAtTheExit(Core):
    def _exited(self, task, event):
        super()._exited(task, event)
        self._write(task)

    def _judged(self, task, event):
        pass


class NeverAsksAgainForAFailedWrite(Core):
    def _writable_again(self):
        self._writes.failed.clear()
        super()._writable_again()


class StartsAgainOnARefusedDevice(Core):
    def _start_refused(self, task, event):
        device = self._fleet[self._running[task].devices[0]]
        super()._start_refused(task, event)
        device.idle = True
        self._fleet.offer(device, self._now)


class ChargesForAStop(Core):
    def _judged(self, task, event):
        if event.attempt.verdict.kind is Kind.STOPPED:
            verdict = Verdict(Kind.FAILED, event.attempt.verdict.cause)
            event = replace(event, attempt=replace(event.attempt, verdict=verdict))
        super()._judged(task, event)


class RetriesForEver(Core):
    def _after_attempt(self, task):
        self._history[task] = self._history[task][-1:]
        super()._after_attempt(task)


class ForgetsThePause(Core):
    def _pause(self, why):
        super()._pause(why)
        self._writes.paused = False


class DrainsAndStartsOn(Core):
    def _interrupt(self):
        super()._interrupt()
        if self._interrupts == 1:
            self._interrupts = 0


class TrustsADeviceSetAside(Core):
    def _judged(self, task, event):
        super()._judged(task, event)
        self._fleet[event.attempt.devices[0]].aside_until = 0.0


class ForgetsToWakeForATimeout(Core):
    def next_wake(self):
        watches, self._watches.heap = self._watches.heap, []
        wake = super().next_wake()
        self._watches.heap = watches
        return wake


class ForgetsTheWatchAfterASignOfLife(Core):
    def _looked_at(self, task, event):
        if isinstance(event, ev.Output):
            super()._looked_at(task, event)


class FinishesWithAWriteUnderWay(Core):
    def _end(self):
        if not self._running and not self._tasks.counts[State.WAITING] and not self._finished:
            self._finished = True
            self._actions.append(ev.Finish(1 if self._tasks.counts[State.FAILED] else 0))


class TakesNewsOfABusyDeviceForIdleness(Core):
    def _device_idle(self, event):
        free = self._fleet[event.device].attempts
        super()._device_idle(event)
        self._fleet[event.device].attempts = 0 if free else self._fleet[event.device].attempts


class RetriesAnOomAnywhere(Core):
    def _queue(self, task, retry):
        if self._fleet.can_have_more_than(retry.above_memory, 1):
            retry = replace(retry, above_memory=None)
        super()._queue(task, retry)


class ComesBackToADeviceInError(Core):
    def _queue(self, task, retry):
        super()._queue(task, replace(retry, avoid=None))


class FliesFromADeviceJustReleased(Core):
    def _release(self, task):
        self._fleet[self._running[task].devices[0]].within_reach = False
        super()._release(task)


class NeverBacksOff(Core):
    def _pass_time(self):
        waiting = self._waiting
        waiting.delayed = [(0.0, task, retry) for _, task, retry in waiting.delayed]
        super()._pass_time()


class SleepsThroughARetry(Core):
    def next_wake(self):
        later, self._waiting.delayed = self._waiting.delayed, []
        wake = super().next_wake()
        self._waiting.delayed = later
        return wake


class CountsTheTimeoutFromTheAdoption(Core):
    def _add_task(self, seed):
        super()._add_task(replace(seed, started=self._now) if seed.state is State.RUNNING else seed)


class LeavesWorkOnALostDevice(Core):
    def _device_gone(self, event):
        self._withhold(event.device)


class StopsEveryoneForALostDevice(Core):
    def _device_gone(self, event):
        super()._device_gone(event)
        for task in self._running:
            self._stop(task, Verdict(Kind.DEVICE_ERROR, event.reason))


class IgnoresTheSecondInterrupt(Core):
    def _interrupt(self):
        if self._interrupts == 0:
            super()._interrupt()


class NeverSetsADeviceAside(Core):
    def __init__(self, *args, **more):
        super().__init__(*args, **more)
        self._fleet.failed_on = lambda *_: None


class SetsADeviceAsideAtOnce(Core):
    def _judged(self, task, event):
        super()._judged(task, event)
        device = self._fleet[event.attempt.devices[0]]
        if device.failures and device.aside_until <= self._now:
            device.aside_until = self._now + ASIDE
            heapq.heappush(self._fleet._asides, (device.aside_until, device.ordinal))
            self._actions.append(ev.SetAside(device.name, device.aside_until, "one is enough"))


class NeverBringsADeviceBack(Core):
    def _pass_time(self):
        self._fleet._asides.clear()
        super()._pass_time()


class ChargesForMemoryThatOthersTook(Core):
    def _judged(self, task, event):
        super()._judged(task, replace(event, attempt=replace(event.attempt, foreign=False)))


class ForgetsTheHalving(Core):
    def _start(self, task, need, devices):
        super()._start(task, need, devices)
        self._actions[-1] = replace(self._actions[-1], halvings=0)
        self._running[task].halvings = 0


class SaysNotWhyATaskWaits(Core):
    def _after_attempt(self, task):
        super()._after_attempt(task)
        if isinstance(self._actions[-1], ev.Waits):
            self._actions.pop()


class LetsATimedTaskShare(Core):
    def _start(self, task, need, devices):
        super()._start(task, replace(need, alone=False), devices)


class SharesBeforeTheTimedStageIsDone(Core):
    def _need(self, task, initial):
        need = super()._need(task, initial)
        return self._untimed.get(task, need)


class NeverSharesTheUntimedStage(Core):
    def _need(self, task, initial):
        return super()._need(task, replace(initial, untimed=None))


class ChargesForTheTimedStage(Core):
    def _judged(self, task, event):
        verdict = event.attempt.verdict
        if verdict.kind is Kind.STAGE_DONE:
            verdict = replace(verdict, kind=Kind.NO_SUCCESS_LINE)
        super()._judged(task, replace(event, attempt=replace(event.attempt, verdict=verdict)))


class GivesADeviceThatIsShared(Core):
    def _match(self):
        for device in self._fleet._by_ordinal:
            if device.attempts and not device.alone and device.idle:
                device.attempts = 0
                self._fleet.offer(device, self._now)
        super()._match()


class PromisesMoreThanThereIs(Core):
    def _occupy(self, task, names, need, *rest):
        super()._occupy(task, names, need, *rest)
        for name in names:
            device = self._fleet[name]
            device.promised = 0
            if device.total_memory is not None:
                device.free_memory = device.total_memory


class CountsNoSharers(Core):
    def _add_task(self, initial):
        self._fleet._most = None
        super()._add_task(initial)


class GivesOneDeviceOfSeveral(Core):
    def _start(self, task, need, devices):
        super()._start(task, need, devices[:1])


class FreesOneDeviceOfSeveral(Core):
    def _release(self, task):
        running = self._running[task]
        running.devices = running.devices[:1]
        super()._release(task)


class UsesMoreDevicesThanItMayForSeveral(Core):
    def _match(self):
        self._fleet._may_come_into_use = lambda _held: len(self._fleet._by_ordinal)
        super()._match()


class KeepsDevicesForWhatMayNotHaveThemYet(Core):
    def _match(self):
        self._fleet.allows = lambda _need: True
        super()._match()


class TakesAnEndedSharersPlaceAtOnce(Core):
    def _release(self, task):
        running = self._running[task]
        idle = [self._fleet[name].idle for name in running.devices]
        super()._release(task)
        for name, was_idle in zip(running.devices, idle, strict=True):
            self._fleet[name].idle = was_idle
            self._fleet.offer(self._fleet[name], self._now)


class BlamesTheFirstOfSeveralDevices(Core):
    def _judged(self, task, event):
        attempt = event.attempt
        if len(attempt.devices) > 1 and not attempt.verdict.completed:
            event = replace(event, attempt=replace(attempt, devices=attempt.devices[:1]))
        super()._judged(task, event)


class ChargesWhoKeptToItsShare(Core):
    def _judged(self, task, event):
        attempt = event.attempt
        super()._judged(task, replace(event, attempt=replace(attempt, crowded=False)))


class AsksForNoMoreThanBefore(Core):
    def _queue(self, task, retry):
        super()._queue(task, replace(retry, share=None))


class PrefersWhatWasNeverTried(Core):
    def _match(self):
        for line in self._waiting._lines.values():
            tried, line.tried = line.tried, []
            super()._match()
            line.tried += tried
            super()._match()


class NeverLooksAgainForAPickyTask(Core):
    def _match(self):
        self._look_again = False
        super()._match()


class HoldsTheDeviceOfWhatNeverBegan(Core):
    def _judged(self, task, event):
        never_began = self._tasks.states[task] is State.RUNNING
        super()._judged(task, event)
        self._fleet[event.attempt.devices[0]].attempts += never_began


class ResumesBeforeAllIsWritten(Core):
    def _resume(self):
        asked, self._writes.asked = self._writes.asked, {}
        super()._resume()
        self._writes.asked = asked


class ReportsSuccessWhateverFailed(Core):
    def _end(self):
        super()._end()
        if self._finished and ev.Finish(1) in self._actions:
            self._actions[-1] = ev.Finish(0)


class StopsWithoutFailing(Core):
    def _stop_asked(self, task, event):
        super()._stop_asked(task, replace(event, fail=False))


class ForgetsAWishBeforeItIsObeyed(Core):
    def _stop_asked(self, task, event):
        super()._stop_asked(task, event)
        if ev.Obeyed(event.task) not in self._actions:
            self._actions.append(ev.Obeyed(event.task))


class NeverSaysThatAWishIsObeyed(Core):
    def _written(self, task, event):
        self._to_fail.discard(task)
        super()._written(task, event)


class FailsWhatRunsAndLetsItRun(Core):
    def _stop_asked(self, task, event):
        if self._tasks.states[task] is State.RUNNING and event.fail:
            self._to_fail.add(task)
        else:
            super()._stop_asked(task, event)


class FailsWhatCompleted(Core):
    def _write(self, task, failure=None):
        by_hand = BY_HAND if task in self._to_fail else None
        super()._write(task, failure or by_hand)


class LeavesWhatFailsInTheQueue(Core):
    def __init__(self, *args, **more):
        super().__init__(*args, **more)
        self._waiting.remove = lambda tasks: None


class TriesARefusedTaskThatIsToFail(Core):
    def _start_refused(self, task, event):
        kept, self._to_fail = self._to_fail, set()
        super()._start_refused(task, event)
        self._to_fail = kept


class TriesAJudgedTaskThatIsToFail(Core):
    def _after_attempt(self, task):
        kept, self._to_fail = self._to_fail, set()
        super()._after_attempt(task)
        self._to_fail = kept


class PausesAndStartsOn(Core):
    def _pause_asked(self, event):
        super()._pause_asked(event)
        self._held = False


class PausesNowAndLetsRun(Core):
    def _pause_asked(self, event):
        super()._pause_asked(replace(event, now=False))


class StopsWhatMayRunOn(Core):
    def _pause_asked(self, event):
        super()._pause_asked(replace(event, now=True))


class NeverResumes(Core):
    def _asked(self, event):
        if not isinstance(event, ev.ResumeAsked):
            super()._asked(event)


class StartsOnADrainedDevice(Core):
    def _drain(self, event):
        super()._drain(replace(event, on=False))


class DrainsForEver(Core):
    def _drain(self, event):
        if event.on:
            super()._drain(event)


class StartsOnThoughAllFailAlike(Core):
    def _match(self):
        on, self._brake.on = self._brake.on, False
        super()._match()
        self._brake.on = on


class NeverBrakes(Core):
    def __init__(self, *args, **more):
        super().__init__(*args, **more)
        self._brake.release()


class BrakesForOneTaskThatFailsAgain(Core):
    def _judged(self, task, event):
        failed = self._brake._failed
        if failed and event.attempt.verdict.kind in COUNTED:
            failed[-1 - len(failed)] = event.attempt.devices[0]
        super()._judged(task, event)


class BrakesThoughSomeComplete(Core):
    def _judged(self, task, event):
        stop_after = self._brake._stop_after
        super()._judged(task, event)
        if event.attempt.verdict.completed:
            self._brake._stop_after = stop_after


class BrakesForWhatOneDeviceDoes(Core):
    def __init__(self, *args, **more):
        super().__init__(*args, **more)
        self._brake._alike = frozenset(f"gpu{n}" for n in range(8))


class StopsAndNeverEnds(Core):
    def _end(self):
        on, self._brake.on = self._brake.on, False
        super()._end()
        self._brake.on = on


class CallsAStoppedSweepASuccess(Core):
    def _end(self):
        super()._end()
        if self._finished and self._brake.on and ev.Finish(1) in self._actions:
            self._actions[-1] = ev.Finish(0)


class StartsWhatLeftTheFile(Core):
    def _withdraw(self, tasks):
        waiting = [t for t in tasks if self._tasks.states[t] is State.WAITING]
        super()._withdraw([task for task in tasks if task not in waiting])


class RetriesWhatLeftTheFile(Core):
    def _withdraw(self, tasks):
        super()._withdraw(tasks)
        self._leaving.clear()


class LetsTheOutdatedRun(Core):
    def _outdate(self, task, initial):
        stop, self._stop = self._stop, lambda *_: None
        super()._outdate(task, initial)
        self._stop = stop


class ChargesForOtherSettings(Core):
    def _outdate(self, task, initial):
        super()._outdate(task, replace(initial, history=self._history.get(task, ())))


class StartsWhileTheFileIsReadAgain(Core):
    def _match(self):
        reloading, self._reloading = self._reloading, False
        super()._match()
        self._reloading = reloading


class EndsWhileTheFileIsReadAgain(Core):
    def _end(self):
        reloading, self._reloading = self._reloading, False
        super()._end()
        self._reloading = reloading


class WaitsForEverAfterARefusedReload(Core):
    def _asked(self, event):
        if not isinstance(event, ev.ReloadRefused):
            super()._asked(event)


class KeepsTheOrderOfBefore(Core):
    def _reloaded(self, event):
        known = [name for name in self._tasks.ids if name in event.order]
        order = dict.fromkeys((*known, *event.order))
        super()._reloaded(replace(event, order=tuple(order)))


# All of this module: none is planted in vain.
BUGS = [bug for bug in Core.__subclasses__() if bug.__module__ == __name__]


@pytest.mark.parametrize("core", BUGS)
def test_a_planted_bug_is_found(core):
    assert _is_found(core), f"{SEEDS} seeds did not find that the core {core.__name__}"


def test_a_shell_that_trusts_the_time_of_day_is_found(monkeypatch):
    def last_sign(shell, supervisor):
        return shell._monotonic(shell.world.time_of_day(supervisor.shows_life_at))

    monkeypatch.setattr(Shell, "_last_sign", last_sign)
    assert _is_found(Core)


def test_a_shell_that_forgets_a_wish_before_it_is_obeyed_is_found(monkeypatch):
    def read(shell):
        read_wishes(shell)
        shell.world.wishes.stops.clear()

    read_wishes = Shell._read_wishes
    monkeypatch.setattr(Shell, "_read_wishes", read)
    assert _is_found(Core)


def test_a_shell_that_starts_without_looking_for_wishes_is_found(monkeypatch):
    def begin(shell):
        with monkeypatch.context() as blind:
            blind.setattr(Shell, "_read_wishes", lambda shell: None)
            begins(shell)

    begins = Shell.begin
    monkeypatch.setattr(Shell, "begin", begin)
    assert _is_found(Core)


def test_a_watch_that_does_not_wake_for_the_hour_is_found(monkeypatch):
    monkeypatch.setattr(HourWatch, "deadline", lambda _watch: None)
    assert _is_found(Core)


def test_a_watch_that_looks_only_at_its_start_is_found(monkeypatch):
    def look(watch):
        if watch._setting is None:
            looks(watch)

    looks = HourWatch.look
    monkeypatch.setattr(HourWatch, "look", look)
    assert _is_found(Core)


def test_hours_that_are_added_up_on_the_wall_are_found(monkeypatch):
    def at(hours, now):
        begin = datetime.fromtimestamp(now, ZoneInfo(hours.zone))
        holds = numbers(hours, begin)
        wall = begin.replace(second=0, microsecond=0)
        while numbers(hours, wall) == holds:
            wall += timedelta(minutes=1)
        return Holding(holds, now + (wall - begin).total_seconds())

    def numbers(hours, wall):
        return hours._by_minute()[wall.hour * 60 + wall.minute]

    monkeypatch.setattr(Hours, "at", at)
    assert _is_found(Core)


def _is_found(core):
    for seed in range(SEEDS):
        try:
            live_through(build(seed, core), seed)
        except (Broken, ImpossibleEventError):
            return True
    return False
