"""Confine an untrusted program: limits, namespaces, the kill.

Run as a script of its own (``python -I -S jail.py CONFIG``), with the standard library alone, so
that it is up in milliseconds and holds nothing of the judge's. It starts the program, watches it,
and ends it together with everything it started. What it has to say goes over a descriptor that the
program never has.

CONFIG is the descriptor of a file with a JSON object: ``command``, ``environment``, ``folder`` (the
program's home, the only place that it may write, with the program in it), ``covered`` (folders of which it
may see nothing but what is ``kept``), ``hidden`` (files and folders that it may not see), ``seconds``,
``memory`` (bytes), ``disk`` (bytes of all files that it writes), ``processes``, ``file_size`` (bytes), and
the descriptors ``result`` (handed to the program), ``status`` (ours) and ``control`` (its end says that the
judge is gone); ``bubblewrap``, the path of bubblewrap or null. With it this script runs once more, inside, as
the first process there: CONFIG then has the key ``inside``, the descriptor on which that one reports.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import sys
import time
from typing import Any

sys.path.append(os.path.abspath(os.path.join(__file__, *[os.pardir] * 4)))
from worker.judging.sandbox import bubblewrap
from worker.judging.sandbox.system_calls import can_filter, filter_calls
from worker.judging.sandbox.usage import SHARED_MEMORY, descendants, memory_of

_LIBC = ctypes.CDLL(None, use_errno=True)
_NEW_MOUNTS, _NEW_IPC, _NEW_USER, _NEW_PIDS, _NEW_NETWORK = (
    0x00020000,
    0x08000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
_BIND, _MOVE, _RECURSIVE, _PRIVATE = 0x1000, 0x2000, 0x4000, 0x40000
_SYS_MOUNT_SETATTR = 442  # the same number on every architecture
_AT_RECURSIVE, _ATTR_READ_ONLY = 0x8000, 0x1
_SET_SUBREAPER, _SET_DEATH_SIGNAL, _SET_DUMPABLE = 36, 1, 4
_NO_NEW_PRIVILEGES, _DROP_BOUNDING = 38, 24
_LAST_CAPABILITY = 63
_DEVICES = frozenset({"null", "zero", "full", "random", "urandom"})
_INSIDE_ID = 1000  # not root in its own namespace: an execve leaves the program no capability
_POLL_SECONDS = 0.05
_DETACH = 2
_MAX_FILES = 100_000  # that it may write: each costs the kernel memory of its own
# A judge that is told to end by these closes ``control`` as it goes; that ends the program in order.
_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_BEGUN = b" "  # what the first process inside reports before the program's status
_ALL = dict.fromkeys(("network", "processes", "files", "rights"), True)
_THREADS = 32  # for each process: the kernel's own limits count threads


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("user_namespace", ctypes.c_uint64),
    )


def _succeeds(result: int) -> bool:
    return result == 0


def _enter_namespaces() -> dict[str, bool]:
    """Leave the network, the other processes and the mounts behind, as far as the system allows."""
    user, group = os.geteuid(), os.getegid()
    alone = True
    wanted = _NEW_NETWORK | _NEW_PIDS | _NEW_MOUNTS | _NEW_IPC
    for flags in (_NEW_USER | wanted, wanted, _NEW_USER | _NEW_NETWORK, _NEW_NETWORK):
        if not _succeeds(_LIBC.unshare(flags)):
            continue
        if flags & _NEW_USER:
            _write("/proc/self/setgroups", "deny")
            _write("/proc/self/uid_map", f"{_INSIDE_ID} {user} 1")
            _write("/proc/self/gid_map", f"{_INSIDE_ID} {group} 1")
            # In a user namespace of its own the program would have every capability again.
            alone = _write("/proc/sys/user/max_user_namespaces", "0")
        return {
            "network": bool(flags & _NEW_NETWORK),
            "processes": bool(flags & _NEW_PIDS),
            "files": bool(flags & _NEW_MOUNTS),
            "rights": alone,
        }
    return {"network": False, "processes": False, "files": False, "rights": alone}


def _write(path: str, text: str) -> bool:
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
    except OSError:
        return False
    return True


def _mount(source: str | None, target: str, kind: str | None, flags: int) -> bool:
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    return _succeeds(_LIBC.mount(*encoded, flags, None))


def _mount_memory(target: str, size: int) -> bool:
    """Mount an empty folder of at most ``size`` bytes, kept in memory."""
    options = f"size={size},nr_inodes={_MAX_FILES},mode=700".encode()
    return _succeeds(_LIBC.mount(b"none", os.fsencode(target), b"tmpfs", 0, options))


def _set_read_only(path: str, flags: int, *, read_only: bool) -> bool:
    attributes = _MountAttributes()
    if read_only:
        attributes.set = _ATTR_READ_ONLY
    else:
        attributes.clear = _ATTR_READ_ONLY
    size = ctypes.sizeof(attributes)
    at_here = -100
    return _succeeds(
        _LIBC.syscall(
            _SYS_MOUNT_SETATTR, at_here, os.fsencode(path), flags, ctypes.byref(attributes), size
        )
    )


def _seal_files(config: dict[str, Any]) -> bool:
    """Make everything read-only but the program's own folder; cover what it may not see."""
    folder, disk = config["folder"], config["disk"]
    if not _mount(None, "/", None, _RECURSIVE | _PRIVATE):
        return False
    own = _contents(folder)
    covered = [_cover_all_but(config["covered"], config["kept"])]
    # The others too where one cannot be.
    covered += [_cover(path) for path in config["hidden"]]
    return (
        _renew_folder(folder, own, disk)
        and _replace_devices(folder, disk)
        and _set_read_only("/", _AT_RECURSIVE, read_only=True)
        and _set_read_only(folder, 0, read_only=False)
        and _set_read_only(SHARED_MEMORY, 0, read_only=False)
        and all(covered)
    )


def _cover_all_but(folders: list[str], kept: list[str]) -> bool:
    """Put empty folders over these, and bind in them what is to be kept."""
    real = {os.path.realpath(folder) for folder in folders if os.path.isdir(folder)}
    # One that lies in another goes with it, unless it is a mount below what is kept.
    outer = [f for f in sorted(real) if not any(_is_below(f, other) for other in real - {f})]
    places = {path for path in kept if any(_is_below(path, folder) for folder in outer)}
    opened = {}
    for place in sorted(places):
        with contextlib.suppress(OSError):
            opened[place] = os.open(place, os.O_PATH)
    done = all(_mount_memory(folder, 2**20) for folder in outer)
    for place, descriptor in opened.items():
        done &= _bind_back(descriptor, place)
        os.close(descriptor)
    return done


def _is_below(path: str, folder: str) -> bool:
    return os.path.commonpath([path, folder]) == folder


def _bind_back(descriptor: int, place: str) -> bool:
    """Bind what was opened to its place in a covered folder, where it may be there already."""
    try:
        os.makedirs(os.path.dirname(place), exist_ok=True)
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            os.makedirs(place, exist_ok=True)
        elif not os.path.exists(place):
            os.close(os.open(place, os.O_WRONLY | os.O_CREAT))
    except OSError:  # it is below another that is kept, and there already
        return os.path.exists(place)
    return _mount(f"/proc/self/fd/{descriptor}", place, None, _BIND | _RECURSIVE)


def _cover(path: str) -> bool:
    if os.path.isdir(path):
        return _mount_memory(path, 2**20)
    return not os.path.exists(path) or _mount("/dev/null", path, None, _BIND)


def _contents(folder: str) -> dict[str, bytes]:
    contents = {}
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "rb") as file:
            contents[name] = file.read()
    return contents


def _renew_folder(folder: str, contents: dict[str, bytes], disk: int) -> bool:
    """Put the program into an empty folder that can hold so much and goes with its mount."""
    with contextlib.suppress(OSError):
        os.makedirs(folder, exist_ok=True)  # the one above may be covered
    if not _mount_memory(folder, disk):
        return False
    for name, content in contents.items():
        with open(os.path.join(folder, name), "wb") as file:
            file.write(content)
    return True


def _replace_devices(folder: str, disk: int) -> bool:
    """Leave of /dev only what does no harm, and GPUs.

    A disk's device may be written on a read-only mount by whoever owns it: by root, even without
    capabilities.
    """
    new = os.path.join(folder, ".dev")
    os.mkdir(new)
    if not _mount_memory(new, 2**20):
        return False
    for name in os.listdir("/dev"):
        source, target = f"/dev/{name}", f"{new}/{name}"
        if name not in _DEVICES and not name.startswith("nvidia"):
            continue
        if os.path.isdir(source):
            os.mkdir(target)
        else:
            with open(target, "w", encoding="ascii"):
                pass
        _mount(source, target, None, _BIND | _RECURSIVE)
    os.symlink("/proc/self/fd", f"{new}/fd")
    os.mkdir(f"{new}/shm")
    shared = _mount_memory(f"{new}/shm", disk)
    moved = shared and _mount(new, "/dev", None, _MOVE)
    if moved:
        os.rmdir(new)
    return moved


def _renew_proc(processes: int) -> None:
    """Mount a /proc that shows the program's own processes alone, if the system allows it."""
    if not _succeeds(_LIBC.unshare(_NEW_MOUNTS)) or not _mount("proc", "/proc", "proc", 0):
        return
    _write("/proc/sys/kernel/pid_max", str(max(301, processes * _THREADS)))
    for path in bubblewrap.kernel_settings():
        if not _mount(path, path, None, _BIND) or not _set_read_only(path, 0, read_only=True):
            os._exit(126)


def _mind(config: dict[str, Any], confined: dict[str, bool], report: int) -> None:
    """Start the program and report how it ended; never returns.

    In a process namespace this process is the first: a program in its place would be deaf to most
    signals, its own among them. With it everything in the namespace ends.
    """
    os.setsid()
    _LIBC.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    _LIBC.prctl(_SET_DUMPABLE, 0, 0, 0, 0)  # the program runs as the same user: it may not trace us
    if confined["processes"] and confined["files"] and not config["bubblewrap"]:
        _renew_proc(config["processes"])
    program = os.fork()
    if program == 0:
        _become_program(config, confined)
    os.close(config["result"])
    while True:
        process, status = os.waitpid(-1, 0)
        if process == program:
            os.write(report, str(status).encode())
            os._exit(0)


def _go_inside(config: dict[str, Any], report: int) -> None:
    """Become the first process of what bubblewrap makes; never returns."""
    _LIBC.prctl(_SET_DUMPABLE, 1, 0, 0, 0)  # or its own maps of users would be root's to write
    words = bubblewrap.words(config["bubblewrap"], config, _contents(config["folder"]))
    told = os.memfd_create("config", 0)
    os.write(told, json.dumps(config | {"inside": report}).encode())
    os.lseek(told, 0, os.SEEK_SET)
    for descriptor in (report, config["result"]):
        os.set_inheritable(descriptor, True)
    again = [sys.executable, "-I", "-S", os.path.abspath(__file__), str(told)]
    os.execve(words[0], [*words, *again], dict(os.environ))  # noqa: S606  # no shell is wanted


def _become_program(config: dict[str, Any], confined: dict[str, bool]) -> None:
    """Turn the present process into the program; never returns."""
    for capability in range(_LAST_CAPABILITY + 1):
        _LIBC.prctl(_DROP_BOUNDING, capability, 0, 0, 0)
    _LIBC.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    seconds = config["seconds"]
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: config["file_size"],
        resource.RLIMIT_DATA: config["memory"],
        resource.RLIMIT_CPU: int(seconds * (os.cpu_count() or 1)) + 1,
        resource.RLIMIT_NOFILE: 4096,
    }
    if confined["processes"]:
        # Counted per user and namespace: outside of one it would count the user's other programs.
        limits[resource.RLIMIT_NPROC] = config["processes"] * _THREADS
    for limit, value in limits.items():
        _, hard = resource.getrlimit(limit)
        allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(limit, (allowed, allowed))
    for number in _IGNORED:
        signal.signal(number, signal.SIG_DFL)
    os.chdir(config["folder"])
    os.set_inheritable(config["result"], True)
    command = config["command"]
    if confined["sockets"] and not filter_calls():
        os._exit(126)
    os.execve(command[0], command, config["environment"])  # noqa: S606  # no shell is wanted


def _watch(child: int, config: dict[str, Any], confined: dict[str, bool]) -> str:
    """Wait until the program ends by itself or must be ended; say which."""
    descriptor = os.pidfd_open(child)
    deadline = time.monotonic() + config["seconds"]
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    waiting.register(config["control"], select.POLLIN | select.POLLHUP)
    while True:
        ready = {fd for fd, _ in waiting.poll(_POLL_SECONDS * 1000)}
        if descriptor in ready:
            return "ended"
        if config["control"] in ready:
            return "abandoned"
        if time.monotonic() > deadline:
            return "time"
        processes = descendants(os.getpid())
        if len(processes) > config["processes"]:
            return "processes"
        if memory_of(processes, config, confined) > config["memory"]:
            return "memory"


def _end_everything(child: int) -> None:
    """Kill the program and all that it started, and wait until none of it is left."""
    while True:
        for process in {child, *descendants(os.getpid())}:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        try:
            # Orphans come to us, a subreaper, so that waiting for our children is waiting for all.
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _remove(folder: str, parent: int) -> None:
    """Remove the program's folder in place of a judge that is gone.

    Args:
        folder: its path.
        parent: the folder around it, opened before everything became read-only.
    """
    import shutil

    _LIBC.umount2(os.fsencode(folder), _DETACH)
    os.fchdir(parent)
    shutil.rmtree(os.path.basename(folder), ignore_errors=True)


def main() -> int:
    """Run the program of the configuration to its end."""
    with open(int(sys.argv[1]), "rb") as file:
        config = json.load(file)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    if "inside" in config:
        os.set_inheritable(config["inside"], False)
        os.write(config["inside"], _BEGUN)
        _mind(config, _ALL | {"sockets": can_filter()}, config["inside"])
    parent = os.open(os.path.dirname(config["folder"]), os.O_RDONLY | os.O_DIRECTORY)
    os.set_inheritable(config["status"], False)
    os.set_inheritable(config["control"], False)
    _LIBC.prctl(_SET_SUBREAPER, 1, 0, 0, 0)
    if config["bubblewrap"]:
        confined = _ALL | {"files": bubblewrap.can_hide(config["hidden"])}
    else:
        confined = _enter_namespaces()
        confined["files"] = confined["files"] and _seal_files(config)
    _LIBC.prctl(_SET_DUMPABLE, 0, 0, 0, 0)  # the program may be of the same user
    confined["sockets"] = can_filter()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if config["bubblewrap"]:
                _go_inside(config, writing)
            _mind(config, confined, writing)
        finally:
            os._exit(127)
    os.close(config["result"])
    os.close(writing)
    outcome = _watch(child, config, confined)
    _end_everything(child)
    if outcome == "abandoned":
        _remove(config["folder"], parent)
    told = os.read(reading, 20)
    if config["bubblewrap"] and not told:
        outcome = "jail"  # what bubblewrap met is among the output
    told = told.strip()
    status = int(told) if told.isdigit() else None
    report = {"outcome": outcome, "confined": confined, "status": status}
    with os.fdopen(config["status"], "w", encoding="ascii") as file:
        json.dump(report, file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
