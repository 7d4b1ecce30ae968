"""The executor of a Ray cluster: each attempt is a detached actor of its own, on a node without our files."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from scheduler.config.cluster.settings import RaySettings
from scheduler.config.sweep import Sweep
from scheduler.core.events import DeviceBusy, Queued
from scheduler.core.journal_events import DeviceState
from scheduler.devices.model import Device
from scheduler.executors import base
from scheduler.executors.base import ExecutorEvent, Refusal, StartRequest
from scheduler.executors.cluster.files import JobFiles, left_behind
from scheduler.executors.cluster.slots import (
    FIRST_PAUSE,
    SlotExecutor,
    does_for,
    environment_of_workers,
    require_folders,
)
from scheduler.executors.code_copy import CodeCopy
from scheduler.executors.local import wire
from scheduler.executors.local.liveness import Life
from scheduler.executors.ray.link import Link
from scheduler.storage.attempts_file import AttemptRecord, EndLine, StartLine
from scheduler.storage.paths import SweepPaths
from scheduler.storage.regular_files import make_way


@dataclass(slots=True)
class Job:
    """An attempt as a Ray actor."""

    order: dict[str, Any]
    # Another dispatcher began it.
    adopted: bool = False
    # What a dispatcher that died had left of the task.
    before: dict[str, Any] | None = None
    # It has told that it runs.
    begun: bool = False
    stopping: bool = False
    # Seconds of CPU time, as it last told.
    cpu: float = 0.0


class RayExecutor(SlotExecutor):
    """Has attempts run as Ray's actors, as many as there are slots; Ray decides when, and where."""

    engine = "Ray"

    def __init__(
        self,
        sweep: Sweep,
        paths: SweepPaths,
        settings: RaySettings,
        found: tuple[Sequence[Device], str],
        environment: Mapping[str, str],
        copy: CodeCopy | None = None,
    ) -> None:
        """Begin without attempts.

        Args:
            sweep: for its name, and the environment that it gives workers.
            paths: of its files.
            settings: what attempts ask for.
            found: the slots, and how they were found.
            environment: what workers inherit.
            copy: the copy of the code that they run from; None: from the current folder. Nodes must see
                either under the same name.
        """
        super().__init__(found)
        self._paths = paths
        self._settings = settings
        self._sweep = sweep.name
        self._environment, self._folder = environment_of_workers(
            sweep, environment, ("RAY_",), settings.cpus, copy
        )
        self._jobs: dict[str, Job] = {}
        self._lives: dict[str, Life] = {}
        # Of dispatchers that died, by task: attempts that wait for Ray, or run.
        self._left = {
            order["task"]: order
            for _, order in left_behind(paths.jobs)
            if isinstance(order.get("task"), str)
        }
        self._is_up = True  # until it is told otherwise: orders wait in the driver's input
        self._link = Link(settings.address, paths.ray_log, self._heard)
        self._link.start()

    @property
    def scratch(self) -> Path | None:
        return Path(self._settings.scratch)

    # --- what the dispatcher asks for ----------------------------------------------------------

    def adopt(self, task: str, devices: tuple[str, ...], known: AttemptRecord | None) -> bool:
        self._devices_of[task] = devices
        left = self._left.pop(task, None)
        if known is not None and known.ended is not None:
            self._post(partial(self._over, base.Ended(task, known.ended)))
            return False
        started = known.started if known is not None else None
        if left is None or (started is not None and left["token"] != started.token):
            token = started.token if started is not None and started.token else "unknown"
            left = self._about(task, started.attempt if started is not None else 0, token)
        self._watch(task, Job(left, adopted=True))
        return known is not None

    def start(self, request: StartRequest) -> None:
        task = request.task
        self._devices_of[task] = request.devices
        left = self._left.pop(task, None)
        if left is not None and "run" in left:
            begun = StartLine.parse(left["run"]["start"])
            if begun is not None and does_for(begun, request):
                self._watch(task, Job(left))
                self._post(partial(iter, [Queued(task)]))
                return
        if not self._is_up:
            self._post(partial(self._not_taken, task, "it does not answer"))
            return
        job = Job(self._order(request), before=left)
        try:
            make_way(request.attempts_file)
            require_folders(request)
            JobFiles(self._paths.jobs, job.order["token"]).write_order(job.order)
        except OSError as error:
            self._post(partial(self._over, base.Failed(task, error)))
            return
        self._take_in(task, job)
        self._link.send(do="run", order=job.order, before=left)

    def stop(self, task: str) -> None:
        if (job := self._jobs.get(task)) is not None:
            job.stopping = True
            self._link.send(do="stop", token=job.order["token"])

    def last_sign_of_life(self, task: str) -> float:
        life, now = self._lives.get(task), time.monotonic()
        return now if life is None or not self._is_up else life.look(now, None)

    def close(self) -> None:
        self._link.finish()

    def _watch(self, task: str, job: Job) -> None:
        self._take_in(task, job)
        self._link.send(do="watch", order=job.order)

    def _take_in(self, task: str, job: Job) -> None:
        self._jobs[task] = job
        self._lives[task] = Life(self._paths.log(task), lambda: job.cpu)

    def _about(self, task: str, attempt: int, token: str) -> dict[str, Any]:
        """Return what an order says of any attempt, though nothing else were known of it."""
        home = {
            "attempts": self._paths.attempts(task),
            "log": self._paths.log(task),
            "results": self._paths.results(task),
            "done": self._paths.done(task),
            "owner": self._paths.jobs / f"{token}.driver",
        }
        return {
            "sweep": self._sweep,
            "task": task,
            "attempt": attempt,
            "token": token,
            "lease": self._settings.lease,
            "home": {name: str(path.absolute()) for name, path in home.items()},
            "scratch": f"{self._settings.scratch}/diffusion-sweeps-{token}",
            "results_name": self._paths.results(task).name,
        }

    def _order(self, request: StartRequest) -> dict[str, Any]:
        """Return what an actor is told."""
        on = next(slot for slot in self._slots if slot.id == request.devices[0])
        about = self._about(request.task, request.start.attempt, str(request.start.token))
        there = Path(about["scratch"])
        run = wire.Run.of(request, list(request.command))
        on_node = {
            "attempts_file": there / ".attempts",
            "log_file": there / ".log",
            "done_file": there / ".done",
        }
        return {
            **about,
            "gpus": self._settings.gpus,
            "cpus": self._settings.cpus,
            "memory": self._settings.memory,
            "folder": str(self._folder),
            "environment": self._environment([on]),
            "spec": dict(request.spec),
            "run": json.loads(run.as_line()),
            "on_node": {name: str(path) for name, path in on_node.items()} | {"attempts_size": 0},
        }

    # --- what its driver tells -----------------------------------------------------------------

    def _heard(self, message: dict[str, Any]) -> None:
        """Take a message; in the link's thread."""
        self._post(partial(self._told_by_driver, message))

    def _told_by_driver(self, message: dict[str, Any]) -> Iterator[ExecutorEvent]:
        match message["type"]:
            case "up":
                yield from self._up()
            case "down":
                yield from self._down(str(message["why"]))
            case _:
                token = message.get("token")
                for task, job in self._jobs.items():
                    if job.order["token"] == token:
                        yield from self._of_job(task, job, message)
                        return

    def _of_job(self, task: str, job: Job, message: dict[str, Any]) -> Iterator[ExecutorEvent]:
        match message:
            case {"type": "queued"}:
                if job.before is not None:  # it never begins
                    JobFiles(self._paths.jobs, job.before["token"]).remove()
                yield from self._queued(Queued(task))
            case {"type": "waits", "why": why}:
                yield from self._show(task, str(why))
            case {"type": "cpu", "seconds": seconds}:
                job.cpu = float(seconds)
            case {"type": "answer", "answer": answer}:
                yield from self._answered(task, job, wire.parse(answer.encode()))
            case {"type": "ended", "end": end}:
                yield from self._over(base.Ended(task, EndLine.parse(end) or EndLine()))
            case {"type": "refused", "reason": reason} if not job.adopted:
                if job.before is not None:
                    self._left[task] = job.before
                yield from self._over(base.Refused(task, Refusal(reason)))
            case {"type": "failed", "errno": int(number)} if not (job.begun or job.adopted):
                error = OSError(number, message.get("error"), message.get("file"))
                yield from self._over(base.Failed(task, error))
            case _:
                yield from self._over(base.Lost(task))

    def _answered(self, task: str, job: Job, answer: wire.Answer) -> Iterator[ExecutorEvent]:
        match answer:
            case wire.WorkerStarted():
                if not (job.begun or job.adopted):
                    job.begun = True
                    yield from self._runs(base.Started(task, answer.at))
            case wire.WorkerEnded():
                yield from self._over(base.Ended(task, answer.end))
            case _:  # there was no room on the node to record its end
                yield from self._over(base.Lost(task))

    def _up(self) -> Iterator[ExecutorEvent]:
        if not self._is_up:
            self._is_up = True
            for job in self._jobs.values():
                self._link.send(do="watch", order=job.order)
                if job.stopping:
                    self._link.send(do="stop", token=job.order["token"])
        self._pause, self._ask_again = 0.0, None
        yield from self._offer_all()

    def _down(self, why: str) -> Iterator[ExecutorEvent]:
        """Ray is away: what runs goes on, or ends by its lease; nothing is started until it is back."""
        self._is_up = False
        self._pause = FIRST_PAUSE
        for slot in (slot.id for slot in self._slots):
            self._told.add(slot)
            yield DeviceState(slot, False, f"Ray does not answer: {why}")
        yield from (DeviceBusy(slot) for slot in self._free())

    def _forget(self, task: str) -> tuple[str, ...]:
        job = self._jobs.pop(task, None)
        self._lives.pop(task, None)
        if job is not None:
            JobFiles(self._paths.jobs, job.order["token"]).remove()
        return super()._forget(task)
