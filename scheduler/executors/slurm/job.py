"""What a job runs on its node: a guard, below it the supervisor, below that the worker.

A job is nobody's own: it takes the oldest order that it finds, and where it finds none it ends at once. So
does one that was requeued: what it had taken is over, and its dispatcher has asked for another job.

The guard is the batch script's own process. It claims an attempt's order, has the supervisor carry it out
just as on one machine, and holds the attempt's lease: every few seconds it writes into a file on the storage
that it shares with the dispatcher. Once that file is gone, or cannot be written for the time of the lease, it
ends the whole tree; the dispatcher waits for twice as long before it takes the attempt for lost. So a node
that is cut off has stopped before the task is started elsewhere.

What happens when one of them is killed stands in executors/cluster/guard.py. Slurm signals all processes of a
job at once, so a worker may have died of the signal before the supervisor has seen it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scheduler.executors.cluster.files import JobFiles, orders
from scheduler.executors.cluster.guard import OneOrder, fork_supervisor, guard
from scheduler.executors.cluster.place import gpus_here, node_environment
from scheduler.executors.local.liveness import cpu_time
from scheduler.executors.slurm import commands
from scheduler.executors.slurm.commands import SlurmError
from scheduler.executors.worker_process import words_to_start

RENEW = 5.0  # seconds between two signs of life, at most
_TO_END = 5.0  # seconds in which what was killed is gone, and its end recorded
_LATE = 0.5  # seconds in which a signal to a whole job reaches all of it
_EARLY = 5.0  # seconds; so much before a job's end by its clock, its time may be over by Slurm's
_TO_SAY_WHY = 3.0  # seconds that Slurm has to say why a job is being ended
_GONE = (errno.ENOENT, errno.ESTALE)


class Lease(threading.Thread):
    """Renews the permission to go on; a thread, since writing to storage that is gone can block for good."""

    def __init__(
        self, files: JobFiles, seconds: float, who: Mapping[str, Any], grace: float
    ) -> None:
        super().__init__(name="lease", daemon=True)
        self._files = files
        self._seconds = seconds
        self._who = who
        # Who takes the permission back waits for the stop, which is to be recorded: no short lease ends it.
        self._to_stop = max(seconds, grace + _TO_END)
        self._over_at = time.monotonic() + seconds
        # The permission was taken back.
        self.revoked = False

    def renew(self) -> None:
        """Write a sign of life.

        Raises:
            OSError: it could not be written.
        """
        at = time.monotonic()
        self._files.write_sign({**self._who, "at": at, "cpu": cpu_time(os.getpid())})
        # Not from when it had been written: others may have seen it since.
        self._over_at = at + self._seconds

    def run(self) -> None:
        while not self.revoked:
            time.sleep(min(RENEW, self._seconds / 6))
            try:
                self.renew()
            except OSError as error:
                if error.errno in _GONE:
                    self._over_at = time.monotonic() + self._to_stop
                    self.revoked = True

    @property
    def is_over(self) -> bool:
        """Whether it was not renewed in time, or a stop has taken too long."""
        return time.monotonic() > self._over_at


class JobSupervisor(OneOrder):
    """Carries out one order that is known from the start, in a job whose processes are signalled at once."""

    def __init__(self, orders: bytes, job: str | None, time_up: float) -> None:
        """Begin.

        Args:
            orders: all that it will ever be told.
            job: Slurm's name of the job that it is in; None: it is in none.
            time_up: when the job's time is over, should Slurm not say why it is ended (monotonic).
        """
        super().__init__(orders)
        self._job, self._time_up = job, time_up

    def _watch(self, worker: int, grace: float) -> dict[str, Any]:
        ended = super()._watch(worker, grace)
        until = time.monotonic() + _LATE
        while ended["code"] != 0 and not self._stop_asked and time.monotonic() < until:
            self._wait(until - time.monotonic())
        ended["stopped"] = ended["stopped"] or self._stop_asked
        if ended["stopped"] and self._is_out_of_time():
            ended["out_of_time"] = True
        return ended

    def _is_out_of_time(self) -> bool:
        """Say whether the job is ended for its time limit, which an administrator may have changed.

        Asked only when all others are gone: what Slurm is asked by is a child like them.
        """
        if self._job is not None:
            with contextlib.suppress(SlurmError):
                return commands.reason_of(self._job, _TO_SAY_WHY) == commands.TIME_LIMIT
        return time.monotonic() >= self._time_up


def main() -> int:
    """Carry out the order of an attempt, if there is one; return the job's exit code."""
    begun = time.monotonic()
    of_node = dict(os.environ)
    taken = _take(Path(sys.argv[2]), of_node)
    if taken is None:
        return 0
    files, order = taken
    who = {"task": order["task"], "array": sys.argv[3], **_element(of_node)}
    lease = Lease(files, order["lease"], who, order["run"]["grace"])
    lease.renew()
    _redirect(str(files.answers), 1)
    told, job, time_up = _told(order, of_node), _name(of_node), begun + order["time"] - _EARLY
    if "SLURM_STEP_ID" in of_node:  # of a larger job, whose time is not this attempt's
        job, time_up = None, math.inf
    child = fork_supervisor(lambda: JobSupervisor(told, job, time_up))
    lease.start()
    guard(child, lease)
    return 0


def _take(folder: Path, of_node: Mapping[str, str]) -> tuple[JobFiles, dict[str, Any]] | None:
    """Take the oldest order that nobody else takes; return its files and what it says, if there is one.

    Standard error, the current folder and the environment are as it says, then: should one of them fail, it
    is left to others.
    """
    if int(of_node.get("SLURM_RESTART_COUNT", 0)):
        return None
    for files in orders(folder):
        if (order := files.read_order()) is None:
            continue
        # The driver is looked for as the worker will.
        os.environ |= {**order["environment"], **of_node}
        os.chdir(order["folder"])
        _redirect(order["stderr"], 2)
        if files.claim():
            return files, order
    return None


def _element(of_node: Mapping[str, str]) -> dict[str, int | None]:
    """Return which element of its array the job is, and its own number."""
    number = of_node.get("SLURM_JOB_ID")
    index = int(of_node.get("SLURM_ARRAY_TASK_ID", 0))
    return {"element": index, "job": None if number is None else int(number)}


def _name(of_node: Mapping[str, str]) -> str | None:
    """Return how Slurm's commands call the job: an array's last one has the number of all of it."""
    array, index = of_node.get("SLURM_ARRAY_JOB_ID"), of_node.get("SLURM_ARRAY_TASK_ID")
    return of_node.get("SLURM_JOB_ID") if array is None else f"{array}_{index}"


def _told(order: dict[str, Any], of_node: Mapping[str, str]) -> bytes:
    """Return what the supervisor is told, completed by what is only known on the node."""
    number = of_node.get("SLURM_JOB_ID", "")
    place = {
        "node": of_node.get("SLURMD_NODENAME"),
        "job": int(number) if number.isdecimal() else None,
        **gpus_here(of_node.get("CUDA_VISIBLE_DEVICES", "")),
    }
    environment = node_environment(order["environment"], of_node, place)
    run = order["run"]
    run["command"] = words_to_start(run["command"], environment.get("PATH")) or run["command"]
    run["start"]["place"] = place
    if place["gpus"]:
        run["start"]["device_name"] = place["gpus"][0]["name"]
    setup = {"type": "setup", "environment": environment, "cpus": []}
    return b"".join(json.dumps(line).encode() + b"\n" for line in (setup, run))


def _redirect(path: str, descriptor: int) -> None:
    opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    os.dup2(opened, descriptor)
    os.close(opened)
