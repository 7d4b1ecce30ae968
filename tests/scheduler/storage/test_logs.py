"""Logs read in blocks: the same is found as line by line, whatever is in them."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scheduler.config.sweep import Rules
from scheduler.core.verdict import LogScan
from scheduler.storage import logs
from scheduler.storage.logs import ReadingStopped, is_log, read_log

BLOCK, OVERLAP = 96, 24
RULES = Rules(
    success="all (is) well", failure=("RuntimeError", "CUDA out", "ganz schön ☹", "\ufffd?")
)
PIECES = [
    *(rule.encode() for rule in (RULES.success, *RULES.failure)),
    b"Traceback (most recent call last):",
    *(b"\n", b"\r", b"\r\n", b"\n\n", b" ", b"  File x\n", b"\x1c", b"\x85", b"\xff?", "\u3000\n".encode()),
    *(b"ValueError: no\n", b"\nx.y.Odd\n", "Größe: 1\n".encode(), b"MemoryError", b"MemoryErrors\n"),
    *(b"\nImportError: x", b"an ImportError", b"503 Server Error", b"CUDA error: out of memory"),
    *(b"torch.OutOfMemoryError: CUDA out of memory", b"Connection refused", "ConnectionErrorö".encode()),
    *(b"No space left on device", b"NVRM: Xid", b"CUDA error: unknown error", b"\x1a\x1a", b"."),
    *(b"z" * 30, b"y\n" * 20, "all (is) well".encode("utf-16"), b"RuntimeErr", b"or", b"all (is", b") well"),
]  # fmt: skip


def line_by_line(content: bytes) -> dict[str, object]:
    """Return what is found by reading every line: slow, and what is meant."""
    scan, rest = LogScan(RULES), b""
    file = io.BytesIO(content)
    while chunk := file.readline(BLOCK):
        parts = (rest + chunk).rstrip(b"\n").split(b"\r")
        scan.feed(part.decode(errors="replace") for part in parts)
        rest = b"" if chunk.endswith(b"\n") else chunk[-OVERLAP:]
    return found(scan)


def found(scan: LogScan) -> dict[str, object]:
    return {
        "success": scan.success,
        "failure": (scan.failure_line, scan.failure_pattern),
        "exception": (scan.exception, scan.in_traceback),
        "last line": scan.last_line,
        "hints": scan.hints,
    }


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs") / "a.log"


@pytest.fixture(scope="module", autouse=True)
def small_blocks() -> object:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"_BLOCK": BLOCK, "_OVERLAP": OVERLAP, "_FEW": 8}.items():
            patch.setattr(logs, name, value)
        yield


@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=9), max_size=60).map(b"".join))
@example(b"Traceback (most recent call last):\n" * 9 + b"  File\n" * 20 + b"\nKeyError: 3\n")
@example(
    b"Traceback (most recent call last):\nA: 1\n" * 9 + b"Traceback (most recent call last):\n  x"
)
@example(b"\n" * 500 + b"x" + b"\n" * 500)
def test_blocks_tell_what_lines_tell(log: Path, content: bytes) -> None:
    log.write_bytes(content)
    scan, facts = read_log(log, RULES)
    assert found(scan) == line_by_line(content)
    assert facts is not None
    assert (facts.sha256, facts.size) == (hashlib.sha256(content).hexdigest(), len(content))


@given(st.integers(0, BLOCK * 2), st.sampled_from([b"z", b"z\n", b"z\r", b"\xff"]))
def test_a_pattern_across_any_border_is_found(log: Path, before: int, filler: bytes) -> None:
    log.write_bytes((filler * BLOCK * 2)[:before] + RULES.success.encode() + filler * BLOCK)
    assert read_log(log, RULES)[0].success


def test_a_long_log_has_a_cheaper_digest_and_one_of_before_still_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_LONG", 1000)
    log, content = tmp_path / "a.log", b"a line\n" * 300
    log.write_bytes(content)
    _, facts = read_log(log, RULES)
    assert facts is not None
    assert facts.as_json().keys() == {"size", "mtime_ns", "crc32"}
    earlier = hashlib.sha256(content).hexdigest()
    assert is_log(log, None, facts.crc32)
    assert is_log(log, earlier, None)
    log.write_bytes(content.replace(b"a line", b"b line", 1))
    assert not is_log(log, None, facts.crc32)
    assert not is_log(log, earlier, None)
    assert not is_log(log, None, None)
    log.unlink()
    assert not is_log(log, None, facts.crc32)


def test_reading_is_left_at_the_next_block(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"a line\n" * 300)
    asked: list[int] = []

    def stopped() -> bool:
        asked.append(1)
        return len(asked) == 3

    with pytest.raises(ReadingStopped):
        read_log(log, RULES, stopped)
    assert len(asked) == 3
