"""What the worker reads as YAML: search sections, targets, weights, maps of models."""

from __future__ import annotations

from typing import Any

from worker.config import strict_yaml
from worker.errors import ConfigurationError

# Which YAML takes for true and false: of a search section, and of a whole sweep file that has one.
_WORDS = (
    ("timing", "off"), ("search.timing", "off"), ("devices.cores", "off"), ("notify", "on")
)  # fmt: skip


def read_mapping(data: bytes, name: str, expected: str) -> dict[str, Any]:
    """Return the mapping in a YAML file's bytes.

    Args:
        data: the file's bytes.
        name: the file, as the user gave it.
        expected: what it should hold, after "expected": ``fields with their weights``.

    Raises:
        ConfigurationError: it is no mapping, or something in it is questionable; each problem is
            a line that begins with the file's name.
    """
    try:
        content, problems = strict_yaml.load(data, _WORDS)
    except strict_yaml.YamlError as error:
        raise ConfigurationError(f"{name}: {error}") from None
    if problems:
        raise ConfigurationError("\n".join(f"{name}: {problem}" for problem in problems))
    if not isinstance(content, dict):
        kinds = {type(None): "is empty", list: "holds a list"}
        found = kinds.get(type(content), "holds a single value")
        raise ConfigurationError(f"{name}: {found}; expected {expected}")
    numbers: dict[str, Any] = strict_yaml.with_numbers(content)
    return numbers
