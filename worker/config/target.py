"""What is demanded of a judged program, as a ``target.yaml`` says it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from worker.config.yaml_file import read_mapping
from worker.errors import ConfigurationError


@dataclass(frozen=True)
class Target:
    """What is demanded of a program; None: nothing is.

    Attributes:
        speedup: times as fast as without accelerators.
        max_loss: largest relative loss of the CLIP score.
        latency: seconds for one call of the pipeline.
    """

    speedup: float | None = None
    max_loss: float | None = None
    latency: float | None = None


def read_target(data: bytes, name: str) -> Target:
    """Return the target in a YAML file: ``target_speedup``, ``max_loss``, ``latency``.

    Args:
        data: the file's bytes.
        name: the file, in messages.

    Raises:
        ConfigurationError: it is no such file, or a key or value is wrong.
    """
    content = read_mapping(data, name, "target_speedup, max_loss or latency")
    if not content:
        raise ConfigurationError(f"{name} must hold target_speedup, max_loss or latency")
    readers = {"target_speedup": _positive, "max_loss": _share, "latency": _seconds}
    values: dict[str, float] = {}
    for key, value in content.items():
        if key not in readers:
            raise ConfigurationError(f"{name}: unknown key {key!r}; known: {', '.join(readers)}")
        number = readers[key](value)
        if number is None:
            raise ConfigurationError(f"{name}: {key}: {value!r} is no {_KINDS[key]}")
        values[key] = number
    return Target(values.get("target_speedup"), values.get("max_loss"), values.get("latency"))


_KINDS = {
    "target_speedup": "positive number",
    "max_loss": "number from 0 to 1",
    "latency": "duration such as 1.5s or 800ms",
}


def _positive(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if value > 0 and math.isfinite(value) else None


def _share(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0 <= value <= 1 else None


def _seconds(value: object) -> float | None:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m)?", str(value).strip())
    if match is None or float(match[1]) == 0:
        return None
    return float(match[1]) * {"ms": 0.001, "s": 1.0, "m": 60.0, None: 1.0}[match[2]]
