"""Logs and results files, read once for all that is to be known of them.

A log may be long, and nearly none of its lines matters. So it is read in blocks of whole lines, each searched
for everything that matters at once, by the regular expressions that pydantic brings (Rust's: about ten times
as fast as `re` at this). Only the lines around a hit are taken apart; what they mean, `LogScan` knows.
"""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from pydantic_core import SchemaValidator, core_schema

from scheduler.config.sweep import Rules
from scheduler.core import log_ending
from scheduler.core.verdict import TRACEBACK, LogScan, ends_traceback
from scheduler.storage.json_files import parse_object
from scheduler.storage.regular_files import open_binary

_SUMMARY_TAIL = 1 << 18  # bytes of a results file in which its last line, the summary, must lie
# A line that is longer than a block is read in pieces, so that memory stays small. Each piece repeats the
# end of the one before, so that no pattern is cut in two.
_BLOCK = 1 << 18  # bytes
_OVERLAP = 1 << 10  # bytes
_LONG = 1 << 26  # bytes
_ENDING = 1 << 16  # bytes, in whose last lines the cause of an end is looked for
_FEW = 1 << 12  # bytes, whose lines are rather read than searched any further

# What is searched is ASCII, for Rust wants text; any other byte becomes this one, in the patterns too.
_OTHER = 0x1A
_TO_ASCII = bytes(range(128)) + bytes([_OTHER]) * 128
# A progress bar is one "line" of many carriage returns.
_LINE_END = re.compile(rb"[\r\n]")
_BLANKS = bytes(code for code in range(128) if chr(code).isspace())
_TRACEBACK = TRACEBACK.encode()
# What each line holds that `ends_traceback`.
_EXCEPTION = rf"^[A-Za-z_][\w.\x{_OTHER:02x}]*(?:[:\r\n]|$)"


class ReadingStopped(Exception):  # noqa: N818  # no fault
    """A log was not read to its end, since nobody waits for it any more."""


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


def breaks_off(log: Path) -> bool:
    """Say whether a log is there and empty, or its last line has no end."""
    try:
        with open_binary(log) as file:
            if file.seek(0, os.SEEK_END) == 0:
                return True
            file.seek(-1, os.SEEK_END)
            return file.read(1) not in (b"\n", b"\r")
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class LogFacts:
    """What a checkpoint records of the log that proved it; one of the digests is there."""

    size: int
    mtime_ns: int
    sha256: str | None = None
    # Of a log of `_LONG` bytes or more: it is to tell a log from others, and a tenth of the work.
    crc32: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return what a checkpoint says of it."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def read_log(
    path: Path, rules: Rules, stopped: Callable[[], bool] = lambda: False
) -> tuple[LogScan, LogFacts | None]:
    """Read a log once, for its verdict and for its digest; (an empty scan, None) if there is none.

    Args:
        path: the log.
        rules: what its lines mean.
        stopped: asked before each block whether to leave.

    Raises:
        ReadingStopped: it was.
    """
    search = _Search(rules)
    try:
        with open_binary(path) as file:
            digest = _crc32 if os.fstat(file.fileno()).st_size >= _LONG else _sha256
            facts = digest(file, search.block, stopped)
            search.scan.ending.extend(_ending(file, facts.size))
    except OSError:
        return LogScan(rules), None
    search.end()
    return search.scan, facts


def is_log(path: Path, sha256: object, crc32: object) -> bool:
    """Say whether the log at ``path`` is the one of these digests, of which one is None."""
    try:
        with open_binary(path) as file:
            if crc32 is not None:
                return _crc32(file).crc32 == crc32
            return _sha256(file).sha256 == sha256
    except OSError:
        return False


Take = Callable[[bytes], object]
Stopped = Callable[[], bool]


def _sha256(
    file: BinaryIO, take: Take = lambda _: None, stopped: Stopped = lambda: False
) -> LogFacts:
    digest = hashlib.sha256()
    for block in _blocks(file, stopped):
        digest.update(block)
        take(block)
    state = os.fstat(file.fileno())
    return LogFacts(state.st_size, state.st_mtime_ns, sha256=digest.hexdigest())


def _crc32(
    file: BinaryIO, take: Take = lambda _: None, stopped: Stopped = lambda: False
) -> LogFacts:
    digest = 0
    for block in _blocks(file, stopped):
        digest = zlib.crc32(block, digest)
        take(block)
    state = os.fstat(file.fileno())
    return LogFacts(state.st_size, state.st_mtime_ns, crc32=f"{digest:08x}")


def _ending(file: BinaryIO, size: int) -> Iterator[str]:
    """Yield the last lines of a log, long ones cut."""
    begin = max(0, size - _ENDING)
    lines = _LINE_END.split(os.pread(file.fileno(), _ENDING, begin).removesuffix(b"\n"))
    for line in lines[1 if begin and len(lines) > 1 else 0 :]:
        yield line.decode(errors="replace")[: log_ending.LONGEST]


def _blocks(file: BinaryIO, stopped: Stopped) -> Iterator[bytes]:
    """Yield a file in blocks of whole lines; one that is longer than a block in pieces."""
    at, descriptor = 0, file.fileno()
    while block := os.pread(descriptor, _BLOCK, at):
        if stopped():
            raise ReadingStopped
        if len(block) == _BLOCK and (end := block.rfind(b"\n") + 1):
            block = block[:end]
        at += len(block)
        yield block


class _Search:
    """What `LogScan.feed` finds in the lines of a log, found block by block."""

    def __init__(self, rules: Rules) -> None:
        self.scan = LogScan(rules)
        # The end of the last piece of a line that goes on.
        self._rest = b""
        # The last block that is not blank.
        self._last = b""

    def block(self, block: bytes) -> None:
        """Read the next lines, or the next piece of a line."""
        text = _Text(self._rest + block if self._rest else block)
        self._rest = b"" if block.endswith(b"\n") else block[-_OVERLAP:]
        for line in text.lines_with(lambda: _patterns(*self.scan.wanted())):
            self.scan.look_for_firsts(line)
        self._follow_tracebacks(text)
        if not text.is_blank():
            self._last = text.raw

    def end(self) -> None:
        """The log is over."""
        self.scan.last_line = _last_line(self._last)

    def _follow_tracebacks(self, text: _Text) -> None:
        """Find the last line of the last traceback: from behind, for only that one counts."""
        scan, end = self.scan, len(text.raw)
        was_in_traceback = scan.in_traceback
        begins = -1
        if text.holds(_patterns((TRACEBACK,), ()), 0, end):
            begins = text.raw.rfind(_TRACEBACK)
            scan.in_traceback = True
        is_last = True
        while begins >= 0:
            first, after = text.line_at(begins)
            if (line := text.exception(after, end)) is not None:
                scan.exception, scan.in_traceback = line, scan.in_traceback and not is_last
                return
            end, is_last = first, False
            begins = text.raw.rfind(_TRACEBACK, 0, end)
        if was_in_traceback and (line := text.exception(0, end)) is not None:
            scan.exception, scan.in_traceback = line, scan.in_traceback and not is_last


class _Text:
    """Some bytes of a log, from the start of a line."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        # Of the same length.
        self._ascii = raw if raw.isascii() else raw.translate(_TO_ASCII)

    def holds(self, patterns: tuple[str, ...], start: int, end: int) -> bool:
        """Say whether one of the patterns, made by `_patterns`, is found there."""
        return bool(patterns) and _matcher(patterns).isinstance_python(self._ascii[start:end])

    def lines_with(
        self, patterns: Callable[[], tuple[str, ...]], start: int = 0, end: int | None = None
    ) -> Iterator[str]:
        """Yield the lines between two line ends that hold one of the patterns, and a few around them.

        Args:
            patterns: asked for again and again, since a line may end the need of another.
            start: where a line begins.
            end: where one ends.
        """
        end = len(self.raw) if end is None else end
        if not self.holds(patterns(), start, end):
            return
        middle = self._middle(start, end) if end - start > _FEW else end
        if start < middle < end:
            yield from self.lines_with(patterns, start, middle)
            yield from self.lines_with(patterns, middle, end)
            return
        for line in _LINE_END.split(self.raw[start:end]):
            yield line.decode(errors="replace")

    def exception(self, start: int, end: int) -> str | None:
        """Return the first line there that ends a traceback, or None."""
        lines = self.lines_with(lambda: _patterns((), (_EXCEPTION,)), start, end)
        return next((line.strip() for line in lines if ends_traceback(line)), None)

    def line_at(self, position: int) -> tuple[int, int]:
        """Return where the line around a position begins, and where it ends."""
        after = _LINE_END.search(self.raw, position)
        return self._begin(0, position), after.start() if after else len(self.raw)

    def is_blank(self) -> bool:
        """Say whether there are no lines but blank ones."""
        rest = self.raw.rstrip(_BLANKS)
        # The last character is in its last four bytes, wherever these begin.
        if rest and not rest[-4:].decode(errors="replace")[-1].isspace():
            return False
        return _last_line(rest) is None

    def _middle(self, start: int, end: int) -> int:
        half = (start + end) // 2
        before = self._begin(start, half)
        if before > start:
            return before
        after = _LINE_END.search(self.raw, half, end)
        return after.end() if after else end

    def _begin(self, start: int, position: int) -> int:
        """Return where the line around a position begins, if that is after ``start``, else ``start``."""
        ends = (self.raw.rfind(end, start, position) for end in (b"\n", b"\r"))
        return max(max(ends) + 1, start)


def _last_line(raw: bytes) -> str | None:
    """Return the last line that is not blank, without what surrounds it."""
    lines = (line.decode(errors="replace").strip() for line in reversed(_LINE_END.split(raw)))
    return next((line for line in lines if line), None)


@lru_cache(maxsize=64)
def _patterns(texts: tuple[str, ...], expressions: tuple[str, ...]) -> tuple[str, ...]:
    """Return patterns for `_Text.holds` that find each line with one of these, and maybe others."""
    begins = [expression.replace("^", r"(?:^|[\r\n])") for expression in expressions]
    return (*map(_literal, texts), *begins)


@lru_cache(maxsize=256)
def _literal(text: str) -> str:
    return "".join(rf"\x{ord(c):02x}" if c.isascii() else rf"\x{_OTHER:02x}+" for c in text)


@lru_cache(maxsize=64)
def _matcher(patterns: tuple[str, ...]) -> SchemaValidator:
    return SchemaValidator(core_schema.str_schema(pattern="|".join(f"(?:{p})" for p in patterns)))
