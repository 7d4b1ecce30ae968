"""What a worker printed, made harmless for a terminal, however it is cut into pieces."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

from scheduler.config.printable import ESCAPE

# One that has come to its end for sure; the other takes also what a title without an end leaves.
_WHOLE_ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-Z^-~])"
)
_LINE_END = re.compile(r"([\r\n])")
# Characters of one piece of a line that does not end, and of an escape sequence that may go on.
_LONGEST = 1 << 16
_LONGEST_ESCAPE = 256


def harmless(line: str) -> str:
    """Return a line without what a terminal would act upon; a tab stays, other blanks become spaces."""
    if line.isprintable():  # nearly every line
        return line
    return "".join(
        letter if letter.isprintable() or letter == "\t" else " " if letter.isspace() else ""
        for letter in ESCAPE.sub("", line)
    )


class LogText:
    """Bytes of a log in, harmless text out."""

    def __init__(self, prefix: str | None = None) -> None:
        """With a prefix only whole lines come out, each after it."""
        self._prefix = prefix
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        # Of a progress bar: what stands on the line that it writes again and again.
        self._stands = ""

    def feed(self, data: bytes) -> Iterator[str]:
        """Yield what these bytes complete: lines, and pieces of one that is very long."""
        *lines, self._rest = _LINE_END.split(self._rest + self._decoder.decode(data))
        for line, ended_by in zip(lines[::2], lines[1::2], strict=True):
            yield from self._out(harmless(line), ended_by)
        if len(self._rest) > _LONGEST:
            yield from self._out(self._begun(), "\n" if self._prefix is not None else "")

    def pause(self) -> str:
        """Return what has come of a line that has no end yet, if lines need not be whole."""
        return "" if self._prefix is not None else self._begun()

    def end(self) -> Iterator[str]:
        """Yield what there is of a line; nothing follows."""
        rest, self._rest = harmless(self._rest), ""
        if rest or self._stands:
            yield from self._out(rest, "\n" if self._prefix is not None else "")

    def _out(self, line: str, ended_by: str) -> Iterator[str]:
        if self._prefix is None:
            yield line + ended_by
        elif ended_by == "\n":
            yield f"{self._prefix}{line or self._stands}\n"
            self._stands = ""
        else:
            self._stands = line or self._stands

    def _begun(self) -> str:
        """Take the beginning of a line, less an escape sequence that may go on."""
        escape = self._rest.rfind("\x1b", -_LONGEST_ESCAPE)
        if escape < 0 or _WHOLE_ESCAPE.match(self._rest, escape):
            escape = len(self._rest)
        begun, self._rest = self._rest[:escape], self._rest[escape:]
        return harmless(begun)
