"""How long judging a log takes, beside grep: ``python benchmarks/log_reading.py [MIB]``.

For each kind of log a file of that size (default 1024 MiB, one at a time) is written to the folder for
temporary files, then read by `read_log` and by ``grep -c`` for the success line, three times each; the
fastest counts, in CPU time, so that neither the disk nor a second core helps. Also shown: the digest alone.
"""

from __future__ import annotations

import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scheduler.config.sweep import Rules  # noqa: E402  (the folder above must be importable first)
from scheduler.storage.logs import is_log, read_log  # noqa: E402

LINE = b"2026-03-01 12:00:00,123 INFO step 000123 loss 0.1234 lr 1e-05, a line as programs print them\n"
TRACEBACK = (
    b"Traceback (most recent call last):\n"
    + b'  File "train.py", line 3, in <module>\n' * 8
    + b"ValueError: no\n"
)
MESSAGES = b"ImportError now and then, as text; CUDA is used; Connection is fine\n"
BAR = " 50%|█████     | 500/1000 [00:10<00:10, 50.00it/s]\r".encode()
KINDS: dict[str, bytes] = {
    "lines of 100 bytes": LINE,
    "lines of 2 bytes": b"y\n",
    "CRLF": LINE.replace(b"\n", b"\r\n"),
    "progress bars": BAR,
    "one line": b"z" * 4096,
    "blank lines": b"\n",
    "binary": random.Random(0).randbytes(1 << 20),
    "UTF-16": LINE.decode().encode("utf-16-le"),
    "Chinese": "第一步的损失是零点一,学习率没有变化,一切正常\n".encode(),
    "tracebacks": TRACEBACK,
    "failures": LINE + b"RuntimeError: CUDA out of memory\n",
    "words of failure": MESSAGES,
    "in a traceback": TRACEBACK.splitlines(keepends=True)[1],
}
RUNS = 3


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its children that have ended."""
    parts = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(part.ru_utime + part.ru_stime for part in parts)


def fastest(what: Callable[[], object]) -> float:
    """Return the CPU time of the fastest run."""

    def seconds() -> Iterator[float]:
        for _ in range(RUNS):
            before = cpu_seconds()
            what()
            yield cpu_seconds() - before

    return min(seconds())


def write(path: Path, part: bytes, size: int) -> None:
    """Fill a file with repetitions of ``part``, with a success line at the end."""
    block = part * max(1, (1 << 20) // len(part))
    with path.open("wb") as file:
        if part.startswith(b"  File"):
            file.write(TRACEBACK.splitlines(keepends=True)[0])
        while file.tell() < size:
            file.write(block)
        file.write(b"\n" + Rules().success.encode() + b"\n")


def main() -> None:
    """Print a line for each kind of log."""
    size = int(sys.argv[1] if len(sys.argv) > 1 else 1024) << 20
    grep = ["grep", "-a", "-c", "-F", Rules().success]
    print(f"{'':20}{'grep':>8}{'judging':>10}{'ratio':>8}{'digest':>9}   (seconds of CPU time)")
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "a.log"
        for kind, part in KINDS.items():
            write(log, part, size)
            by_grep = fastest(lambda: subprocess.run([*grep, log], stdout=subprocess.DEVNULL))
            scan, facts = read_log(log, Rules())
            assert facts is not None
            assert scan.success
            judging = fastest(lambda: read_log(log, Rules()))
            digest = fastest(lambda: is_log(log, facts.sha256, facts.crc32))  # noqa: B023
            ratio = judging / by_grep
            figures = f"{by_grep:8.2f}{judging:10.2f}{ratio:8.1f}{digest:9.2f}"
            print(f"{kind:20}{figures}", flush=True)


if __name__ == "__main__":
    main()
