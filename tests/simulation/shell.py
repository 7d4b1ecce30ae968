"""The dispatcher's shell in the modelled world: dispatcher, records, writer and recovery in small.

What the real shell does at once happens at once here, nested calls of the core included; what it
leaves to threads, pipes and processes comes later, in the orders in which it can come.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from scheduler.core import events as ev
from scheduler.core.core import Core
from scheduler.core.retry import JudgedAttempt
from scheduler.core.states import InitialTask, Need, State
from scheduler.core.tables.order import LongestFirst
from scheduler.core.verdict import SWEEP_CHANGED, Exit, Kind, Verdict, judge
from tests.simulation.hours import HoursOfShell
from tests.simulation.liveness import LivenessProperties
from tests.simulation.model import End, Gpu, Record, Supervisor, Wishes
from tests.simulation.order import LongestFirstProperties

if TYPE_CHECKING:
    from tests.simulation.world import World


Callback = Callable[[], object]
# What the writer does; it returns what the loop is to call, and what to do after the next sync.
Job = Callable[[], tuple[Callback, Callback | None]]


class Killed(Exception):  # noqa: N818 (what happens to a dispatcher, not an error)
    """The dispatcher dies here."""


class Shell:
    """One dispatcher, from its start to its end or death."""

    def __init__(self, world: World, *, adopt: bool) -> None:
        self.world = world
        self.adopt = adopt
        self.attempts: dict[str, Supervisor] = {}
        self.places: dict[str, tuple[str, ...]] = {}  # task -> what the core gave its attempt
        self.adopted: set[Supervisor] = set()
        self._logs: dict[
            Supervisor, tuple[float | None, float]
        ] = {}  # as last seen, and since when
        self.unjudged: set[str] = set()  # over or orphaned, and the verdict not yet with the core
        self.exit_code: int | None = None
        self.braked = False
        self.views = {name: _View() for name in world.gpus}
        self.wishes = Wishes()  # as they were last read
        self.hours = HoursOfShell(world, self.handle)
        self._inbox: deque[Callback] = deque()
        self._jobs: deque[Job] = deque()
        self._writer_works = False
        self.file = dict(world.sweep_file)  # as it was last read
        self.known = dict(self.file)  # the settings by which the core knows a task
        seeds = [self._seed(task) for task in self.file]
        open_attempts = [seed.task for seed in seeds if seed.state is State.RUNNING]
        self.unjudged |= set(open_attempts)
        # Where the core must believe its attempts to run, from what it has been told.
        self.occupied = {seed.task: seed.devices for seed in seeds if seed.devices}
        self.has = {seed.task: seed.has for seed in seeds if seed.devices}
        alike = frozenset(world.gpus if world.slots else ())
        # Which tasks come first is another matter than what becomes of them; half of the worlds change it.
        values = {task: _values(task) for task in self.file if len(seeds) % 2}
        order = LongestFirst(list(values.values())) if values else None
        self.core: Core = world.make_core(
            seeds,
            world.policy,
            world.limits,
            world.now,
            alike=alike,
            order=order,
            most_sharers=world.most_sharers,
            groups={name: name[-1:] for name in world.gpus} if len(seeds) % 3 else None,
        )
        self._liveness = LivenessProperties(
            seeds, world.policy.settings, world.max_halvings, world.limits, alike,
            LongestFirstProperties(values) if values else None, mixed=world.mixed,
        )  # fmt: skip
        self._open_attempts = open_attempts

    def begin(self) -> None:
        """Adopt what runs, judge what ended unseen, look at the devices."""
        for task in self._open_attempts:
            self.take_over(task, self.world.files[task].records[-1].devices)
        self.hours.look()
        self._read_wishes()
        for gpu in self.world.gpus.values():
            if self.world.slots:
                self.handle(ev.DeviceIdle(gpu.name))
            else:
                self.handle(ev.DeviceBusy(gpu.name))
                self.look_later(gpu)

    # --- recovery.py ---------------------------------------------------------------------------

    def _seed(self, task: str) -> InitialTask:
        for folder, state in ((self.world.done, State.DONE), (self.world.failed, State.FAILED)):
            if task in folder:
                self.world.forget(task)
                if self.world.answers_for[task] == self.file[task]:
                    return InitialTask(task, state)
                folder.remove(task)  # set aside
        records, nature = self.world.files[task].records, self.world.natures[task]
        need, untimed = nature.need, nature.untimed
        if not records:
            return InitialTask(task, need=need, untimed=untimed)
        last = records[-1]
        judged = records if last.verdict is not None else records[:-1]
        today = self.file[task]
        history = tuple(self._past(record) for record in judged if record.settings == today)
        if last.verdict is not None:
            return InitialTask(task, State.WAITING, history, need, untimed)
        same_boot = last.boot == self.world.boot
        started = last.started if same_boot else self._monotonic(last.started_at)
        return InitialTask(
            task,
            State.RUNNING,
            history,
            need,
            untimed,
            devices=last.devices,
            has=last.has,
            started=started,
            halvings=last.halvings,
        )

    def _monotonic(self, at: float) -> float:
        """Return the core's time of a time of day, as clock.py does."""
        return self.world.now - max(0.0, self.world.time_of_day(self.world.now) - at)

    def _past(self, record: Record) -> JudgedAttempt:
        # A verdict that was lost to a full disk counts as a plain failure.
        verdict = record.verdict or Verdict(Kind.FAILED, "None")
        ended = record.started_at if record.ended is None else record.ended
        return JudgedAttempt(
            verdict,
            record.devices,
            self._monotonic(ended),
            free_memory=record.free_memory,
            foreign=record.foreign,
            halvings=record.halvings,
            asked=None if record.has.alone else record.has.memory,
            taken=record.taken,
            crowded=record.crowded,
        )

    # --- the loop ------------------------------------------------------------------------------

    def turn(self) -> None:
        """Wake up for whatever reason: tell the time, then take what was posted."""
        self.hours.look()
        self.handle(ev.Tick())
        while self._inbox:
            self._inbox.popleft()()

    def next_wake(self) -> float | None:
        """Return when it wakes if nothing comes."""
        times = (self.core.next_wake(), self.hours.deadline)
        return min((at for at in times if at is not None), default=None)

    def at_most(self) -> int | None:
        """Return how many devices may be in use, by what it has read; None: all."""
        return self.wishes.at_most if self.world.hours is None else self.hours.allowed()

    def post(self, callback: Callback) -> None:
        """Have the loop call ``callback`` soon, in the order of posting."""
        self._inbox.append(callback)
        self.world.after(self.world.soon(), self._wake)

    def _wake(self) -> None:
        if self.world.shell is self:
            self.turn()

    def handle(self, event: ev.Event) -> None:
        """Give the core an event and carry out its actions; the dispatcher may die before each."""
        world = self.world
        world.note("event", event)
        self._keep_account(event)
        self._liveness.told(event, world.now)
        wanted = None
        # Slots are nobody else's; and time that passes brings tasks and devices back.
        if isinstance(event, ev.DeviceIdle) and not world.slots:
            wake = self.core.next_wake()
            wanted = self.core.wanted() if wake is None or wake > world.now else None
        actions = self.core.handle(event, world.now)
        if wanted is not None:
            world.promises.check_wanted(self, wanted, actions)
        self._liveness.decided(actions, world.now, self.core.next_wake())
        for action in actions:
            world.note("action", action)
            world.maybe_kill()
            self._carry_out(action)

    def _keep_account(self, event: ev.Event) -> None:
        match event:
            case ev.DeviceIdle():
                self.views[event.device].idle = True
            case ev.DeviceBusy() | ev.DeviceGone():
                self.views[event.device].idle = False
            case ev.AttemptExited() | ev.AttemptJudged() | ev.StartRefused():
                self.occupied.pop(event.task, None)

    def see_wishes(self) -> None:
        """Find the files of somebody's wishes changed."""
        if self.world.shell is self:
            self.post(self._read_wishes)

    def _read_wishes(self) -> None:
        before, now = self.wishes, self.world.wishes.copy()
        self.wishes = now
        if now.paused != before.paused:
            self.handle(now.paused or ev.ResumeAsked())
        if now.at_most != before.at_most:
            self.handle(ev.AtMost(now.at_most))
        for device in sorted(now.drained ^ before.drained):
            self.handle(ev.DrainAsked(device, device in now.drained))
        for task, wish in list(now.stops.items()):
            if before.stops.get(task) is not wish and task not in self.file:
                self._obeyed(task)
                self.world.forget_wish_to_fail(task)
            elif before.stops.get(task) is not wish:
                self.world.told_to_fail |= {(task, self.file[task])} if wish.fail else set()
                self.handle(wish)

        if now.reloads > before.reloads:
            self.handle(ev.ReloadAsked())
            reads = self.world.rng.choice((1.0, 30.0))  # seconds, at most
            self.world.after(self.world.soon(reads), self._file_is_read)

    def _file_is_read(self) -> None:
        if self.world.shell is self:
            self.post(self._reload)

    def _reload(self) -> None:
        """Take the sweep file in, once no task that it changes is being judged or its end written."""
        if self.exit_code is not None:
            return
        today, core = dict(self.world.sweep_file), self.core
        gone = [task for task in self.known if core.state(task) is State.GONE]
        changed = [t for t, s in today.items() if self.known.get(t) != s or t in gone]
        states = [core.state(task) for task in changed if task in self.known]
        if State.JUDGING in states or State.WRITING in states:
            self.world.after(0.1, self._file_is_read)
            return
        if self.world.interrupts or self.world.rng.random() < 0.1:
            self.handle(ev.ReloadRefused())
            return
        running = [t for t in changed if t in self.known and core.state(t) is State.RUNNING]
        self.file = today
        self.known |= today
        seeds = [self._seed(task) for task in changed]
        begun = [s for s in seeds if s.state is State.RUNNING and s.task not in running]
        self.unjudged |= {seed.task for seed in begun}
        self.occupied |= {seed.task: seed.devices for seed in begun if seed.devices}
        self.has |= {seed.task: seed.has for seed in begun if seed.devices}
        values = tuple(map(_values, changed))
        self.hours.take_in()
        self.handle(ev.Reloaded(tuple(today), tuple(seeds), values))
        for seed in begun:
            self.take_over(seed.task, self.world.files[seed.task].records[-1].devices)

    def _obeyed(self, task: str) -> None:
        if self.world.wishes.stops.get(task) is self.wishes.stops.pop(task, None):
            self.world.wishes.stops.pop(task, None)

    def interrupt(self) -> None:
        """See Ctrl-C."""
        self.turn()
        self.handle(ev.Interrupt())

    def run_out_of_time(self, *, stop: bool) -> None:
        """See that the time of lent devices is nearly over."""
        self.turn()
        self.handle(ev.TimeShort("its time is over", stop))

    def _carry_out(self, action: ev.Action) -> None:
        promises = self.world.promises
        match action:
            case ev.Start():
                promises.check_start(self, action)
                self.occupied[action.task] = action.devices
                self.has[action.task] = _has(action)
                for device in action.devices if action.alone else ():
                    self.views[device].idle = False
                self._start(action)
            case ev.Stop():
                promises.check_stop(self, action)
                self._stop(action.task, action.verdict)
            case ev.WriteCheckpoint():
                self._write(action)
            case ev.CheckActivity():
                supervisor = self.attempts.get(action.task)
                if supervisor is not None:
                    self.handle(ev.Activity(action.task, self._last_sign(supervisor)))
            case ev.CheckOutput():
                supervisor = self.attempts.get(action.task)
                if supervisor is not None:
                    self.handle(ev.Output(action.task, supervisor.written))
            case ev.CheckDisk():
                self._submit(self._try_to_write)
            case ev.Obeyed():
                self._obeyed(action.task)
            case ev.Withdrawn():
                self.world.forget_wish_to_fail(action.task)
            case ev.Braked():
                self.braked = True
            case ev.Finish():
                promises.check_finish(self, action)
                self.exit_code = action.exit_code
            case _:
                pass  # for the record

    def unfinished(self) -> str:
        """Say where the core has the tasks that have not ended."""
        states = {task: self.core.state(task).name for task in self.file}
        open_ones = {
            task: state for task, state in states.items() if state not in ("DONE", "FAILED")
        }
        return f"{open_ones}, occupied: {self.occupied}"

    # --- attempts ------------------------------------------------------------------------------

    def _start(self, action: ev.Start) -> None:
        world, gpus = self.world, [self.world.gpus[name] for name in action.devices]
        for gpu in gpus:
            if not world.slots and _is_leased(gpu, alone=action.alone):
                self.views[gpu.name].refused = True
                self.handle(ev.StartRefused(action.task))
                for other in gpus:
                    self.look_later(other)
                return
        if world.disk_full:  # the spec file cannot be written
            self._disk_full_at_start(action.task, action.devices)
            return
        file = world.files[action.task]
        order = Record(
            action.number,
            action.devices,
            _has(action),
            world.now,
            action.halvings,
            None if world.slots else min(gpu.free_memory for gpu in gpus),
            supervisor=None,  # type: ignore[arg-type]  # set by the supervisor itself
            settings=self.file[action.task],
        )
        last = file.records[-1] if file.records else None
        if last is not None and last.verdict is None and last.number >= action.number:
            self.take_over(action.task, action.devices)  # the last order of a dispatcher that died
            return
        self._occupy(self._supervisor(action.task, order, file.lines), action.devices)

    def _supervisor(self, task: str, order: Record, size: int) -> Supervisor:
        return Supervisor(self.world, task, order, size, self)

    def _occupy(self, supervisor: Supervisor, devices: tuple[str, ...]) -> None:
        self.attempts[supervisor.task], self.places[supervisor.task] = supervisor, devices
        for device in devices:
            view = self.views[device]
            view.supervisors[supervisor.task] = supervisor
            view.others_came = False
            self.look_later(self.world.gpus[device])

    def _disk_full_at_start(self, task: str, devices: tuple[str, ...]) -> None:
        self.handle(ev.StartRefused(task))
        self.handle(ev.WriteFailed("no room"))
        self._vacate(task, devices)

    def _last_sign(self, supervisor: Supervisor) -> float:
        """Return when the log was last seen to have changed: its own times are those of day."""
        log, (seen, at) = (
            supervisor.shows_life_at,
            self._logs.get(supervisor, (None, self.world.now)),
        )
        if log != seen:
            at = self.world.now
        self._logs[supervisor] = log, at
        return at

    def _stop(self, task: str, verdict: Verdict) -> None:
        supervisor = self.attempts.get(task)
        if supervisor is None:
            return
        file = self.world.files[task]
        if not self.world.disk_full:
            file.lines += 1
            if file.lock is supervisor:
                file.records[-1].stop = verdict
        self.world.maybe_kill()
        supervisor.stop()

    def take_over(self, task: str, devices: tuple[str, ...]) -> None:
        """See to an attempt that has no supervisor of ours (any more)."""
        file = self.world.files[task]
        record = file.records[-1] if file.records else None
        if record is not None and record.ended is not None:
            self.unjudged.add(task)
            self.post(lambda: self._ended_unseen(task, devices))
        elif record is not None and record.supervisor.alive:
            supervisor = record.supervisor
            supervisor.listener = self
            self.adopted.add(supervisor)
            self.unjudged.discard(task)
            self._occupy(supervisor, devices)
            self.world.note("adopted", task, record.number)
            if not self.adopt:
                self._stop(task, Verdict(Kind.STOPPED, "not adopted (--no-adopt)"))
            elif record.settings != self.file[task]:
                self._stop(task, Verdict(Kind.STOPPED, SWEEP_CHANGED))
        else:
            self.unjudged.add(task)
            orphan = record.supervisor if record is not None else None
            self.world.after(self.world.soon(1.0), lambda: self._end_orphan(task, devices, orphan))

    def _end_orphan(
        self, task: str, devices: tuple[str, ...], supervisor: Supervisor | None
    ) -> None:
        if supervisor is not None:
            supervisor.worker_ends(End.KILLED)
        if self.world.files[task].lock is not None:  # the last order of a dispatcher that died
            self.world.after(1.0, lambda: self._end_orphan(task, devices, None))
        elif self.world.shell is self:
            self.post(lambda: self._ended_unseen(task, devices))

    def _ended_unseen(self, task: str, devices: tuple[str, ...]) -> None:
        file = self.world.files[task]
        self._vacate(task, devices)
        if not file.records or file.records[-1].verdict is not None:
            self.unjudged.discard(task)
            verdict = Verdict(Kind.NOT_STARTED, "its supervisor ended before the attempt began")
            self.handle(ev.AttemptJudged(task, JudgedAttempt(verdict, devices, self.world.now)))
            return
        self.handle(ev.AttemptExited(task))
        self._judge(task, foreign=False)

    def answered(self, supervisor: Supervisor, answer: str) -> None:
        """Hear from a supervisor that its attempt ended, was refused, or had no room for its record."""
        if self.world.shell is not self:
            return
        self.turn()
        if supervisor in self.adopted:
            self.supervisor_died(supervisor)
            return
        task, devices = supervisor.task, self.places[supervisor.task]
        foreign = any(self.views[device].others_came for device in devices)
        del self.attempts[task]
        if answer == "ended":
            self.unjudged.add(task)
            self.handle(ev.AttemptExited(task))
            self._vacate(task, devices)
            self._judge(task, foreign=foreign)
        elif answer == "no room":
            self._disk_full_at_start(task, devices)
        else:
            self.take_over(task, devices)

    def supervisor_died(self, supervisor: Supervisor) -> None:
        """See the pipe of a supervisor break; or an adopted one go, whatever it went for."""
        if self.world.shell is self:
            self.turn()
            del self.attempts[supervisor.task]
            self.take_over(supervisor.task, self.places[supervisor.task])

    # --- the writer: one job after the other, checkpoints durable once for a batch -----------------

    def _submit(self, job: Job) -> None:
        self._jobs.append(job)
        if not self._writer_works:
            self._writer_works = True
            self.world.after(self.world.soon(), self._new_batch)

    def _new_batch(self) -> None:
        batch, self._jobs = self._jobs, deque()
        self._work(batch, [], [])

    def _work(self, batch: deque[Job], results: list[Callback], finishers: list[Callback]) -> None:
        if self.world.shell is not self:
            return
        if batch:
            result, when_durable = batch.popleft()()
            results.append(result)
            if when_durable is not None:
                finishers.append(when_durable)
            delay = self.world.rng.choice((0.0, 0.0, 0.0, 0.02, self.world.writer_delay))
            self.world.after(delay, lambda: self._work(batch, results, finishers))
            return
        for finish in finishers:
            finish()
        self.post(lambda: [result() for result in results])
        self._writer_works = bool(self._jobs)
        if self._jobs:
            self.world.after(self.world.soon(), self._new_batch)

    def _judge(self, task: str, *, foreign: bool) -> None:
        # Of this attempt, should an old order begin the next one before a long log has been read.
        record = self.world.files[task].records[-1]

        def job() -> tuple[Callback, None]:
            verdict = record.verdict or self._verdict(record)
            if record.settings != self.file.get(task, record.settings):
                verdict = Verdict(Kind.STOPPED, SWEEP_CHANGED)
            if record.verdict is None:
                record.foreign = foreign
                if not verdict.completed and not self.world.disk_full:
                    record.verdict = verdict
                    self.world.files[task].lines += 1
            return lambda: self._judged(task, record, verdict, foreign), None

        if self.world.rng.random() < 0.7:  # a short log is read at once
            job()[0]()
        else:
            self._submit(job)

    @staticmethod
    def _verdict(record: Record) -> Verdict:
        if record.not_started:
            return Verdict(Kind.NOT_STARTED, "no process")
        end = record.end or End.UNSEEN
        stop = record.stop
        if stop is None and record.was_told_to_stop:
            stop = Verdict(Kind.STOPPED, "its supervisor was told to stop")
        return judge(end.exit if record.ended is not None else Exit(), end.scan, stop)

    def _judged(self, task: str, record: Record, verdict: Verdict, foreign: bool) -> None:
        self.unjudged.discard(task)
        self.world.note("judged", task, record.number, verdict.kind.value)
        past = self._past(record)
        self.handle(
            ev.AttemptJudged(
                task,
                replace(past, verdict=verdict, foreign=foreign),
            )
        )

    def _write(self, action: ev.WriteCheckpoint) -> None:
        task, world = action.task, self.world

        def job() -> tuple[Callback, Callback]:
            if world.disk_full:
                return lambda: self.handle(ev.WriteFailed("no room", task)), lambda: None
            world.promises.check_checkpoint(action)
            (world.done if action.completed else world.failed).add(task)
            # Whoever fails a task by hand means it as it is in the file, whatever its last attempt was of.
            by_file, records = self.known[task], world.files[task].records
            world.answers_for[task] = records[-1].settings if action.completed else by_file
            return lambda: self.handle(ev.CheckpointWritten(task)), lambda: world.forget(task)

        self._submit(job)

    def _try_to_write(self) -> tuple[Callback, None]:
        event = ev.WriteFailed("no room") if self.world.disk_full else ev.DiskWritable()
        return lambda: self.handle(event), None

    # --- devices -------------------------------------------------------------------------------

    def _vacate(self, task: str, devices: tuple[str, ...]) -> None:
        for device in devices:
            self.views[device].supervisors.pop(task, None)
            if self.world.slots:
                self.handle(ev.DeviceIdle(device))
            else:
                self.look_later(self.world.gpus[device])

    def look_later(self, gpu: Gpu) -> None:
        """Read the device a moment from now."""
        if not self.world.slots:
            self.world.after(self.world.soon(1.0), lambda: self._look(gpu))

    def _look(self, gpu: Gpu) -> None:
        if self.world.shell is not self:
            return
        self.turn()
        view = self.views[gpu.name]
        if gpu.lost:
            if not view.gone:
                view.gone = True
                self.handle(ev.DeviceGone(gpu.name, "fallen off the bus"))
            return
        view.gone = False
        ours = list(view.supervisors.values())
        if ours:
            view.others_came |= gpu.guest > 0
        if ours and not any(supervisor.alone for supervisor in ours):
            if gpu.guest:
                self.handle(ev.DeviceBusy(gpu.name))
            else:
                awaited = sum(max(0, s.asked - s.takes * s.working) for s in ours)
                self.handle(ev.DeviceIdle(gpu.name, gpu.free_memory - awaited, gpu.total))
        elif ours:
            pass
        elif gpu.guest or any(supervisor.working for supervisor in gpu.holders):
            self.handle(ev.DeviceBusy(gpu.name))
        elif not (view.refused and (gpu.leased_away or gpu.holders)):
            view.refused = False
            self.handle(ev.DeviceIdle(gpu.name, gpu.free_memory, gpu.total))


def _has(start: ev.Start) -> Need:
    return Need(len(start.devices), start.share, start.alone)


def _is_leased(gpu: Gpu, *, alone: bool) -> bool:
    return gpu.leased_away or any(alone or holder.alone for holder in gpu.holders)


def _values(task: str) -> tuple[int, int]:
    """Return the values of a task's axes."""
    number = int(task[1:])
    return number % 2, number % 3


class _View:
    """What this dispatcher knows of a device beside what it told the core."""

    def __init__(self) -> None:
        self.supervisors: dict[str, Supervisor] = {}
        self.idle = False  # told so last, and nothing started since
        self.others_came = False
        self.refused = False
        self.gone = False
