"""Durations, sizes and lists of CPUs as they are written: ``1h30m``; ``24GiB``, ``500 MB``; ``0-3,8``."""

from __future__ import annotations

import math
import re
from collections.abc import Collection

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST = 1e11  # seconds that are shown: three thousand years
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d)", re.ASCII)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b", re.ASCII | re.IGNORECASE)


def parse_duration(text: object) -> float:
    """Return the seconds that ``text`` stands for.

    Raises:
        ValueError: ``text`` is not a duration; a bare number is refused, since its unit is a guess.
    """
    parts = _PART.findall(text) if isinstance(text, str) else []
    if parts and not _PART.sub("", str(text)).strip():
        return _finite(sum(float(number) * _SECONDS[unit] for number, unit in parts))
    raise ValueError(
        f"{text!r} is not a duration: write a number and its unit, as in 30s, 10m or 12h"
    )


def parse_size(text: object) -> int:
    """Return the bytes that ``text`` stands for.

    Raises:
        ValueError: ``text`` is not a size; a bare number is refused, since its unit is a guess.
    """
    if isinstance(text, str) and (match := _SIZE.fullmatch(text.strip())):
        number, prefix, binary = match.groups()
        unit = (1024 if binary else 1000) ** " kmgt".index(prefix.lower() or " ")
        return int(_finite(float(number) * unit))
    raise ValueError(f"{text!r} is not a size: write a number and its unit, as in 24GiB or 500MB")


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError("is too large a number")
    return number


def format_duration(seconds: float) -> str:
    """Return ``seconds`` in the units that matter: ``4.2 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if not abs(seconds) < _LONGEST:  # of a damaged line in the journal
        return "?"
    seconds = max(0.0, seconds)  # the time of day was set back
    if seconds < 59.95:  # more would read 60.0
        return f"{seconds:.1f} s"
    whole = int(seconds + 0.05)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def format_size(number: float) -> str:
    """Return ``number`` bytes in binary units: ``512 MiB``, ``23.5 GiB``."""
    gib = number / 2**30
    return f"{gib:.1f} GiB" if gib >= 1 else f"{number / 2**20:.0f} MiB"


def parse_cpus(text: str) -> frozenset[int]:
    """Return the CPUs of a list as the kernel writes it: ``0-3,8``.

    Raises:
        ValueError: it is no such list.
    """
    cpus: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, dash, last = part.partition("-")
        cpus.update(range(int(first), int(last if dash else first) + 1))
    return frozenset(cpus)


def format_cpus(cpus: Collection[int]) -> str:
    """Return CPUs as the kernel writes a list of them: ``0-3,8``."""
    parts: list[str] = []
    ordered = sorted(cpus)
    while ordered:
        length = next((n for n, cpu in enumerate(ordered) if cpu != ordered[0] + n), len(ordered))
        first, last = ordered[0], ordered[length - 1]
        parts.append(str(first) if first == last else f"{first}-{last}")
        ordered = ordered[length:]
    return ",".join(parts)
