"""What people ask for, at the terminal, from another shell or by the hour, and what follows from it."""

from __future__ import annotations

from collections.abc import Sequence

from scheduler.core import events as ev
from scheduler.core.moves.course import (
    BY_HAND,
    DONE,
    FAILED,
    GONE,
    JUDGING,
    RUNNING,
    WAITING,
    WRITING,
    Course,
)
from scheduler.core.states import InitialTask
from scheduler.core.verdict import SWEEP_CHANGED, Kind, Verdict


class Wishes(Course):
    """The moves that somebody wants: stop, pause, resume, drain, reload, interrupt."""

    def _asked(self, event: ev.Wish) -> None:
        match event:
            case ev.Interrupt():
                self._interrupt()
            case ev.TimeShort():
                self._time_is_short(event)
            case ev.StopAsked():
                self._stop_asked(self._tasks.expect(event), event)
            case ev.PauseAsked():
                self._pause_asked(event)
            case ev.ResumeAsked():
                self._held = False
            case ev.DrainAsked():
                self._drain(event)
            case ev.AtMost():
                self._fleet.at_most = event.devices
                self._look_again = True
            case ev.ReloadAsked():
                self._reloading = True
            case ev.Reloaded():
                self._reloaded(event)
            case ev.ReloadRefused():
                self._reloading = False

    def _interrupt(self) -> None:
        self._interrupts += 1
        self._time_short = False
        if self._interrupts == 1:
            self._actions.append(ev.Draining())
            self._stop_queued("stopped by the user")
        else:
            self._stop_all("stopped by the user")

    def _time_is_short(self, event: ev.TimeShort) -> None:
        """Do as at the first interrupt, or at the second; but the exit code asks for another run."""
        if not self._interrupts:
            self._time_short = True
            self._actions.append(ev.Draining(event.why))
        self._interrupts = max(self._interrupts, 2 if event.stop else 1)
        if event.stop:
            self._stop_all(event.why)

    def _stop_asked(self, task: int, event: ev.StopAsked) -> None:
        state = self._tasks.states[task]
        if state is RUNNING:
            self._stop(task, Verdict(Kind.STOPPED, "stopped by hand"))
        if task in self._to_fail:
            return
        if not event.fail or state in (WRITING, DONE, FAILED):
            self._actions.append(ev.Obeyed(event.task))
            return
        self._to_fail.add(task)
        if state is WAITING:
            self._waiting.remove([task])
            self._write(task, BY_HAND)

    def _pause_asked(self, event: ev.PauseAsked) -> None:
        self._held = True
        if event.now:
            self._stop_all("paused by hand")
        else:
            self._stop_queued("paused by hand")

    def _drain(self, event: ev.DrainAsked) -> None:
        self._fleet.drain(event.device, self._now, on=event.on)
        self._look_again = True  # a task may no longer wait for it in vain

    def _reloaded(self, event: ev.Reloaded) -> None:
        self._reloading = False
        self._policy = event.policy or self._policy
        if event.limits is not None:
            self._watches.take_limits(event.limits)
        listed, changed = set(event.order), {initial.task for initial in event.tasks}
        known = [n for n, state in enumerate(self._tasks.states) if state is not GONE]
        names = {task: self._tasks.ids[task] for task in known}
        self._withdraw([task for task, name in names.items() if name not in listed])
        others = [task for task, name in names.items() if name in changed]
        self._withdraw([task for task in others if task not in self._running])
        if any(map(self._tasks.is_known, changed)):
            most = self._policy.settings.stop_after
            self._brake.begin_anew(None if self._tasks.counts[DONE] else most)
        for number, initial in enumerate(event.tasks):
            if self._tasks.runs(initial.task):
                self._outdate(self._tasks.number(initial.task), initial)
            else:
                self._waiting.learn_of(event.values[number : number + 1])
                self._add_task(initial)
        sequence = [self._tasks.number(name) for name in event.order]
        self._leaving.difference_update(sequence)
        self._waiting.follow(sequence)
        self._look_at_order()
        self._look_again = True

    def _withdraw(self, tasks: Sequence[int]) -> None:
        """Take tasks out of the sweep; those under way leave when their attempt is over."""
        self._waiting.remove({task for task in tasks if self._tasks.states[task] is WAITING})
        for task in tasks:
            if self._tasks.states[task] in (RUNNING, JUDGING, WRITING):
                self._leaving.add(task)
            else:
                self._move_out(task)

    def _outdate(self, task: int, initial: InitialTask) -> None:
        """End the attempt of a task whose settings have changed; what counts of before is in ``initial``."""
        self._waiting.change_need(task, self._need(task, initial))
        self._history.pop(task, None)
        if initial.history:
            self._history[task] = initial.history
        self._stop(task, Verdict(Kind.STOPPED, SWEEP_CHANGED))
        self._forget_wish(task)

    def _stop_all(self, cause: str) -> None:
        for task in self._running:
            self._stop(task, Verdict(Kind.STOPPED, cause))
