"""Numbers as people write them on a command line or in a sweep file, with their limits.

Each reader raises a ValueError whose message is a sentence for the user.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

LARGEST_SEED = 2**62
MOST_IMAGES = 10**6
# The features are so many numbers: the covariance of fewer images has no full rank.
FEWEST_IMAGES_FOR_FID = 2048


@dataclass(frozen=True)
class WholeNumber:
    """A whole number and its limits; called with a text, or with a value from YAML, it reads it."""

    least: int
    most: int
    default: int | None = None

    def __call__(self, value: object) -> int:
        """Return the number.

        Raises:
            ValueError: it is none, too small or too large.
        """
        number = None if isinstance(value, bool) else digits(str(value))
        if number is None or number < self.least:
            raise ValueError(f"expected a whole number from {self.least} on, found {value!r}")
        if number > self.most:
            raise ValueError(f"expected at most {self.most}, found {value!r}")
        return number


_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d)", re.ASCII)
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,9})?) *%", re.ASCII)

COUNT = WholeNumber(1, MOST_IMAGES)
# the numbers of a task, by the flags of `python -m worker search`
TASK_NUMBERS: Mapping[str, WholeNumber] = {
    "steps": COUNT,  # how many there can be, the noise scheduler says
    "num_samples": WholeNumber(1, MOST_IMAGES, 32),
    "batch_size": WholeNumber(1, MOST_IMAGES, 4),
    "seed": WholeNumber(0, LARGEST_SEED, 0),
    "confirm": WholeNumber(0, MOST_IMAGES, 0),
}


def digits(text: str) -> int | None:
    """Return the number that a text of digits is, None if it is no such text."""
    # Python itself refuses to read numbers of thousands of digits
    return int(text) if text.isdecimal() and len(text) < 100 else None


def share(text: str) -> float:
    """Read a number from 0 to 1.

    Raises:
        ValueError: it is none.
    """
    value = _decimal(text)
    if not 0 <= value <= 1:
        raise ValueError(f"{text!r} is not a number from 0 to 1")
    return value


def positive(text: str) -> float:
    """Read a number above 0.

    Raises:
        ValueError: it is none, or above a billion.
    """
    value = _decimal(text)
    if not 0 < value <= 1e9:
        raise ValueError(f"{text!r} is not a number above 0, of at most 1e9")
    return value


def seconds(text: str) -> float:
    """Read a number of seconds.

    Raises:
        ValueError: it is none, or a million and more.
    """
    value = _decimal(text)
    if not 0 < value < 1e6:
        raise ValueError(f"{text!r} is not a number of seconds")
    return value


def duration(text: object) -> float:
    """Read a duration such as ``30s`` or ``1h30m``, as a sweep file has it, and return its seconds.

    Raises:
        ValueError: it is none; a bare number is refused, since its unit is a guess.
    """
    parts = _PART.findall(text) if isinstance(text, str) else []
    if parts and not _PART.sub("", str(text)).strip():
        found = sum(float(number) * _SECONDS[unit] for number, unit in parts)
        if not math.isfinite(found):
            raise ValueError("is too large a number")
        return found
    raise ValueError(
        f"{text!r} is not a duration: write a number and its unit, as in 30s, 10m or 12h"
    )


def percentage(value: object) -> float:
    """Read a percentage, ``2%`` or 0.02, and return it as a share.

    Raises:
        ValueError: it is none, or not above 0 and below 100 %.
    """
    percent = _PERCENT.fullmatch(value.strip()) if isinstance(value, str) else None
    found = float(f"{percent[1]}e-2") if percent else value
    if not isinstance(found, float) or not 0 < found < 1:
        raise ValueError(
            f"expected more than 0% and less than 100%, as 2% or 0.02, found {value!r}"
        )
    return found


def size(text: str) -> int:
    """Read a size such as ``24GiB`` and return its bytes.

    Raises:
        ValueError: it is none, or less than 1 MiB.
    """
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?) *([MG])iB", text.strip(), re.ASCII)
    value = 0 if match is None else round(float(match[1]) * {"M": 2**20, "G": 2**30}[match[2]])
    if value < 2**20:
        raise ValueError(f"{text!r} is not a size such as 24GiB or 800MiB")
    return value


def _decimal(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
