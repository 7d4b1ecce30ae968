"""The executor of this machine: each attempt is a process below a supervisor that outlives the dispatcher."""

from __future__ import annotations

import json
import os
import queue
import selectors
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

from scheduler.config.sweep import Sweep
from scheduler.config.units import format_cpus, parse_cpus
from scheduler.devices.fairness.claims import Demand
from scheduler.devices.finding import FoundDevices
from scheduler.devices.model import Device, Reading
from scheduler.devices.pool import DeviceHeld, DevicePool
from scheduler.executors import base
from scheduler.executors.base import Ahead, Executor, ExecutorEvent, Refusal, StartRequest
from scheduler.executors.code_copy import CodeCopy
from scheduler.executors.local import mps, wire
from scheduler.executors.local.handles import AdoptedSupervisor, SupervisorHandle
from scheduler.executors.local.liveness import Life, cpu_time
from scheduler.executors.local.orphans import end_orphans
from scheduler.executors.local.preload.memory import peak
from scheduler.executors.local.preload.preload import Preload
from scheduler.executors.local.preload.standby import Standby
from scheduler.executors.local.supervisors import Seat, SupervisorPool
from scheduler.executors.worker_process import words_to_start, worker_environment
from scheduler.storage.attempts_file import (
    FORKED,
    STANDBY,
    AttemptRecord,
    EndLine,
    StartLine,
    latest,
    read_attempts,
)
from scheduler.storage.paths import SweepPaths
from scheduler.storage.regular_files import make_way, overwrite

SETTLED = 60.0  # seconds after which an attempt has loaded what it needs


@dataclass(slots=True)
class _Supervised:
    """An attempt below a living supervisor."""

    task: str
    devices: tuple[str, ...]
    start: StartLine
    supervisor: SupervisorHandle | AdoptedSupervisor
    life: Life
    # Its file says that it began.
    begun: bool
    # The worker's process id.
    worker: int = 0
    # When it was asked for (monotonic).
    since: float = field(default_factory=time.monotonic)

    @property
    def has_lasted(self) -> bool:
        """Whether it has surely all in memory that it needs there."""
        return self.worker > 0 and time.monotonic() > self.since + SETTLED


class LocalExecutor(Executor):
    """Runs attempts on the GPUs, MIG instances or CPU slots of this machine."""

    def __init__(
        self,
        sweep: Sweep,
        paths: SweepPaths,
        found: FoundDevices,
        environment: Mapping[str, str],
        copy: CodeCopy | None = None,
    ) -> None:
        """Begin without attempts.

        Args:
            sweep: for its ``devices`` and ``worker.env`` sections.
            paths: for its files.
            found: the devices that the sweep may use.
            environment: what workers inherit.
            copy: the copy of the code that they run from; None: from the current folder.

        Raises:
            LeaseFolderError: GPUs cannot be leased; the message says what to do.
        """
        self._paths = paths
        # The PATH on which programs are looked for.
        own = sweep.own_environment(environment)
        self._path = own.get("PATH", environment.get("PATH"))
        if copy is not None:
            own, environment = copy.environment(own), copy.environment(environment)
        self._devices = DevicePool(found, sweep.devices, self._post_readings)
        self._selector = selectors.DefaultSelector()
        folder = copy.folder if copy is not None else None
        self._supervisors = SupervisorPool(
            self._devices, (own, environment), paths.supervisors, self._selector, folder
        )
        self._preload = Preload(
            # Where speed is measured on cores, loading on the side would be measured with it.
            "off" if sweep.preload == "auto" and not found.on_gpus else sweep.preload,
            worker_environment([], None, own, environment),
            paths.supervisors,
            self._selector,
            folder,
            self._cpus_aside,
        )
        self._standby = Standby(
            self._selector,
            worker_environment([], self._devices.threads, own, environment),
            paths.spec(".next"),
            self._cpus_left,
            self._words_of,
            (self._preload.not_prepared, self._preload.failed),
        )
        # Bytes of main memory that an attempt has taken, at most; None: none has ended or lasted yet.
        self._taken: int | None = None
        self._ahead: Ahead = Ahead()
        # What is to be said of it.
        self._of_mps = self._set_up_mps(sweep, environment)
        # By task: those below a supervisor, and the devices of these and of all others not yet over.
        self._supervised: dict[str, _Supervised] = {}
        self._devices_of: dict[str, tuple[str, ...]] = {}
        # What threads, and calls that cannot answer at once, have to say.
        self._inbox: queue.SimpleQueue[Callable[[], Iterator[ExecutorEvent]]] = queue.SimpleQueue()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._selector.register(self._wake, selectors.EVENT_READ)

    @property
    def devices(self) -> Sequence[Device]:
        return self._devices.all

    @property
    def where(self) -> str:
        return self._devices.where + self._of_mps

    def _set_up_mps(self, sweep: Sweep, environment: Mapping[str, str]) -> str:
        """Have attempts that share a device compute by MPS, if the sweep asks for it; say how that went."""
        share, folder = sweep.devices.share, mps.default_folder()
        if share is None or not share.mps or not (sweep.untimed or sweep.staged):
            mps.Mps.end_left_over(folder, environment)
            return ""
        try:
            exclusive = next((d for d in self.devices if self._devices.is_exclusive(d.id)), None)
            if exclusive is not None:
                raise mps.MpsUnavailable(
                    f"GPU {exclusive.index} is in an exclusive compute mode, where its server would "
                    "keep timed tasks out (nvidia-smi -c DEFAULT)"
                )
            if not any(device.kind != "cpu" for device in self.devices):
                raise mps.MpsUnavailable("there is no GPU")
            daemon = mps.Mps.acquire(folder, environment)
        except mps.MpsUnavailable as why:
            return f"; without MPS (devices.share.mps): {why}"
        self._supervisors.mps = daemon
        self._devices.servers = daemon.processes
        return "; through MPS"

    # --- what the dispatcher asks for ----------------------------------------------------------

    def adopt(self, task: str, devices: tuple[str, ...], known: AttemptRecord | None) -> bool:
        self._devices_of[task] = devices
        if known is not None and known.ended is not None:
            self._post(partial(self._over, base.Ended(task, known.ended)))
            return False
        supervisor = AdoptedSupervisor.find(known) if known is not None else None
        if known is None or supervisor is None:
            self._see_off(task, known.started if known is not None else None)
            return False
        life = Life(self._paths.log(task), partial(cpu_time, supervisor.pid))
        share = known.started.share
        attempt = _Supervised(task, devices, known.started, supervisor, life, begun=True)
        self._supervised[task] = attempt
        foreign = known.foreign is not None
        for device in devices:
            self._devices.occupy(device, task, supervisor.pid, share=share, others_came=foreign)
        self._selector.register(supervisor, selectors.EVENT_READ, attempt)
        return True

    def foresee(self, ahead: Ahead) -> None:
        self._ahead = ahead

    def heed(self, demand: Callable[[], Demand]) -> None:
        self._devices.fairness.demand = demand

    def offer_devices(self) -> None:
        self._post(self._devices.start)

    def start(self, request: StartRequest) -> None:
        task, devices = request.task, request.devices
        part = request.start.share is not None
        self._devices_of[task] = devices
        words = self._words_of(request.command)
        more_to_come = self._ahead.waiting() >= len(self.devices)
        parent = self._preload.parent_for(words, worth_it=more_to_come)
        prepared = None if part else self._standby.take(request, words, parent)
        try:
            seat = self._supervisors.on(
                devices, part=part, parent=parent, failed=self._preload.failed, prepared=prepared
            )
            overwrite(request.spec_file, json.dumps(request.spec).encode())
            make_way(request.attempts_file)
        except DeviceHeld as held:
            if prepared is not None:
                prepared.end()
            self._post(partial(self._held, task, held, part=part))
            return
        except OSError as error:
            self._post(partial(self._over, base.Failed(task, error)))
            return
        supervisor = seat.supervisor
        life = Life(request.log_file, partial(cpu_time, supervisor.pid))
        start = replace(
            request.start,
            cores=format_cpus(seat.cpus) or None,
            launch=None if seat.parent is None else STANDBY if supervisor is prepared else FORKED,
        )
        self._supervised[task] = _Supervised(task, devices, start, supervisor, life, begun=False)
        seat.idle_since = None
        for device in devices:
            self._devices.occupy(device, task, supervisor.pid, share=start.share)
        supervisor.order(wire.Run.of(replace(request, start=start), words))

    def stop(self, task: str) -> None:
        attempt = self._supervised.get(task)
        if attempt is not None:
            attempt.supervisor.stop()

    def last_sign_of_life(self, task: str) -> float:
        attempt, now = self._supervised.get(task), time.monotonic()
        if attempt is None:  # what is left of it is being ended
            return now
        return attempt.life.look(now, self._devices.last_active(attempt.devices))

    # --- what it tells -------------------------------------------------------------------------

    def fileno(self) -> int:
        return self._selector.fileno()

    def deadline(self) -> float | None:
        times = (self._supervisors.next_release(), self._preload.deadline())
        return min((at for at in times if at is not None), default=None)

    def events(self) -> Iterator[ExecutorEvent]:
        for key, _ in self._selector.select(0):
            match key.data:
                case Seat() as seat:
                    yield from self._hear(seat)
                case Standby():
                    self._standby.hear()
                case Preload():
                    self._preload.hear()
                case _Supervised() as attempt:
                    yield from self._adopted_ended(attempt)
                case _:
                    os.eventfd_read(self._wake)
        while not self._inbox.empty():
            yield from self._inbox.get()()
        self._standby.look(self._ahead, self._preload.ready, self._memory_of_an_attempt)
        yield from self._preload.events()
        self._supervisors.release_idle()

    def close(self) -> None:
        self._devices.finish()
        self._standby.end()
        self._supervisors.release_all()
        self._preload.end()
        if self._supervisors.mps is not None:
            self._supervisors.mps.release()

    def _words_of(self, command: Sequence[str]) -> list[str]:
        return words_to_start(command, self._path) or list(command)

    def _memory_of_an_attempt(self) -> int | None:
        """Return how much main memory the next one takes, in bytes; None: none runs, or none has lasted."""
        if not self._supervised:
            return None
        lasting = [peak(a.worker) for a in self._supervised.values() if a.has_lasted]
        return max([self._taken or 0, *lasting]) or None

    def _cpus_left(self) -> list[int]:
        """Return all CPUs on which no attempt is, of any sweep; if there are none, one as below."""
        taken = self._cpus_in_use() | self._devices.cpus_of_others()
        return sorted(os.sched_getaffinity(0) - taken) or self._cpus_aside()

    def _cpus_aside(self) -> list[int]:
        """Return a CPU that no attempt is bound to, if there is one."""
        dealt_out = {cpu for device in self.devices for cpu in device.cpus}
        used = self._cpus_in_use()
        rank = {cpu: (cpu in used, cpu in dealt_out, -cpu) for cpu in os.sched_getaffinity(0)}
        return [min(rank, key=rank.__getitem__)]

    def _cpus_in_use(self) -> set[int]:
        """Return the CPUs that attempts run on; one that is bound to none runs on all."""
        cpus: set[int] = set()
        for attempt in self._supervised.values():
            cores = attempt.start.cores
            with suppress(ValueError):  # the file of one that was taken over was damaged
                cpus |= os.sched_getaffinity(0) if cores is None else parse_cpus(cores)
        return cpus

    def _post(self, tell: Callable[[], Iterator[ExecutorEvent]]) -> None:
        """Have something told by `events`; safe from any thread."""
        self._inbox.put(tell)
        os.eventfd_write(self._wake, 1)

    def _post_readings(self, readings: list[Reading]) -> None:
        self._post(partial(self._devices.judge, readings))

    def _hear(self, seat: Seat) -> Iterator[ExecutorEvent]:
        """Tell what a supervisor says, and see to what it leaves should it have been killed."""
        supervisor = seat.supervisor
        answers, alive = supervisor.receive()
        for answer in answers:
            attempt = self._attempt_of(supervisor)
            # Its worker had ended before it was to run: then it starts another.
            is_late = isinstance(answer, wire.Prepared)
            if attempt is not None and not is_late:
                yield from self._answered(attempt, answer)
        if not alive:
            self._supervisors.bury(seat)
            attempt = self._attempt_of(supervisor)
            if attempt is not None:
                del self._supervised[attempt.task]
                self._see_off(attempt.task, attempt.start)

    def _attempt_of(self, supervisor: SupervisorHandle) -> _Supervised | None:
        return next((a for a in self._supervised.values() if a.supervisor is supervisor), None)

    def _answered(self, attempt: _Supervised, answer: wire.Answer) -> Iterator[ExecutorEvent]:
        task = attempt.task
        if isinstance(answer, wire.WorkerStarted):
            attempt.begun, attempt.worker = True, answer.pid
            start = attempt.start
            yield base.Started(task, answer.at, answer.pid, start.cores, start.launch)
            return
        del self._supervised[task]
        assert isinstance(attempt.supervisor, SupervisorHandle)
        self._supervisors.rests(attempt.supervisor)
        match answer:
            case wire.WorkerEnded():
                yield from self._over(base.Ended(task, answer.end))
            case wire.RunRefused():
                yield from self._over(base.Refused(task, answer.reason))
            case wire.RunFailed() if attempt.begun:  # there was no room to record its end
                self._see_off(task, attempt.start)
            case wire.RunFailed():
                yield from self._over(base.Failed(task, answer.as_error()))

    def _adopted_ended(self, attempt: _Supervised) -> Iterator[ExecutorEvent]:
        self._selector.unregister(attempt.supervisor)
        attempt.supervisor.release()
        del self._supervised[attempt.task]
        end = self._end_on_file(attempt.task, attempt.start)
        if end is None:
            self._see_off(attempt.task, attempt.start)
        else:
            yield from self._over(base.Ended(attempt.task, end))

    def _see_off(self, task: str, start: StartLine | None) -> None:
        """Have the end of an attempt told, whose supervisor is gone, when nothing of it lives any more."""
        token = start.token if start is not None else None

        def wait() -> None:
            end_orphans(self._paths.attempts(task), token)
            end = self._end_on_file(task, start)
            event = base.Lost(task) if end is None else base.Ended(task, end)
            self._post(partial(self._over, event))

        threading.Thread(target=wait, name=f"end of {task}", daemon=True).start()

    def _end_on_file(self, task: str, start: StartLine | None) -> EndLine | None:
        """Return the end of an attempt, if its supervisor has recorded one; without ``start``, the last's."""
        attempts = read_attempts(self._paths.attempts(task))
        record = latest(attempts, start.attempt if start is not None else None)
        return record.ended if record is not None and record.verdict is None else None

    def _held(self, task: str, held: DeviceHeld, *, part: bool) -> Iterator[ExecutorEvent]:
        del self._devices_of[task]
        yield from self._devices.refused(held, part=part)
        yield base.Refused(task, Refusal.DEVICE_HELD)

    def _over(
        self, event: base.Ended | base.Lost | base.Refused | base.Failed
    ) -> Iterator[ExecutorEvent]:
        """Tell a task's last event, then offer its devices, unless they are its next attempt's by now."""
        devices, task = self._devices_of.pop(event.task), event.task
        if isinstance(event, base.Ended):
            self._taken = max(self._taken or 0, event.end.peak_memory or 0) or None
            free = [self._devices.least_free(device) for device in devices]
            taken = [self._devices.most_taken(device, task) for device in devices]
            event = replace(
                event,
                least_free=min((f for f in free if f is not None), default=None),
                taken=max((t for t in taken if t is not None), default=None),
                crowded=any(map(self._devices.is_crowded, devices)),
            )
        yield event
        for device in devices:
            if not self._supervisors.has(device):
                self._devices.give_back(device)
            if device not in self._devices_of.get(task, ()):
                yield from self._devices.vacate(device, task)
