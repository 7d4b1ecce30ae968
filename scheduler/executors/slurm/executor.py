"""The executor of a cluster that Slurm shares out: attempts are taken by the jobs of its arrays."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from scheduler.config.cluster.settings import SlurmSettings
from scheduler.config.sweep import Sweep
from scheduler.core.events import Queued
from scheduler.devices.model import Device
from scheduler.executors import base
from scheduler.executors.base import Refusal, StartRequest
from scheduler.executors.cluster.files import JobFiles, left_behind
from scheduler.executors.cluster.slots import (
    SlotExecutor,
    does_for,
    environment_of_workers,
    require_folders,
)
from scheduler.executors.code_copy import CodeCopy
from scheduler.executors.local import wire
from scheduler.executors.local.liveness import Life
from scheduler.executors.slurm import commands, node_check
from scheduler.executors.slurm.commands import Submitter
from scheduler.executors.slurm.engine import Engine
from scheduler.executors.slurm.jobs import Job
from scheduler.storage.attempts_file import AttemptRecord, StartLine
from scheduler.storage.paths import SweepPaths
from scheduler.storage.regular_files import make_way, overwrite

_TO_GIVE_BACK = 3.0  # seconds; for the jobs in the queue that find nothing to do any more
_PACKAGE = Path(__file__).resolve().parents[3]
# Neither the current folder nor a PYTHONPATH counts, should they have a module of that name.
_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from scheduler.executors.slurm.node_check import is_fit\n"
    "if is_fit(): from scheduler.executors.slurm.job import main; sys.exit(main())"
)


class SlurmExecutor(SlotExecutor):
    """Has attempts run as Slurm's jobs, as many as there are slots; Slurm decides when, and where."""

    engine = "Slurm"

    def __init__(
        self,
        sweep: Sweep,
        paths: SweepPaths,
        settings: SlurmSettings,
        found: tuple[Sequence[Device], str],
        environment: Mapping[str, str],
        copy: CodeCopy | None = None,
        slurm: Submitter = commands,
    ) -> None:
        """Begin without attempts.

        Args:
            sweep: for its name, and the environment that it gives workers.
            paths: of its files; nodes must see them under the same names.
            settings: what jobs ask for.
            found: the slots, and how they were found.
            environment: what workers inherit.
            copy: the copy of the code that they run from; None: from the current folder.
            slurm: takes the jobs.
        """
        super().__init__(found)
        self._paths = paths
        self._settings = settings
        self._environment, self._folder = environment_of_workers(
            sweep, environment, ("SLURM_", "SBATCH_"), settings.cpus, copy
        )
        self._jobs: dict[str, Job] = {}
        self._lives: dict[str, Life] = {}
        # Of dispatchers that died, by task: attempts in Slurm's queue, or running.
        self._left = {
            content["task"]: (files, content)
            for files, content in left_behind(paths.jobs)
            if isinstance(content.get("task"), str)
        }
        with contextlib.suppress(OSError):  # no job fares worse for it than without
            node_check.want(paths.jobs)
        words = [sys.executable, "-I", "-c", _PROGRAM, str(_PACKAGE), str(paths.jobs.absolute())]
        happened = self._happened, self._waits
        self._engine = Engine(settings, paths, sweep.name, words, *happened, slurm)
        self._engine.start()

    # --- what the dispatcher asks for ----------------------------------------------------------

    def adopt(self, task: str, devices: tuple[str, ...], known: AttemptRecord | None) -> bool:
        self._devices_of[task] = devices
        left = self._left.pop(task, None)
        if known is not None and known.started.token is not None:
            files = JobFiles(self._paths.jobs, known.started.token)
        else:
            files = left[0] if left is not None else JobFiles(self._paths.jobs, "unknown")
        if known is not None and known.ended is not None:
            files.remove()
            self._post(partial(self._over, base.Ended(task, known.ended)))
            return False
        self._watch(Job(task, known.started if known is not None else None, files, adopted=True))
        return known is not None

    def start(self, request: StartRequest) -> None:
        task = request.task
        self._devices_of[task] = request.devices
        left = self._left.pop(task, None)
        if left is not None and self._take_left(request, *left):
            return
        files = JobFiles.newest(self._paths.jobs, str(request.start.token))
        job = Job(task, request.start, files)
        try:
            overwrite(request.spec_file, json.dumps(request.spec).encode())
            make_way(request.attempts_file)
            require_folders(request)
            files.write_order(self._order(request))
        except OSError as error:
            self._post(partial(self._over, base.Failed(task, error)))
            return
        self._jobs[task], self._lives[task] = job, Life(request.log_file, files.cpu_time)
        self._engine.submit(job)

    def stop(self, task: str) -> None:
        if (job := self._jobs.get(task)) is not None:
            self._engine.cancel(job)

    def last_sign_of_life(self, task: str) -> float:
        life, now = self._lives.get(task), time.monotonic()
        return now if life is None else life.look(now, None)

    def _take_left(self, request: StartRequest, files: JobFiles, order: dict[str, Any]) -> bool:
        """See to what a dispatcher that died has left of a task; say whether that is its attempt now."""
        task = request.task
        begun = StartLine.parse(order["run"]["start"]) if "run" in order else None
        if begun is not None and does_for(begun, request) and files.order.exists():
            job = Job(task, begun, files)
            self._watch(job)
            self._post(partial(iter, [Queued(task)]))
            return True
        if files.withdraw() or not files.running.exists():
            return False
        self._left[task] = (files, order)
        self._post(partial(self._over, base.Refused(task, Refusal.RUNNING)))
        return True

    def _watch(self, job: Job) -> None:
        self._jobs[job.task] = job
        self._lives[job.task] = Life(self._paths.log(job.task), job.files.cpu_time)
        self._engine.watch(job)

    def _order(self, request: StartRequest) -> dict[str, Any]:
        """Return what a job is told."""
        on = next(slot for slot in self._slots if slot.id == request.devices[0])
        # It runs in another folder.
        named = {
            name: getattr(request, name).absolute()
            for name in ("attempts_file", "done_file", "log_file")
        }
        run = wire.Run.of(replace(request, **named), list(request.command))
        return {
            "task": request.task,
            "folder": str(self._folder),
            "stderr": str(self._paths.supervisors.absolute()),
            "lease": self._settings.lease,
            "time": self._settings.time,
            "environment": self._environment([on]),
            "run": json.loads(run.as_line()),
        }

    def close(self) -> None:
        self._engine.finish()
        self._engine.join(_TO_GIVE_BACK)
        if not self._jobs:
            node_check.forget(self._paths.jobs)

    def _waits(self, job: Job, why: str) -> None:
        self._post(partial(self._show, job.task, why))

    def _forget(self, task: str) -> tuple[str, ...]:
        self._jobs.pop(task, None)
        self._lives.pop(task, None)
        return super()._forget(task)
