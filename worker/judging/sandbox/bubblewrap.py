"""The namespaces and the view of the files made by bubblewrap (`bwrap`), where that is installed and works.

It makes what jail.py makes by itself, and also where a system lets no program but this one make namespaces.
What the two let a judged program see and do is the same.

For jail.py, which runs as a script: standard library alone.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

_PLACES = ("/usr/bin", "/bin", "/usr/local/bin")  # not $PATH, where another may be of that name
_APART = (
    *("--unshare-user", "--unshare-net", "--unshare-pid", "--unshare-ipc", "--unshare-uts"),
    # The first process of its namespace is then jail.py's own.
    *("--uid", "1000", "--gid", "1000", "--as-pid-1", "--ro-bind", "/", "/"),
)
_SYSTEM = ("--dev", "/dev", "--proc", "/proc")
_PATIENCE = 10.0  # seconds


def find_bubblewrap() -> str | None:
    """Return bubblewrap's path, or None if it is not installed or cannot do here what is wanted of it."""
    for folder in _PLACES:
        program = os.path.join(folder, "bwrap")
        if os.access(program, os.X_OK):
            probe = [
                program,
                *_APART,
                "--size",
                "65536",
                "--tmpfs",
                "/tmp",  # noqa: S108
                *_SYSTEM,
                "--",
                "/bin/true",
            ]
            try:
                done = subprocess.run(probe, capture_output=True, timeout=_PATIENCE, check=False)
            except (OSError, subprocess.TimeoutExpired):
                return None
            return program if done.returncode == 0 else None
    return None


def words(program: str, config: Mapping[str, Any], contents: Mapping[str, bytes]) -> list[str]:
    """Return the words that start a command confined; the command follows them.

    All but the first two are handed over by a descriptor: the command line can be read from inside.

    Args:
        program: bubblewrap's path.
        config: the jail's.
        contents: the files that the program's folder holds, by name.
    """
    settings = [word for path in kernel_settings() for word in ("--ro-bind", path, path)]
    options = [*_APART, *_view(config), *_SYSTEM, *settings, *_devices(), *_own(config, contents)]
    data = b"".join(os.fsencode(option) + b"\0" for option in options)
    return [program, "--args", str(_file_with(data)), "--"]


def kernel_settings() -> list[str]:
    """Return the part of /proc that is the machine's: root could write it without any capability.

    A process's own part stays as it is: CUDA, for one, gives its threads names there, and fails if it
    cannot.
    """
    machine = [
        name for name in os.listdir("/proc") if not name.isdigit() and not name.endswith("self")
    ]
    paths = (f"/proc/{name}" for name in sorted(machine))
    return [path for path in paths if not os.path.islink(path)]


def can_hide(paths: list[str]) -> bool:
    """Say whether these can be hidden, those that are there: a pipe, say, has no place in the files."""
    return all(os.path.exists(os.path.realpath(path)) for path in paths if os.path.exists(path))


def _view(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield what covers folders, binds back what is kept of them, and hides the rest."""
    covered = [os.path.realpath(folder) for folder in config["covered"] if os.path.isdir(folder)]
    outer = sorted(f for f in set(covered) if not any(_is_below(f, o) for o in set(covered) - {f}))
    made = [*outer]
    for folder in outer:
        yield from ("--tmpfs", folder)
    for place in config["kept"]:
        if os.path.exists(place) and any(_is_below(place, folder) for folder in outer):
            yield from ("--ro-bind", place, place)
    for path in config["hidden"]:
        # Of a covered folder only what is kept is there.
        if not os.path.exists(path) or _is_gone(path, outer, config["kept"]):
            continue
        if os.path.isdir(path):
            yield from ("--tmpfs", os.path.realpath(path))
            made.append(os.path.realpath(path))
        else:
            yield from ("--ro-bind-data", str(_file_with(b"")), os.path.realpath(path))
    folder = config["folder"]
    yield from ("--size", str(config["disk"]), "--tmpfs", folder)
    for place in made:
        yield from ("--remount-ro", place)


def _is_gone(path: str, covered: list[str], kept: list[str]) -> bool:
    real = os.path.realpath(path)
    return any(_is_below(real, folder) for folder in covered) and not any(
        _is_below(real, place) for place in kept
    )


def _devices() -> Iterator[str]:
    for name in sorted(os.listdir("/dev")):
        if name.startswith("nvidia"):
            yield from ("--dev-bind", f"/dev/{name}", f"/dev/{name}")


def _own(config: Mapping[str, Any], contents: Mapping[str, bytes]) -> Iterator[str]:
    """Yield what makes the folders that the program may write."""
    yield from ("--size", str(config["disk"]), "--tmpfs", "/dev/shm", "--remount-ro", "/dev")  # noqa: S108
    for name, content in contents.items():
        yield from ("--file", str(_file_with(content)), os.path.join(config["folder"], name))


def _file_with(data: bytes) -> int:
    """Return the inheritable descriptor of a file in memory."""
    descriptor = os.memfd_create("handed over", 0)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _is_below(path: str, folder: str) -> bool:
    return os.path.commonpath([path, folder]) == folder
