"""Leases between real processes, of several users where the tests run as root."""

from __future__ import annotations

import fcntl
import gc
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scheduler.devices.lease import (
    Lease,
    LeaseFolderError,
    LeaseHeld,
    check_folder,
    default_folder,
)
from scheduler.devices.processes import user_name
from tests.scheduler.devices.conftest import GPU, OTHER_USER, Dispatcher

ME = user_name(os.geteuid())
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")


def refusal(folder: Path, device: str = GPU) -> str:
    with pytest.raises(LeaseHeld) as error:
        Lease.acquire(folder, device)
    return str(error.value)


class TestBetweenProcesses:
    def test_one_has_it_at_a_time(self, folder: Path, other: Dispatcher) -> None:
        lease = Lease.acquire(folder, GPU)
        with pytest.raises(LeaseHeld) as error:
            other.acquire(folder)
        assert str(error.value) == (
            f"leased by another dispatcher (process {os.getpid()}, user {ME})"
        )
        lease.release()
        other.acquire(folder)
        assert f"process {other.process.pid}, user " in refusal(folder)

    def test_devices_apart(self, folder: Path, other: Dispatcher) -> None:
        lease = Lease.acquire(folder, GPU)
        other.acquire(folder, "MIG-55652f8d-86c9-5b9e-ae0b-18d39a22f309")
        other.acquire(folder, "MIG-GPU-55652f8d/1/0")  # as old drivers name instances
        lease.release()

    def test_death_releases_it(self, folder: Path, other: Dispatcher) -> None:
        other.acquire(folder)
        refusal(folder)
        other.kill()
        Lease.acquire(folder, GPU).release()

    def test_not_even_we_ourselves_get_it_twice(self, folder: Path) -> None:
        lease = Lease.acquire(folder, GPU)
        refusal(folder)
        lease.release()
        lease.release()
        with pytest.raises(ValueError, match="was released"):
            _ = lease.descriptors
        Lease.acquire(folder, GPU).release()

    @pytest.mark.parametrize("end", ["release", "die"])
    def test_an_heir_keeps_it(
        self, folder: Path, start: Callable[..., Dispatcher], end: str
    ) -> None:
        heir = None
        reader, writer = os.pipe()
        if end == "release":
            lease = Lease.acquire(folder, GPU)
            heir = subprocess.Popen(
                ["sh", "-c", "read forever"], stdin=reader, pass_fds=lease.descriptors
            )
            lease.release()
        else:
            dispatcher = start()
            dispatcher.do(acquire_and_start_heir, folder, reader_path(reader))
            dispatcher.kill()
            assert refusal(folder) == (
                f"leased by an attempt whose dispatcher is gone or not visible here (user {ME})"
            )
        os.close(reader)
        refusal(folder)
        os.close(writer)  # ends the heir
        if heir is not None:
            heir.wait()
        while True:  # a grandchild's end can only be seen by what it leaves
            try:
                Lease.acquire(folder, GPU).release()
                break
            except LeaseHeld:
                continue

    def test_no_other_child_inherits_it(self, folder: Path) -> None:
        lease = Lease.acquire(folder, GPU)
        command = [sys.executable, "-c", "print(flush=True); input()"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, **pipes, close_fds=False) as child:
            child.stdout.readline()  # its exec, which closes what it does not inherit, may come late
            lease.release()
            Lease.acquire(folder, GPU).release()
            child.kill()

    def test_of_many_that_race_for_it_one_wins(
        self, folder: Path, start: Callable[..., Dispatcher]
    ) -> None:
        racers = [start(OTHER_USER + i if os.geteuid() == 0 else None) for i in range(8)]
        for round_ in range(20):
            for racer in racers:
                racer.pipe.send((Lease.acquire, (folder, f"GPU-{round_}")))
            results = [racer.pipe.recv() for racer in racers]
            assert sum(result is None for result in results) == 1
            assert sum(isinstance(result, LeaseHeld) for result in results) == 7

    def test_no_descriptor_is_left_open(self, folder: Path) -> None:
        before = descriptors()
        lease = Lease.acquire(folder, GPU)
        refusal(folder)
        with pytest.raises(LeaseFolderError):
            Lease.acquire(folder / GPU, GPU)
        lease.release()
        assert descriptors() == before

    def test_a_file_replaced_before_it_is_locked_is_left(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lock = fcntl.flock

        def replace_then_lock(descriptor: int, operation: int) -> None:
            monkeypatch.setattr(fcntl, "flock", lock)
            (folder / GPU).unlink()
            (folder / GPU).touch()
            lock(descriptor, operation)

        monkeypatch.setattr(fcntl, "flock", replace_then_lock)
        before = descriptors()
        lease = Lease.acquire(folder, GPU)
        assert os.path.samestat(os.fstat(lease.descriptors[0]), (folder / GPU).stat())
        lease.release()
        assert descriptors() == before


def descriptors() -> list[str]:
    """Return this process's open descriptors, without those that earlier tests left to be collected."""
    gc.collect()
    return os.listdir("/proc/self/fd")


def reader_path(descriptor: int) -> str:
    return f"/proc/{os.getpid()}/fd/{descriptor}"


def acquire_and_start_heir(folder: Path, waits_for: str) -> None:
    lease = Lease.acquire(folder, GPU)
    with open(waits_for) as stdin:
        subprocess.Popen(["sh", "-c", "read forever"], stdin=stdin, pass_fds=lease.descriptors)


class TestFolder:
    def test_is_made_for_all_users_whatever_the_umask(self, shared: Path) -> None:
        before = os.umask(0o077)
        try:
            Lease.acquire(shared / "new", GPU).release()
        finally:
            os.umask(before)
        assert stat.S_IMODE((shared / "new").stat().st_mode) == 0o1777
        assert stat.S_IMODE((shared / "new" / GPU).stat().st_mode) == 0o666

    def test_ours_alone(self, shared: Path) -> None:
        shared.chmod(0o700)
        Lease.acquire(shared, GPU).release()

    def test_is_refused_if_others_can_remove_files(self, shared: Path) -> None:
        shared.chmod(0o777)
        with pytest.raises(LeaseFolderError, match=r"others could remove them; .*chmod 1777"):
            Lease.acquire(shared, GPU)

    @as_root
    def test_is_refused_if_it_is_another_users(self, shared: Path, other: Dispatcher) -> None:
        os.chown(shared, OTHER_USER + 1, OTHER_USER + 1)
        with pytest.raises(LeaseFolderError, match="others could remove them"):
            other.acquire(shared)
        shared.chmod(0o1777)
        other.acquire(shared)

    def test_is_refused_if_it_is_a_link(self, shared: Path, folder: Path) -> None:
        (shared / "link").symlink_to(folder)
        with pytest.raises(LeaseFolderError, match="it is a link or no folder; set SCHEDULER_LEAS"):
            Lease.acquire(shared / "link", GPU)

    def test_is_refused_if_it_is_a_file(self, shared: Path) -> None:
        (shared / "file").touch()
        with pytest.raises(LeaseFolderError, match="it is a link or no folder"):
            Lease.acquire(shared / "file", GPU)

    def test_cannot_be_made(self, shared: Path) -> None:
        with pytest.raises(LeaseFolderError, match="No such file or directory; set SCHEDULER"):
            Lease.acquire(shared / "missing" / "new", GPU)

    @as_root
    def test_cannot_be_written(self, shared: Path, other: Dispatcher) -> None:
        with pytest.raises(LeaseFolderError, match="Permission denied; set SCHEDULER_LEASES"):
            other.acquire(shared)

    def test_is_a_setting(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SCHEDULER_LEASES", "/srv/leases")
        assert default_folder() == Path("/srv/leases")
        monkeypatch.setenv("SCHEDULER_LEASES", "")
        assert default_folder() == Path("/tmp/gpu-leases")


def put_link(path: Path, target: Path) -> None:
    path.symlink_to(target)


def put_dangling_link(path: Path, target: Path) -> None:
    path.symlink_to(target.with_name("not there"))


def put_hard_link(path: Path, target: Path) -> None:
    path.with_name("mine").touch()
    os.link(path.with_name("mine"), path)


def put_pipe(path: Path, target: Path) -> None:
    os.mkfifo(path, 0o666)


def put_folder(path: Path, target: Path) -> None:
    path.mkdir()


def put_socket(path: Path, target: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


class TestHostileUsers:
    """What another user may leave where our lease's file should be."""

    @pytest.mark.parametrize(
        ("put", "why"),
        [
            (put_link, "Too many levels of symbolic links"),
            (put_dangling_link, "Too many levels of symbolic links"),
            (put_hard_link, "not a regular file of a single name"),
            (put_pipe, "not a regular file of a single name"),
            (put_folder, "Is a directory"),
            (put_socket, "No such device or address"),
        ],
    )
    def test_what_is_no_file_counts_as_leased(
        self,
        folder: Path,
        shared: Path,
        other: Dispatcher,
        put: Callable[[Path, Path], None],
        why: str,
    ) -> None:
        target = shared / "target"
        target.write_text("precious")
        other.do(put, folder / GPU, target)
        owner = user_name((folder / GPU).lstat().st_uid)
        assert refusal(folder) == (
            f"leased by user {owner}, whose {folder / GPU} cannot be locked: {why}"
        )
        assert target.read_text() == "precious"
        assert sorted(os.listdir(shared)) == ["leases", "target"]

    @as_root
    def test_a_closed_file_counts_as_leased(
        self, folder: Path, other: Dispatcher, start: Callable[..., Dispatcher]
    ) -> None:
        other.do(os.close, other.do(os.open, folder / GPU, os.O_CREAT, 0))
        another = start(OTHER_USER + 1)
        with pytest.raises(LeaseHeld, match=f"leased by user {OTHER_USER}, .*Permission denied"):
            another.acquire(folder)

    @as_root
    @pytest.mark.parametrize("mode", [0o644, 0o666])
    def test_a_file_that_another_made_is_a_lease_like_any(
        self, folder: Path, other: Dispatcher, start: Callable[..., Dispatcher], mode: int
    ) -> None:
        other.do(os.close, other.do(os.open, folder / GPU, os.O_CREAT, mode))
        other.do(os.chmod, folder / GPU, mode)
        another = start(OTHER_USER + 1)
        another.acquire(folder)
        with pytest.raises(LeaseHeld, match="leased by another dispatcher"):
            other.acquire(folder)
        another.kill()
        other.acquire(folder)

    @as_root
    def test_nobody_can_remove_anothers_lease(
        self, folder: Path, other: Dispatcher, start: Callable[..., Dispatcher]
    ) -> None:
        start(OTHER_USER + 1).acquire(folder)
        with pytest.raises(PermissionError):
            other.do(os.unlink, folder / GPU)
        with pytest.raises(PermissionError):
            other.do(os.rename, folder / GPU, folder / "gone")

    def test_a_file_moved_here_is_not_overwritten(self, folder: Path, shared: Path) -> None:
        (shared / "target").write_text("precious")
        (shared / "target").rename(folder / GPU)
        lease = Lease.acquire(folder, GPU)
        assert refusal(folder) == "leased by another dispatcher"
        lease.release()
        assert (folder / GPU).read_text() == "precious"

    @pytest.mark.parametrize(
        ("note", "who"),
        [
            (b"", ""),
            (b"\x1b[2J\x00\xff", ""),
            (b"lease pid=\x1b[2J uid=0\n", ""),
            (b"lease pid=1 uid=0\nmore", ""),
            (b"lease pid=1 uid=9999999999\n", " (process 1, user 9999999999)"),
            (b"lease pid=1 uid=4294967295\n", " (process 1, user 4294967295)"),
            (b"x" * 2**20, ""),
        ],
    )
    def test_what_a_file_says_is_not_believed(
        self, folder: Path, other: Dispatcher, note: bytes, who: str
    ) -> None:
        other.acquire(folder)
        (folder / GPU).write_bytes(note)
        assert refusal(folder) == f"leased by another dispatcher{who}"

    def test_a_file_removed_while_it_is_locked_is_not_mistaken_for_the_lease(
        self, folder: Path
    ) -> None:
        lease = Lease.acquire(folder, GPU)
        (folder / GPU).unlink()
        Lease.acquire(folder, GPU).release()
        assert (folder / GPU).exists()
        lease.release()


@as_root
def test_a_folder_of_another_user_is_used_and_spoken_of(tmp_path: Path) -> None:
    folder = tmp_path / "leases"
    assert check_folder(folder) is None
    os.chown(folder, OTHER_USER, OTHER_USER)
    said = check_folder(folder)
    assert said is not None
    assert said.startswith(
        f"the leases' folder {folder} belongs to user {user_name(OTHER_USER)}, who can"
    )
