"""What must hold whatever happens, checked against the world's own knowledge, never the core's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from scheduler import events as ev
from scheduler.retry import MAX_FREE_ATTEMPTS
from scheduler.verdict import Kind
from tests.simulation.physics import End, Record

if TYPE_CHECKING:
    from tests.simulation.shell import Shell
    from tests.simulation.world import World

_FREE = {Kind.DEVICE_ERROR, Kind.LOST, Kind.NOT_STARTED, Kind.DISK_FULL}


class Broken(AssertionError):  # noqa: N818 (a promise is broken)
    """A promise does not hold."""


class Promises:
    """The checks, and what they must remember."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.new_dispatcher()

    def new_dispatcher(self) -> None:
        """Forget what the dead dispatcher's core said of itself."""
        self._paused = self._has_room = self._draining = False
        self._aside: dict[str, float] = {}

    def _demand(self, promise: str, holds: bool, *facts: object) -> None:
        if not holds:
            raise Broken(f"{promise}: {' '.join(map(str, facts))}")

    def check_decided(self, actions: Iterable[ev.Action]) -> None:
        """Check what the core decided in one go, before any of it is carried out."""
        for action in actions:
            match action:
                case ev.Start():
                    self._demand("no start while paused", not self._paused, action)
                    self._demand("no start while draining", not self._draining, action)
                case ev.Paused():
                    self._paused, self._has_room = True, False
                case ev.Resumed():
                    self._demand("paused until files can be written", self._has_room, action)
                    self._paused = False
                case ev.Draining():
                    self._draining = True
                case ev.SetAside():
                    self._aside[action.device] = action.until

    def room(self, *, there_is: bool) -> None:
        """Remember what the core was told of the disk."""
        self._has_room = there_is

    # --- starts --------------------------------------------------------------------------------

    def check_start(self, shell: Shell, start: ev.Start) -> None:
        """Check a start that the core asks for, before it is carried out."""
        world, task = self._world, start.task
        demand = self._demand
        demand("a completed task is never run again", task not in world.done, start)
        demand("a failed task is not run again", task not in world.failed, start)
        demand("one attempt at a time", task not in shell.attempts, start)
        demand("an attempt is judged before the next", task not in shell.unjudged, start)
        aside = self._aside.get(start.device, 0.0)
        demand("no start on a device set aside", aside <= world.now, start, aside)
        view = shell.views[start.device]
        free = view.keeper is None and start.device not in shell.occupied.values()
        demand("a device is given once", free, start, shell.occupied)
        demand("a device is idle when it is given", view.idle, start)
        records = world.files[task].records
        used = self._used(records)
        demand("attempts are limited", used < world.policy.settings.max_attempts, start, used)
        for record in records:
            kind = record.verdict.kind if record.verdict is not None else None
            demand("wrong code is not retried", kind is not Kind.WRONG_CODE, start)
            if kind is Kind.OUT_OF_MEMORY and self._can_halve(record):
                demand("an OOM halves", start.halvings > record.halvings, start, record)

    def _can_halve(self, record: Record) -> bool:
        return not record.foreign and record.halvings < self._world.max_halvings

    def _used(self, records: Iterable[Record]) -> int:
        """Count the attempts that a task has used up."""
        free = charged = 0
        for record in records:
            kind = record.verdict.kind if record.verdict is not None else None
            out_of_memory = kind is Kind.OUT_OF_MEMORY
            if kind in (None, Kind.STOPPED) or (out_of_memory and self._can_halve(record)):
                continue
            if kind in _FREE or (out_of_memory and record.foreign):
                free += 1
            else:
                charged += 1
        return charged + max(0, free - MAX_FREE_ATTEMPTS)

    def worker_began(self, task: str, record: Record) -> None:
        """Check, as the witness would, a worker that has just begun."""
        world = self._world
        self._demand("a completed task is never run again", task not in world.done, task)
        finished = [r for r in world.files[task].records if _completed(r)]
        self._demand("finished work is kept", not finished, task, finished)
        for gpu in world.gpus.values():
            for keeper in gpu.holders:
                if keeper is record.keeper or not keeper.working:
                    continue
                self._demand("one attempt at a time", keeper.task != task, task)
                # Slots have no leases: a dead dispatcher's last order may share one for a while.
                if not world.slots or keeper.ordered_by is record.keeper.ordered_by:
                    free = gpu.name != record.device
                    self._demand("a device is used once", free, task, gpu.name)

    # --- stops, checkpoints, the end -------------------------------------------------------------

    def check_stop(self, shell: Shell, stop: ev.Stop) -> None:
        """Check that running work is not ended without a reason that the user would accept."""
        keeper = shell.attempts.get(stop.task)
        if keeper is None:
            return
        world, kind = self._world, stop.verdict.kind
        ran = world.now - keeper.ordered
        reason = {
            Kind.TIMEOUT: world.limits.timeout is not None and ran >= world.limits.timeout - 1e-6,
            Kind.STALLED: world.limits.stall is not None
            and keeper.working
            and world.now - keeper.shows_life_at >= world.limits.stall - 1e-6,
            Kind.STOPPED: world.interrupts > 1,
            Kind.DEVICE_ERROR: shell.views[shell.places[stop.task]].gone,
        }
        self._demand("running work goes on", not keeper.working or reason[kind], stop, ran)

    def check_checkpoint(self, shell: Shell, action: ev.WriteCheckpoint) -> None:
        """Check the proof of a checkpoint at the moment when it is written."""
        records = self._world.files[action.task].records
        proven = bool(records) and _completed(records[-1])
        if action.completed:
            self._demand("a .done is proven by exit and log", proven, action, records[-1:])
        else:
            self._demand("finished work is kept", not proven, action, records[-1:])
            if action.task not in shell.unborn and all(r.verdict is not None for r in records):
                self._demand("not given up early", self._used_up(records), action, records)
        both = self._world.failed if action.completed else self._world.done
        self._demand("completed or failed, not both", action.task not in both, action)

    def _used_up(self, records: list[Record]) -> bool:
        kinds = {record.verdict.kind for record in records if record.verdict is not None}
        if kinds & {Kind.WRONG_CODE, Kind.OUT_OF_MEMORY}:  # at once; or no device has the memory
            return True
        return self._used(records) >= self._world.policy.settings.max_attempts

    def check_finish(self, shell: Shell, finish: ev.Finish) -> None:
        """Check that the exit code says what the files say."""
        world = self._world
        if finish.exit_code == 130:
            self._demand("130 only after Ctrl-C", world.interrupts > 0, finish)
            self._demand("nothing runs at the end", not shell.attempts, finish)
            return
        ended = len(world.done) + len(world.failed)
        self._demand("over only when all is", ended == len(world.natures), finish, ended)
        self._demand("0 and 1", finish.exit_code == (1 if world.failed else 0), finish)

    # --- after each event ----------------------------------------------------------------------

    def check_settled(self, shell: Shell) -> None:
        """Check that what could be done now is done, and that time will wake the core."""
        if shell.exit_code is not None:
            return
        world = self._world
        wake = shell.core.next_wake()
        self._demand("due is done", wake is None or wake > world.now, wake)
        if self._paused:
            self._demand("a pause ends by itself", wake is not None)
            return
        if self._draining:
            return
        for name, view in shell.views.items():
            if name in shell.occupied.values() or self._aside.get(name, 0.0) > world.now:
                continue
            if view.idle:
                waiting = self._never_tried(shell)
                self._demand("no idle device while a task waits", not waiting, name, waiting)
                return

    def _never_tried(self, shell: Shell) -> list[str]:
        world = self._world
        return [
            task
            for task, file in world.files.items()
            if not file.records
            and task not in shell.unborn
            and task not in shell.attempts
            and task not in shell.unjudged
            and task not in world.done
            and task not in world.failed
        ]


def _completed(record: Record) -> bool:
    return record.ended is not None and record.end is End.COMPLETES
