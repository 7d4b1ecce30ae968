"""The right to a device, or to a part of one, between all dispatchers of a machine, whoever runs them.

NVML shows an attempt's memory only seconds after its start. Until then nothing but a lease keeps
two dispatchers from choosing the same GPU.

A lease is an flock on a file in a folder that everybody may write to. The kernel releases it when
the last process that holds the file open is gone, so nothing needs unlocking by hand; a process
that inherits the descriptor holds the lease too, after the death of its parent as well. The files
are never removed: who removes a locked file lets two hold "the same" lease. What empties /tmp may do
so, and the folder's owner; so a dispatcher takes the leases of the devices in its use anew, within a
second, where it finds that it can (`DevicePool`).

Attempts that share a device have a lease each on a part of it: a shared lock on the device's file, and an
exclusive one on a file of the part's number (``DEVICE.part-0``, …). So

* who wants a device alone is refused while anybody shares it, and who wants a part while somebody has it
  alone. Versions that know the exclusive lock only are refused, and refuse, in the same way;
* dispatchers that share, of one user or several, get parts beside each other's, but none a part of a higher
  number than it allows altogether;
* of two that want the same at the same moment, the kernel lets one have it. The device's file comes first, so
  nobody holds a part and waits for the rest;
* where files were removed, a part may be held twice, under an old file and a new one. That costs the count,
  not the exclusion: the device's own file decides who is alone, and is taken anew as above.

Others may put anything there. So links are not followed, only a regular file with a single name is
locked, a file's content is shown and never acted upon, and what we cannot open is somebody's. A
hostile user can keep a device from us, as by running something on it, but cannot do more.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
from contextlib import suppress
from pathlib import Path

from scheduler.devices.processes import user_name

# How files are opened that others may have put there.
UNTRUSTED = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_NOTE = re.compile(rb"lease pid=(\d{1,10}) uid=(\d{1,10})\n")
_ELSEWHERE = "set SCHEDULER_LEASES to a folder that all users of this machine share"


class LeaseHeld(Exception):  # noqa: N818  # it is no error: the device is simply somebody's
    """Somebody else has the device; the message is a phrase that says who, if that is known."""


class LeaseFolderError(Exception):
    """The folder of the leases cannot be used; the message says why and what to do."""


def default_folder() -> Path:
    """Return the folder that all dispatchers of this machine should share."""
    return Path(os.environ.get("SCHEDULER_LEASES") or "/tmp/gpu-leases")  # noqa: S108  # see above


def check_folder(folder: Path) -> str | None:
    """Make sure that leases can be kept in ``folder``, which is made if it is missing.

    Returns:
        what is to be said of it, if it belongs to another user than root: its owner can remove what is in
        it, whatever the sticky bit says.

    Raises:
        LeaseFolderError: it cannot be made, or others could meddle.
    """
    descriptor = open_folder(folder)
    try:
        owner = os.fstat(descriptor).st_uid
    finally:
        os.close(descriptor)
    if owner in (0, os.geteuid()):
        return None
    return (
        f"the leases' folder {folder} belongs to user {user_name(owner)}, who can remove them; let root "
        f"make it (mkdir -m 1777), or {_ELSEWHERE}"
    )


class Lease:
    """A device, or a part of one, that is ours until `release`, and its heirs' until they are gone."""

    def __init__(self, device_id: str, *descriptors: int, part: int | None = None) -> None:
        self.device_id = device_id
        # The number of the part; None: it is the whole.
        self.part = part
        self._descriptors = descriptors

    @classmethod
    def acquire(cls, folder: Path, device_id: str) -> Lease:
        """Take the lease of a device, without waiting.

        Raises:
            LeaseHeld: another dispatcher, or an attempt that outlived its dispatcher, has it; or
                its file cannot be locked. It may be free at the next try.
            LeaseFolderError: the folder is missing and cannot be made, or others could meddle.
        """
        directory = open_folder(folder)
        try:
            return cls(device_id, _take(directory, folder / _file_name(device_id), fcntl.LOCK_EX))
        finally:
            os.close(directory)

    @classmethod
    def acquire_part(cls, folder: Path, device_id: str, parts: int) -> Lease:
        """Take the lease of a part of a device, without waiting.

        Args:
            folder: where leases are kept.
            device_id: the device.
            parts: how many may be taken of it altogether.

        Raises:
            LeaseHeld: somebody has the device alone, or all parts are taken; else as in `acquire`.
            LeaseFolderError: as in `acquire`.
        """
        path = folder / _file_name(device_id)
        directory = open_folder(folder)
        try:
            whole = _take(directory, path, fcntl.LOCK_SH)
            try:
                number, part = _take_part(directory, path, parts)
                return cls(device_id, whole, part, part=number)
            except BaseException:
                os.close(whole)
                raise
        finally:
            os.close(directory)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What holds the lease, for a child process to inherit.

        Raises:
            ValueError: the lease was released.
        """
        if not self._descriptors:
            raise ValueError(f"the lease of {self.device_id} was released")
        return self._descriptors

    def let_share(self) -> None:
        """Hold the whole device no more than attempts that share it do.

        Raises:
            LeaseHeld: somebody took it alone in between, since the kernel gives up the one lock before it
                takes the other; this lease is released.
        """
        try:
            fcntl.flock(self.descriptors[0], fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(self.descriptors[0])
            self.release()
            raise LeaseHeld(holder) from None

    def release(self) -> None:
        """Give up our hold; a process that inherited the descriptors keeps its own."""
        for descriptor in self._descriptors:
            # Closed, not unlocked: unlocking would take it from those that inherited it, too.
            os.close(descriptor)
        self._descriptors = ()


def _file_name(device_id: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "_", device_id)


def _take(directory: int, path: Path, how: int) -> int:
    """Return a descriptor that holds the lock of a file, made if it is missing.

    Raises:
        LeaseHeld: it cannot be locked now.
        LeaseFolderError: it cannot be made.
    """
    for _ in range(100):
        descriptor = _open_file(directory, path)
        if descriptor is not None and _lock(directory, path, descriptor, how):
            return descriptor
    raise LeaseHeld(f"{path} is being replaced all the time")


def _take_part(directory: int, device: Path, parts: int) -> tuple[int, int]:
    """Return the number of the first part that is free, and a descriptor that holds its file's lock.

    Raises:
        LeaseHeld: none is.
        LeaseFolderError: a file cannot be made.
    """
    held: LeaseHeld | None = None
    for number in range(parts):
        try:
            file = device.with_name(f"{device.name}.part-{number}")
            return number, _take(directory, file, fcntl.LOCK_EX)
        except LeaseHeld as why:
            held = why
    raise LeaseHeld(f"all {parts} part(s) of it are taken, the last one {held}")


def open_folder(folder: Path) -> int:
    """Return a descriptor of the folder, made if it is missing.

    Raises:
        LeaseFolderError: it cannot be made, or others could meddle.
    """
    made = False
    try:
        with suppress(FileExistsError):
            os.mkdir(folder, 0o1777)
            made = True
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        why = "it is a link or no folder" if os.path.lexists(folder) else error.strerror
        raise LeaseFolderError(f"leases cannot be kept in {folder}: {why}; {_ELSEWHERE}") from error
    if made:
        os.fchmod(descriptor, 0o1777)  # for all users; mkdir heeds the umask
    status = os.fstat(descriptor)
    mode, sticky = status.st_mode, status.st_mode & stat.S_ISVTX
    if sticky or (status.st_uid in (0, os.geteuid()) and not mode & stat.S_IWOTH):
        return descriptor
    os.close(descriptor)
    raise LeaseFolderError(
        f"leases cannot be kept in {folder}: others could remove them; give it the sticky bit "
        f"(chmod 1777), or {_ELSEWHERE}"
    )


def _open_file(directory: int, path: Path) -> int | None:
    """Return a descriptor of a device's file, made if it is missing; None: made or gone just now.

    Raises:
        LeaseHeld: it is there but cannot be opened.
        LeaseFolderError: it cannot be made.
    """
    # Without O_CREAT at first: in a sticky folder the kernel may refuse that for a file of another
    # user (fs.protected_regular).
    with suppress(FileNotFoundError):
        return _open_existing(directory, path)
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | UNTRUSTED
        return os.open(path.name, flags, 0o666, dir_fd=directory)
    except FileExistsError:
        return None
    except OSError as error:
        raise LeaseFolderError(
            f"leases cannot be kept in {path.parent}: {error.strerror}; {_ELSEWHERE}"
        ) from error


def _open_existing(directory: int, path: Path) -> int:
    try:
        try:
            return os.open(path.name, os.O_RDWR | UNTRUSTED, dir_fd=directory)
        except PermissionError:  # of a user whose umask forbids it: reading is enough to lock
            return os.open(path.name, os.O_RDONLY | UNTRUSTED, dir_fd=directory)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise LeaseHeld(_unlockable(directory, path, error.strerror)) from error


def _lock(directory: int, path: Path, descriptor: int, how: int) -> bool:
    """Lock the file; False, with the descriptor closed, if its name is another file's by now."""
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            raise LeaseHeld(_unlockable(directory, path, "not a regular file of a single name"))
        if status.st_uid == os.geteuid() and status.st_mode & 0o666 != 0o666:
            os.fchmod(descriptor, 0o666)  # ours, and maybe just made: open heeds the umask
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LeaseHeld(_holder(descriptor)) from None
        with suppress(FileNotFoundError):
            named = os.stat(path.name, dir_fd=directory, follow_symlinks=False)
            if os.path.samestat(named, status):
                if how == fcntl.LOCK_EX:
                    _write_note(descriptor)
                return True
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return False


def _write_note(descriptor: int) -> None:
    """Say who has the lease, for others to read; a disk that is full does not matter."""
    with suppress(OSError):
        # Nothing but a note is ever overwritten, whatever file somebody may have moved here.
        if os.pread(descriptor, 6, 0) in (b"", b"lease "):
            note = f"lease pid={os.getpid()} uid={os.geteuid()}\n".encode()
            os.pwrite(descriptor, note, 0)
            os.ftruncate(descriptor, len(note))


def _holder(descriptor: int) -> str:
    """Return who says to have the lease: anybody may have written it."""
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return "leased in parts, by attempts that share it"
    note = None
    with suppress(OSError):
        note = _NOTE.fullmatch(os.pread(descriptor, 64, 0))
    if note is None:
        return "leased by another dispatcher"
    pid, user = int(note[1]), user_name(int(note[2]))
    if os.path.exists(f"/proc/{pid}"):
        return f"leased by another dispatcher (process {pid}, user {user})"
    return f"leased by an attempt whose dispatcher is gone or not visible here (user {user})"


def _unlockable(directory: int, path: Path, why: str | None) -> str:
    owner = "somebody"
    with suppress(OSError):
        status = os.stat(path.name, dir_fd=directory, follow_symlinks=False)
        owner = f"user {user_name(status.st_uid)}"
    return f"leased by {owner}, whose {path} cannot be locked: {why}"
