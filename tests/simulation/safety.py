"""What must never happen, checked against the world's own knowledge, never the core's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from scheduler.core import events as ev
from scheduler.core.tables.devices import MOST_FREE
from scheduler.core.tables.matching import Wanted
from scheduler.core.verdict import Kind
from tests.simulation.model import End, Record

if TYPE_CHECKING:
    from tests.simulation.shell import Shell
    from tests.simulation.world import World


class Broken(AssertionError):  # noqa: N818 (a promise is broken)
    """A promise does not hold."""


def demand(promise: str, holds: object, *facts: object) -> None:
    """Raise Broken, with the facts, unless the promise holds."""
    if not holds:
        raise Broken(f"{promise}: {' '.join(map(str, facts))}")


class SafetyProperties:
    """The checks of what a dispatcher does to the world; see liveness.py for what it must do."""

    def __init__(self, world: World) -> None:
        self._world = world

    # --- starts --------------------------------------------------------------------------------

    def check_start(self, shell: Shell, start: ev.Start) -> None:
        """Check a start that the core asks for, before it is carried out."""
        world, task = self._world, start.task
        demand("a completed task is never run again", task not in world.done, start)
        demand("a failed task is not run again", task not in world.failed, start)
        demand(
            "what is to fail is not tried again",
            (task, shell.file[task]) not in world.told_to_fail,
            start,
        )
        held = world.wishes.paused is not None and world.wishes.paused is shell.wishes.paused
        demand("a pause outlives its dispatcher", not held, start)
        drained = world.wishes.drained & shell.wishes.drained
        demand("a drain outlives its dispatcher", drained.isdisjoint(start.devices), start)
        demand("one attempt at a time", task not in shell.attempts, start)
        demand("an attempt is judged before the next", task not in shell.unjudged, start)
        needs = world.needs_of(task, shell.file[task])
        has = len(set(start.devices)), start.alone
        given = has in [(need.devices, need.alone) for need in needs]
        demand("a task has what it needs", given, start, needs)
        for device in start.devices:
            view = shell.views[device]
            demand("a device is idle when it is given", view.idle, start)
            others = [other for other, used in shell.occupied.items() if device in used]
            if not start.alone:
                self._check_sharing(shell, start, device, others)
                continue
            free = not view.supervisors and not others
            demand("a device is given once", free, start, shell.occupied)
        most = shell.at_most()
        in_use = {device for used in shell.occupied.values() for device in used}
        within = most is None or len(in_use | set(start.devices)) <= max(most, len(in_use))
        demand("no more devices than may be", within, start, in_use)

    def check_wanted(self, shell: Shell, wanted: Wanted, actions: Sequence[ev.Action]) -> None:
        """Check what the core said to want, before a device was seen idle, by what it then starts."""
        in_use = {device for used in shell.occupied.values() for device in used}
        most = shell.wishes.at_most
        spare = len(self._world.gpus) if most is None else max(0, most - len(in_use))
        demand("no more is wanted than may be", wanted.more <= spare, wanted, in_use)
        to_be_had = not {*in_use, *shell.wishes.drained}.intersection(wanted.devices)
        demand("what is wanted may be used", to_be_had, wanted, in_use)
        paused = shell.wishes.paused is not None
        demand("who is paused wants nothing", not (paused and wanted.more), wanted)
        started = [action for action in actions if isinstance(action, ev.Start)]
        for device in {device for start in started for device in start.devices} - in_use:
            known = wanted.more and device in wanted.devices
            demand("what is used at once was wanted", known, device, wanted)

    def _check_sharing(self, shell: Shell, start: ev.Start, device: str, others: list[str]) -> None:
        """Check that an attempt may share a device with others of ours."""
        world = self._world
        alone = [other for other in others if shell.has[other].alone]
        demand("a timed task is alone", not alone, start, alone)
        if not others:
            return
        most = world.most_sharers
        demand("no more sharers than may be", most is None or len(others) < most, start, others)
        asked = (start.share or 0) + sum(shell.has[other].memory or 0 for other in others)
        fits = asked <= MOST_FREE * world.gpus[device].total
        demand("no more is promised than there is", fits, start)

    def worker_began(self, task: str, record: Record) -> None:
        """Check, as the event_log would, a worker that has just begun."""
        world = self._world
        demand("a completed task is never run again", task not in world.done, task)
        records = [r for r in world.files[task].records if r.settings == record.settings]
        finished = [r for r in records if _completed(r)]
        demand("finished work is kept", not finished, task, finished)
        for gpu in world.gpus.values():
            for supervisor in gpu.holders:
                if supervisor is record.supervisor or not supervisor.working:
                    continue
                demand("one attempt at a time", supervisor.task != task, task)
                # Slots have no leases: a dead dispatcher's last order may share one for a while.
                if not world.slots or supervisor.ordered_by is record.supervisor.ordered_by:
                    shares = not (record.has.alone or supervisor.alone)
                    free = gpu.name not in record.devices or shares
                    demand("a device is used once", free, task, gpu.name)

    # --- stops, checkpoints, the end -------------------------------------------------------------

    def check_stop(self, shell: Shell, stop: ev.Stop) -> None:
        """Check that running work is not ended without a reason that the user would accept."""
        supervisor = shell.attempts.get(stop.task)
        if supervisor is None:
            return
        world, kind = self._world, stop.verdict.kind
        ran = world.now - supervisor.ordered
        reason = {
            Kind.TIMEOUT: world.limits.timeout is not None and ran >= world.limits.timeout - 1e-6,
            Kind.STALLED: world.limits.stall is not None
            and supervisor.working
            and world.now - supervisor.shows_life_at >= world.limits.stall - 1e-6,
            Kind.TOO_MUCH_OUTPUT: world.limits.log is not None
            and supervisor.written > world.limits.log,
            Kind.STOPPED: world.interrupts > 1
            or stop.task in shell.wishes.stops
            or (shell.wishes.paused is not None and shell.wishes.paused.now)
            or supervisor.settings != shell.file.get(stop.task),
            Kind.DEVICE_ERROR: any(shell.views[d].gone for d in shell.places[stop.task]),
        }
        demand("running work goes on", not supervisor.working or reason[kind], stop, ran)

    def check_checkpoint(self, action: ev.WriteCheckpoint) -> None:
        """Check the proof of a checkpoint at the moment when it is written."""
        records = self._world.files[action.task].records
        proven = bool(records) and _completed(records[-1])
        if action.completed:
            demand("a .done is proven by exit and log", proven, action, records[-1:])
        else:
            shell = self._world.shell
            outdated = proven and shell and records[-1].settings != shell.file.get(action.task)
            demand("finished work is kept", outdated or not proven, action, records[-1:])
        both = self._world.failed if action.completed else self._world.done
        demand("completed or failed, not both", action.task not in both, action)

    def check_finish(self, shell: Shell, finish: ev.Finish) -> None:
        """Check that the exit code says what the files say."""
        world = self._world
        if finish.exit_code in (75, 130):
            demand("130 only after Ctrl-C", world.interrupts > 0, finish)
            asks_for_another = finish.exit_code == 75
            demand("75 where time was short", asks_for_another == world.time_short, finish)
            alone = not shell.attempts or world.interrupts > 2
            demand("nothing runs at the end, unless that was not waited for", alone, finish)
            return
        failed = shell.file.keys() & world.failed
        ended = len(shell.file.keys() & world.done) + len(failed)
        if shell.braked and ended < len(shell.file):
            demand("a sweep that stopped is not a success", finish.exit_code == 1, finish)
            demand("what runs may end", not shell.attempts, finish, shell.attempts)
            return
        demand("over only when all is", ended == len(shell.file), finish, ended)
        demand("0 and 1", finish.exit_code == (1 if failed else 0), finish)


def _completed(record: Record) -> bool:
    return record.ended is not None and record.end is End.COMPLETES
