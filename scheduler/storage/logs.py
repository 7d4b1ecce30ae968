"""Logs and results files, read once for all that is to be known of them."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scheduler.config.sweep import Rules
from scheduler.core.verdict import LogScan
from scheduler.storage.json_files import parse_object
from scheduler.storage.regular_files import open_binary

_SUMMARY_TAIL = 1 << 18  # bytes of a results file in which its last line, the summary, must lie
# A longer line is read in pieces, so that memory stays small. Each piece repeats the end of the one
# before, so that no pattern is cut in two.
_LONGEST_LINE = 1 << 20  # bytes
_OVERLAP = 1 << 10  # bytes


def last_summary(path: Path) -> dict[str, Any]:
    """Return the ``summary`` of a results file's last line, or {} if it has none."""
    try:
        with open_binary(path) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _SUMMARY_TAIL))
            lines = file.read().splitlines()
    except OSError:
        return {}
    content = parse_object(lines[-1]) if lines else None
    summary = (content or {}).get("summary")
    return summary if isinstance(summary, dict) else {}


@dataclass(frozen=True, slots=True)
class LogFacts:
    """What a checkpoint records of the log that proved it."""

    sha256: str
    size: int
    mtime_ns: int


def read_log(path: Path, rules: Rules) -> tuple[LogScan, LogFacts | None]:
    """Read a log once, for its verdict and for its digest; (an empty scan, None) if there is none."""
    scan = LogScan(rules)
    digest = hashlib.sha256()
    try:
        with open_binary(path) as file:
            rest = b""
            while chunk := file.readline(_LONGEST_LINE):
                digest.update(chunk)
                # A progress bar is one "line" of many carriage returns.
                parts = (rest + chunk).rstrip(b"\n").split(b"\r")
                scan.feed(part.decode(errors="replace") for part in parts)
                rest = b"" if chunk.endswith(b"\n") else chunk[-_OVERLAP:]
            state = os.fstat(file.fileno())
    except OSError:
        return scan, None
    return scan, LogFacts(digest.hexdigest(), state.st_size, state.st_mtime_ns)
