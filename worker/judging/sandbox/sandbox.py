"""Run a program apart: in a process of its own, with limits, and a private way for its result.

The program may crash, hang, print, fork, exit or lie: none of it reaches the judge's own process.
What it says of itself comes as frames over a pipe, each opened by a word that its harness was told;
standard output is kept for people and never read as a result.
"""

from __future__ import annotations

import json
import os
import secrets
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from worker.judging.reasons.codes import Reason, Why
from worker.judging.sandbox.bubblewrap import find_bubblewrap
from worker.judging.sandbox.surroundings import (
    ROOT,
    covered_folders,
    hub_home,
    kept_places,
    secret_places,
)
from worker.judging.sandbox.system_calls import can_filter

JAIL = Path(__file__).with_name("jail.py")
HARNESS = "worker.judging.sandbox.harness"
STAND_INS = Path(__file__).with_name("stand_ins")
MAX_OUTPUT = 64 * 2**10  # of what a program prints, its first and last half this much
MAX_FRAME = 16 * 2**20  # several times what the largest pipelines need to be described
MAX_RESULT = 64 * 2**20  # of all frames that are kept; the newest are
_GRACE = 10.0  # seconds beyond the limit after which the jail itself is taken to hang
# What a program is told of its surroundings; everything else (tokens, keys, proxies) stays out.
_KEPT = (
    "PATH",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    "CUDA_HOME",
    "OMP_NUM_THREADS",
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "TZ",
)
_JAIL_KEPT = ("LD_LIBRARY_PATH",)  # without which some interpreters do not start
_POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")


def default_memory() -> int:
    """Return half of what the machine has free, in bytes, and no more than 32 GiB."""
    with open("/proc/meminfo", encoding="ascii") as file:
        sizes = dict(line.split(":") for line in file)
    free = int(sizes["MemAvailable"].split()[0]) * 1024
    return min(32 * 2**30, free // 2)


@dataclass(frozen=True)
class Limits:
    """What a program may use.

    Attributes:
        seconds: of wall-clock time.
        memory: bytes, of all its processes together and of the files that they keep in memory.
        disk: bytes of all files that it writes. Where the system allows a mount namespace these are
            kept in memory, and count there as well.
        processes: at the same time.
        file_size: bytes of one file.
    """

    seconds: float = 600.0
    memory: int = field(default_factory=default_memory)
    disk: int = 2 * 2**30
    processes: int = 32
    file_size: int = 2**30


@dataclass(frozen=True)
class Frame:
    """One thing that a harness sent: its kind, and JSON that nobody has looked at yet."""

    kind: str
    content: bytes


@dataclass(frozen=True)
class Outcome:
    """How a program ended.

    Attributes:
        ended: ``ended`` by itself; or by us, for ``time``, ``memory``, ``processes``, ``result``
            (too much of it, or none), ``abandoned`` or ``jail`` (which failed itself).
        code: its exit code, negative for a signal, None if unknown.
        frames: what its harness sent; the newest, where there was more than can be kept.
        tampered: whether something else than frames came over the result pipe.
        output: the first and last of what it printed.
        confined: whether it was kept from ``network``, ``files`` and other ``processes``.
    """

    ended: str
    code: int | None
    frames: list[Frame]
    tampered: bool
    output: str
    confined: dict[str, bool] = field(default_factory=dict)

    @property
    def reason(self) -> Reason:
        """How it ended."""
        if self.ended != "ended":
            return _STOPPED[self.ended]()
        if self.code is not None and self.code < 0:
            try:
                return Why.KILLED(signal=signal.Signals(-self.code).name)
            except ValueError:
                return Why.KILLED(signal=f"signal {-self.code}")
        return Why.ENDED_WITHOUT_TRACE() if self.code is None else Why.EXITED(code=self.code)


_STOPPED = {
    "time": Why.STOPPED_FOR_TIME,
    "memory": Why.STOPPED_FOR_MEMORY,
    "processes": Why.STOPPED_FOR_PROCESSES,
    "result": Why.STOPPED_FOR_RESULT,
    "abandoned": Why.STOPPED,
    "jail": Why.NOT_RUN_APART,
}


def run_apart(
    program: bytes,
    request: dict[str, Any],
    limits: Limits,
    hidden: Sequence[str] = (),
) -> Outcome:
    """Run a program's bytes under the harness, apart, and return how it ended.

    Args:
        program: the file's bytes; they are copied into the scratch folder.
        request: handed to the harness as JSON; ``program`` (the copy's path) is added.
        limits: what it may use.
        hidden: files and folders that it may not see, beside those where people keep secrets.
    """
    with tempfile.TemporaryDirectory(prefix="judged-", ignore_cleanup_errors=True) as scratch:
        path = Path(scratch) / "program.py"
        path.write_bytes(program)
        word = secrets.token_hex(16)
        full = request | {"program": str(path), "word": word}
        return _run(Path(scratch), full, limits, hidden)


def _run(scratch: Path, request: dict[str, Any], limits: Limits, hidden: Sequence[str]) -> Outcome:
    result, result_end = os.pipe()
    status, status_end = os.pipe()
    control_end, control = os.pipe()
    from worker.models.random_weights import cache_folder

    config = {
        "command": [sys.executable, "-P" if sys.version_info >= (3, 11) else "-s", "-m", HARNESS],
        "environment": _environment(scratch),
        "folder": str(scratch),
        "covered": covered_folders(),
        "kept": [*kept_places(request["models"]), str(cache_folder())],
        "hidden": [*map(os.path.abspath, hidden), *secret_places()],
        "bubblewrap": _bubblewrap(),
        "seconds": limits.seconds,
        "memory": limits.memory,
        "disk": limits.disk,
        "processes": limits.processes,
        "file_size": limits.file_size,
        "result": result_end,
        "status": status_end,
        "control": control_end,
    }
    # Not as an argument: the program can read its jail's command line, but not where nothing is to be seen.
    told = os.memfd_create("config")
    os.write(told, json.dumps(config).encode())
    os.lseek(told, 0, os.SEEK_SET)
    theirs = (told, result_end, status_end, control_end)
    try:
        jail = subprocess.Popen(
            [sys.executable, "-I", "-S", str(JAIL), str(told)],
            env={name: os.environ[name] for name in _JAIL_KEPT if name in os.environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=theirs,
            start_new_session=True,
        )
    finally:
        for descriptor in theirs:
            os.close(descriptor)
    try:
        return _listen(jail, request | {"result": result_end}, (result, status, control), limits)
    finally:
        for descriptor in (result, status, control):
            os.close(descriptor)
        try:
            jail.wait(_GRACE)  # it ends the program now, with all that the program started
        except subprocess.TimeoutExpired:
            jail.kill()
            jail.wait()


@cache
def _bubblewrap() -> str | None:
    """Return the path of a bubblewrap that works here; the system calls it leaves open must be filtered."""
    return find_bubblewrap() if can_filter() else None


def _environment(scratch: Path) -> dict[str, str]:
    from worker.models.random_weights import cache_folder

    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    # Building a pipeline computes next to nothing; a pool as wide as a large machine would only
    # run into the limit on threads.
    return (
        dict.fromkeys(_POOLS, "4")
        | kept
        | {
            "HOME": str(scratch),
            "TMPDIR": str(scratch),
            "USER": "judged",
            "LOGNAME": "judged",
            "PYTHONPATH": os.pathsep.join([str(STAND_INS), str(ROOT)]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            "PYTHONIOENCODING": "utf-8:backslashreplace",
            "HF_HOME": str(hub_home()),
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "DIFFUSERS_VERBOSITY": "error",
            "TRANSFORMERS_VERBOSITY": "error",
            "PYTHONWARNINGS": "ignore",
            "DIFFUSION_SWEEPS_CACHE": str(cache_folder()),
            "MPLBACKEND": "Agg",
        }
    )


class _Capped:
    """The first and last bytes of a stream of any length."""

    def __init__(self, limit: int) -> None:
        self.half = limit // 2
        self.first = b""
        self.last = b""
        self.length = 0

    def add(self, data: bytes) -> None:
        self.length += len(data)
        room = self.half - len(self.first)
        self.first += data[:room] if room > 0 else b""
        rest = data[room:] if room > 0 else data
        self.last = (self.last + rest)[-self.half :]

    def text(self) -> str:
        left_out = self.length - len(self.first) - len(self.last)
        gap = f"\n… {left_out} bytes left out …\n".encode() if left_out else b""
        return (self.first + gap + self.last).decode("utf-8", "backslashreplace")


def _listen(
    jail: subprocess.Popen[bytes],
    request: dict[str, Any],
    pipes: tuple[int, int, int],
    limits: Limits,
) -> Outcome:
    """Give the program its request and read all that comes back, until everything is closed."""
    result, status, control = pipes
    stdin, stdout = jail.stdin, jail.stdout
    if stdin is None or stdout is None:
        raise RuntimeError("the jail was started without pipes")
    try:
        stdin.write(json.dumps(request).encode())
        stdin.close()
    except BrokenPipeError:
        pass
    output, frames, said = _Capped(MAX_OUTPUT), FrameReader(request["word"]), bytearray()
    sinks: dict[int, Callable[[bytes], object]] = {
        stdout.fileno(): output.add,
        result: frames.add,
        status: said.extend,
    }
    selector = selectors.DefaultSelector()
    for descriptor in sinks:
        selector.register(descriptor, selectors.EVENT_READ)
    deadline = time.monotonic() + limits.seconds + _GRACE
    ending = False
    while selector.get_map():
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            break
        for key, _ in selector.select(remaining):
            data = os.read(key.fd, 2**16)
            if data:
                sinks[key.fd](data)
            else:
                selector.unregister(key.fd)
        if frames.broken and not ending:
            ending = True
            os.write(control, b"end it")  # the jail ends the program and all that it started
    selector.close()
    return _outcome(bytes(said), frames, output.text())


def _outcome(said: bytes, frames: FrameReader, output: str) -> Outcome:
    told, tampered = list(frames.frames), frames.tampered
    try:
        report = json.loads(said)
    except ValueError:
        return Outcome("jail", None, told, tampered, output)
    status = report["status"]
    code = None if status is None else os.waitstatus_to_exitcode(status)
    ended = "result" if frames.broken else report["outcome"]
    return Outcome(ended, code, told, tampered, output, report["confined"])


def write_frame(descriptor: int, word: str, kind: str, content: Mapping[str, Any]) -> None:
    """Send one frame: the word, the kind, the length in bytes, the content as JSON."""
    data = json.dumps(content, default=_plain).encode()
    message = f"{word} {kind} {len(data)}\n".encode() + data
    while message:
        message = message[os.write(descriptor, message) :]


def _plain(value: Any) -> Any:
    """Return a number of numpy or torch as Python's own, and of anything else its class's name."""
    return value.item() if hasattr(value, "item") else type(value).__name__


class FrameReader:
    """Takes a stream apart into frames, within bounds, and looks into none of them.

    Attributes:
        frames: the newest whole ones.
        broken: whether something that is no frame came, or too large a one; the rest is ignored.
    """

    _HEAD = 40  # bytes for kind and length

    def __init__(self, word: str) -> None:
        self.frames: deque[Frame] = deque()
        self.broken = False
        self._opening = word.encode() + b" "
        self._rest = bytearray()
        self._size = 0

    @property
    def tampered(self) -> bool:
        """Whether something else than whole frames has come."""
        return self.broken or bool(self._rest)

    def add(self, data: bytes) -> None:
        """Take what has come next."""
        if self.broken:
            return
        self._rest += data
        while self._rest and not self.broken and self._take_one():
            pass

    def _take_one(self) -> bool:
        """Move a frame from the stream to the frames, if it is there as a whole."""
        end = self._rest.find(b"\n", 0, len(self._opening) + self._HEAD)
        if end < 0:
            self.broken = len(self._rest) >= len(self._opening) + self._HEAD
            return False
        head = bytes(self._rest[:end])
        parts = head.removeprefix(self._opening).split(b" ")
        if not head.startswith(self._opening) or len(parts) != 2 or not parts[1].isdigit():
            self.broken = True
            return False
        length = int(parts[1])
        if length > MAX_FRAME:
            self.broken = True
            return False
        if len(self._rest) < end + 1 + length:
            return False
        kind = parts[0].decode("ascii", "replace")
        self._keep(Frame(kind, bytes(self._rest[end + 1 : end + 1 + length])))
        del self._rest[: end + 1 + length]
        return True

    def _keep(self, frame: Frame) -> None:
        self.frames.append(frame)
        self._size += len(frame.content)
        while self._size > MAX_RESULT:
            self._size -= len(self.frames.popleft().content)


def unprotected(confined: dict[str, bool]) -> list[str]:
    """Say from what a program could not be kept."""
    sentences = {
        "network": "this system allows no network namespace: the program had the network",
        "files": "this system allows no mount namespace: the program could write other files, fill "
        "the disk, and read the reference and whatever secrets this user's files hold",
        "processes": "this system allows no process namespace: the program could end this user's "
        "other processes, this one too, and read what their environments hold, tokens as well",
        "sockets": "the system calls of this machine cannot be filtered: the program could talk to "
        "processes that listen on sockets with a path",
        "rights": "this system forbids no further user namespaces: the program could gain rights in "
        "one of its own",
    }
    return [sentence for name, sentence in sentences.items() if not confined.get(name, True)]
