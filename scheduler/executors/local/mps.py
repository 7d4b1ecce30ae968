"""NVIDIA's MPS, by which kernels of several processes run side by side on a GPU: one daemon per user and box.

The control daemon is a program of the driver. It lives in a folder of its user's own, and has no parent that
would end it, so it is kept by files there:

* ``users``: locked shared by every dispatcher that computes by the daemon, and by its attempts, which inherit
  the descriptor. Who can lock it alone is the last one, and ends the daemon. So one daemon serves all
  dispatchers of a user, and is there as long as any of their attempts;
* ``start``: locked by who starts or ends it, for that moment.

A dispatcher that was killed leaves the daemon behind. The next one finds it, by asking, and uses it, or ends
it where it has no use for it and nobody else has.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_PROGRAM = "nvidia-cuda-mps-control"
# Where a container, or a driver that was installed by hand, has it beside the PATH.
_PLACES = ("/usr/local/nvidia/bin", "/usr/bin", "/usr/local/cuda/bin")
_PATIENCE = 10.0  # seconds for an answer of the program; it takes milliseconds


class MpsUnavailable(Exception):  # noqa: N818  # a state of the machine
    """MPS cannot be used; the message is a phrase that says why."""


def default_folder() -> Path:
    """Return the folder of this user's daemon; a socket's name there must not be longer than 107 bytes."""
    return Path(os.environ.get("SCHEDULER_MPS") or f"/tmp/gpu-mps-{os.geteuid()}")  # noqa: S108


class Mps:
    """The daemon, in use by this process until `release`, and by its heirs until they are gone."""

    def __init__(self, folder: Path, program: str, users: int) -> None:
        self._folder = folder
        self._program = program
        self._users: int | None = users

    @classmethod
    def acquire(cls, folder: Path, environment: Mapping[str, str]) -> Mps:
        """Use the daemon, started now if there is none.

        Raises:
            MpsUnavailable: it cannot be started or does not answer, or its folder is not safe.
        """
        program = _find_program(environment.get("PATH"))
        if program is None:
            raise MpsUnavailable(
                f"there is no program {_PROGRAM} on the PATH; it comes with NVIDIA's driver"
            )
        with _starting(folder):
            users = _open_lock(folder / "users")
            fcntl.flock(users, fcntl.LOCK_SH)
            try:
                if not _answers(program, folder):
                    _start(program, folder)
            except BaseException:
                os.close(users)
                raise
        return cls(folder, program, users)

    @staticmethod
    def end_left_over(folder: Path, environment: Mapping[str, str]) -> None:
        """End a daemon that a dispatcher left behind, if nobody uses it."""
        if not (folder / "users").exists():
            return
        program = _find_program(environment.get("PATH"))
        if program is not None:
            with contextlib.suppress(MpsUnavailable):
                _end(program, folder)

    @property
    def heirloom(self) -> Sequence[int]:
        """The descriptors that keep the daemon, for processes that compute by it to inherit."""
        return () if self._users is None else (self._users,)

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process compute by the daemon."""
        return _environment(self._folder)

    @property
    def processes(self) -> Sequence[int]:
        """The daemon's process id, if it is known: its servers, which NVML lists, are its children."""
        try:
            return [int((self._folder / "pipe" / f"{_PROGRAM}.pid").read_text())]
        except (OSError, ValueError):
            return []

    def release(self) -> None:
        """Use it no more, and end it if nobody else does."""
        if self._users is None:
            return
        os.close(self._users)
        self._users = None
        with contextlib.suppress(MpsUnavailable):
            _end(self._program, self._folder)


def _environment(folder: Path) -> dict[str, str]:
    return {
        "CUDA_MPS_PIPE_DIRECTORY": str(folder / "pipe"),
        "CUDA_MPS_LOG_DIRECTORY": str(folder / "log"),
    }


def _find_program(path: str | None) -> str | None:
    places = os.pathsep.join((path or os.defpath, *_PLACES))
    return shutil.which(_PROGRAM, path=places)


@contextlib.contextmanager
def _starting(folder: Path) -> Iterator[None]:
    """Be the only one that starts or ends the daemon; the folder is made if it is missing.

    Raises:
        MpsUnavailable: the folder cannot be made, or others could meddle with it.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise MpsUnavailable(f"{folder} is not a folder of this user; remove it")
        if status.st_mode & 0o022:
            raise MpsUnavailable(f"others may write to {folder}; let them not (chmod 700)")
        for part in ("pipe", "log"):
            (folder / part).mkdir(mode=0o700, exist_ok=True)
        lock = _open_lock(folder / "start")
    except OSError as error:
        raise MpsUnavailable(f"{error.filename or folder}: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _start(program: str, folder: Path) -> None:
    """Start the daemon.

    Raises:
        MpsUnavailable: it says that it cannot be, or does not answer then.
    """
    done = _run([program, "-d"], folder)
    if done.returncode != 0 or not _answers(program, folder):
        said = (done.stdout + done.stderr).strip().splitlines()
        why = said[-1].strip() if said else f"exit code {done.returncode}"
        raise MpsUnavailable(f"{program} -d does not start it: {why}")


def _end(program: str, folder: Path) -> None:
    """End the daemon if nobody uses it.

    Raises:
        MpsUnavailable: the program does not answer.
    """
    with _starting(folder):
        users = _open_lock(folder / "users")
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        else:
            if _answers(program, folder):
                _run([program], folder, "quit\n")
        finally:
            os.close(users)


def _answers(program: str, folder: Path) -> bool:
    return _run([program], folder, "get_server_list\n").returncode == 0


def _run(
    words: Sequence[str], folder: Path, question: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the program.

    Raises:
        MpsUnavailable: it cannot be run, or takes too long.
    """
    environment = {**os.environ, **_environment(folder)}
    # Of a daemon that sees some devices only, clients would have to number them anew.
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    # To files, not pipes: the daemon would hold their ends as long as it lives.
    with open(folder / "said", "w+", encoding="utf-8", errors="replace") as said:
        try:
            done = subprocess.run(
                words,
                input=question,
                stdout=said,
                stderr=subprocess.STDOUT,
                text=True,
                env=environment,
                timeout=_PATIENCE,
                start_new_session=True,  # a Ctrl-C is not for the daemon
                check=False,
            )
        except OSError as error:
            raise MpsUnavailable(f"{words[0]} cannot be run: {error.strerror}") from None
        except subprocess.TimeoutExpired:
            raise MpsUnavailable(f"{words[0]} has not answered for {_PATIENCE:g} s") from None
        said.seek(0)
        return subprocess.CompletedProcess(words, done.returncode, said.read(1 << 16), "")
