"""Dispatchers of several users that take leases."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scheduler.devices.lease import Lease, LeaseFolderError, LeaseHeld

GPU = "GPU-bf428e1d-f221-55de-a77f-a61755a4d727"
OTHER_USER = 54321
forking = multiprocessing.get_context("fork")


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that every user can reach; pytest's own are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="leases-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def folder(shared: Path) -> Path:
    """The folder of the leases, open to every user."""
    leases = shared / "leases"
    leases.mkdir()
    leases.chmod(0o1777)
    return leases


class Dispatcher:
    """A process that takes leases when told to."""

    def __init__(self, uid: int | None = None) -> None:
        self.pipe, end = forking.Pipe()
        self.process = forking.Process(target=self._serve, args=(end, uid), daemon=True)
        self.process.start()
        end.close()

    @staticmethod
    def _serve(pipe, uid: int | None) -> None:
        if uid is not None:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
        leases: list[Lease] = []
        while True:
            try:
                function, arguments = pipe.recv()
            except EOFError:
                return
            try:
                result = function(*arguments)
            except (LeaseHeld, LeaseFolderError, OSError) as error:
                pipe.send(error)
                continue
            if isinstance(result, Lease):
                leases.append(result)
                result = None
            pipe.send(result)

    def do(self, function: Callable[..., object], *arguments: object) -> object:
        """Let the process call a function; raises what that raised."""
        self.pipe.send((function, arguments))
        result = self.pipe.recv()
        if isinstance(result, Exception):
            raise result
        return result

    def acquire(self, folder: Path, device: str = GPU) -> None:
        self.do(Lease.acquire, folder, device)

    def share(self, folder: Path, parts: int, device: str = GPU) -> None:
        self.do(Lease.acquire_part, folder, device, parts)

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


@pytest.fixture
def start() -> Iterator[Callable[..., Dispatcher]]:
    started: list[Dispatcher] = []

    def start(uid: int | None = None) -> Dispatcher:
        started.append(Dispatcher(uid))
        return started[-1]

    yield start
    for dispatcher in started:
        dispatcher.kill()


@pytest.fixture
def other(start: Callable[..., Dispatcher]) -> Dispatcher:
    """A dispatcher of another user where we can be one, else of ours."""
    return start(OTHER_USER if os.geteuid() == 0 else None)
