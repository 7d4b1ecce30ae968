"""The line at the end of a log that says why a program ended: its exception, not what stands around it."""

from __future__ import annotations

import re
from collections.abc import Sequence

LINES = 400  # at the end of a log in which its cause is looked for
LONGEST = 2000  # characters of such a line that are read

_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(?::|$)")
# Python's own and rich's (in a frame, without the colon); before it may stand what tells processes apart.
_TRACEBACK = re.compile(r"Traceback \(most recent call last\)")
_DIGITS = re.compile(r"\d+")
_FRAME = re.compile(r"\s*\| ")  # around an exception group
# Of exceptions beside the one that ended the program: printed as it goes on, or after its end.
_BESIDE = ("Exception ignored in", "Error in atexit", "--- Logging error", "Exception in thread")
_THROWN = re.compile(r"terminate called after throwing an instance of '([^']+)'")
_WHAT = re.compile(r"\s*what\(\):\s*(.*)")
_TIMEOUT = re.compile(r"Timeout \(\d+:\d\d:\d\d(?:\.\d+)?\)!")  # faulthandler's
# What torch and C++ add below an error: advice, and where they are.
_ADVICE = re.compile(
    r"Search for `cuda|CUDA kernel errors might|For debugging consider|Compile with `TORCH_USE_CUDA_DSA`"
    r"|Device-side assertion|Exception raised from|\s*frame #\d+|\s*File \".*\", line \d+"
    r"|\w+ [Tt]hread 0x|Thread 0x|Extension modules: |(?:Aborted|Killed|Segmentation fault)\b"
)
_ASSERTION = re.compile(r"Assertion `.*` failed")


def last_exception(lines: Sequence[str]) -> str | None:
    """Return the exception that ended a program, in one line, or None if its log shows none.

    Args:
        lines: the end of its log. They may bear a prefix, as launchers of several processes write it.
    """
    ended_by = beside = thrown = None
    prefix: str | None = None  # of the traceback that has begun
    is_beside = False
    before = ""
    for line in lines:
        if (begin := _TRACEBACK.search(line)) is not None:
            prefix = line[: begin.start()]
            is_beside = before.removeprefix(prefix).startswith(_BESIDE)
        elif prefix is not None and (found := _exception(line, prefix)) is not None:
            prefix = None
            if is_beside:
                beside = found
            else:
                ended_by = found
        elif (throw := _THROWN.search(line)) is not None:
            thrown = ended_by = throw[1]
        elif thrown is not None and (what := _WHAT.match(line)) is not None:
            ended_by, thrown = f"{thrown}: {what[1]}", None
        elif ended_by is None and _TIMEOUT.match(line) is not None:
            ended_by = line
        if line.strip():
            before = line
    found = ended_by or beside
    if found is not None and "device-side assert" in found:
        return found + _assertion(lines)
    return found.strip() if found is not None else None


def last_words(lines: Sequence[str]) -> str | None:
    """Return the last line that is neither blank nor advice, or None."""
    return next(
        (line.strip() for line in reversed(lines) if line.strip() and not _ADVICE.match(line)), None
    )


def _exception(line: str, prefix: str) -> str | None:
    """Return the exception that a line of a traceback names; other lines of it are indented."""
    # The same but for its figures, such as a time of day.
    same = _DIGITS.sub(lambda _: r"\d+", re.escape(prefix))
    rest = re.sub(f"^{same}", "", line) if prefix else line
    if rest == line and prefix.endswith("+ Exception Group "):
        rest = _FRAME.sub("", line, count=1)
    return rest.strip() if _EXCEPTION.match(rest) else None


def _assertion(lines: Sequence[str]) -> str:
    """Return what a kernel demanded, in brackets: a CUDA error of a failed assertion does not say it."""
    found = next((match for line in lines if (match := _ASSERTION.search(line))), None)
    return f" ({found[0]})" if found is not None else ""
