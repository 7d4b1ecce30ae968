"""What is said of a sweep file that breaks its form, and what is left of it without the faulty entries."""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from scheduler.config.cluster.ray import RaySection
from scheduler.config.cluster.slurm import ExecutorSection
from scheduler.config.hours import SomeHours
from scheduler.config.matrix.axes import AXES, keys_of
from scheduler.config.schema.sections import (
    DevicesSection,
    LimitsSection,
    NameSection,
    NotifySection,
    RetriesSection,
    ShareSection,
    SpellingSection,
    SweepSection,
    TrackSection,
    ValidateSection,
    WorkerSection,
)
from scheduler.config.strict_yaml import Unusable
from scheduler.config.suggest import nearest

_MISSING = {
    "matrix": "is missing; it names the axes and their values, as in {pipe: [SD15], steps: [20, 50]}",
    "glob": 'is missing; it is a pattern of paths, as in {glob: "cases/*"}',
    **dict.fromkeys(("from", "to", "by"), "is missing; a range is {from: 0, to: 1, by: 0.25}"),
    "option": 'is missing; it is a template, as in {option: "--{name} {value}"}',
    **dict.fromkeys(("log", "n"), "is missing; such a range is {log: [1e-5, 1e-2], n: 4}"),
    "command": "is missing; it is a program and its words, as in [python, tell.py]",
    "gpus": "is missing; it is how many devices may be in use at those hours, as in {gpus: 8}",
    "kind": "is missing; it is slurm or ray",
    "address": "is missing; it is the head's address and port, as in 10.0.0.1:6379",
    "track.to": "is missing; it is mlflow, wandb or trackio",
    "time": "is missing; it is how long one attempt may take, as in 4h",
    "memory": "is missing; it is what one attempt needs of a device's memory, as in {memory: 20GiB}",
}
_EXPECTED = {
    "too_short": "is empty; it needs at least one entry",
    "string_too_short": "is empty; it needs at least one character",
    "string_type": "must be text",
    "string_pattern_mismatch": "is no name that can be used here; use letters, digits and _",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "list_type": "must be a list, as in [a, b]",
    "dict_type": "must be a mapping, as in {{key: value}}",
    "model_type": "must be a mapping, as in {{key: value}}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
}


def sentences(content: dict[str, Any], error: ValidationError) -> Iterator[str]:
    """Turn pydantic's findings into sentences that name key, expectation and remedy."""
    for finding in error.errors(include_url=False):
        if isinstance(finding["input"], Unusable):
            continue  # the reader has said what is wrong with it
        location = list(_existing(content, finding["loc"]))
        kind, got = finding["type"], finding["input"]
        if kind == "missing":
            location.append(str(finding["loc"][-1]))
            what = _MISSING.get(_spell(location)) or _MISSING[str(location[-1])]
        elif kind == "extra_forbidden":
            what = _unknown_key(location, finding["loc"])
        elif got is None:
            what = "is empty; give it a value or remove it"
        else:
            what = _EXPECTED.get(kind, finding["msg"].removeprefix("Value error, "))
            what = what.format(**finding.get("ctx", {})) if kind in _EXPECTED else what
            if what.startswith("must be ") and not isinstance(got, dict | list):
                what += f", not {got!r}"
        yield f"{_spell(location)}: {what}"


def _spell(location: Sequence[str | int]) -> str:
    """Return a key as people write it: ``exclude[2].pipe``."""
    plain_name = re.compile(r"[\w-]+")
    parts = [
        f".{part}" if isinstance(part, str) and plain_name.fullmatch(part) else f"[{part!r}]"
        for part in location
    ]
    return "".join(parts).removeprefix(".")


def hides_the_worker(content: dict[str, Any], error: ValidationError) -> bool:
    """Say whether a fault leaves open what the worker would say: which program it is, or of which tasks."""
    found = [tuple(_existing(content, f["loc"])) for f in error.errors(include_url=False)]
    return any(
        path[:1] == ("matrix",)
        or (path[:1] == ("worker",) and path[1:2] not in (("args",), ("env",), ("spelling",)))
        for path in found
    )


# Entries that a fault takes with it, by how their keys begin: how many parts these have.
_WHOLE: dict[Sequence[str | int], int] = {
    ("exclude",): 2, ("include",): 2, ("notify",): 1, ("track",): 1, ("executor",): 1,
    ("devices", "share"): 2, ("devices", "at_most"): 2,
}  # fmt: skip


def without_faults(content: dict[str, Any], error: ValidationError) -> dict[str, Any]:
    """Return a copy of ``content`` less the entries that ``error`` complains of.

    An axis is left as it is: without it, all that speaks of it would look wrong too. In the place of
    a value of the wrong type stands a text.
    """
    rest = copy.deepcopy(content)
    found = [tuple(_existing(rest, f["loc"])) for f in error.errors(include_url=False)]
    # Half a rule would be another rule, and what tells nobody of nothing needs no command.
    paths = {
        path[: _WHOLE.get(path[:1]) or _WHOLE.get(path[:2], len(path))] for path in found if path
    }
    if ("devices", "at_most") in paths and "zone" in rest["devices"]:
        paths.add(("devices", "zone"))  # without hours it would look wrong
    # Last entries first, so that the indices of a list's earlier entries stay true.
    for path in sorted(paths, reverse=True):
        *way, key = path
        holder: Any = functools.reduce(lambda node, part: node[part], way, cast(Any, rest))
        if _is_axis_value(path):
            holder[key] = f"?{key}"
        elif path[0] != "matrix":
            del holder[key]
    return rest


def _is_axis_value(path: Sequence[str | int]) -> bool:
    return path[:1] == ("matrix",) and len(path) == 3 and isinstance(path[2], int)


def _existing(content: Mapping[str, Any], location: Sequence[Any]) -> Iterator[str | int]:
    """Yield the parts of pydantic's ``location`` that are keys of the file, not its own words."""
    node: Any = content
    for part in location:
        if (isinstance(node, dict) and part in node) or (
            isinstance(node, list) and isinstance(part, int) and part < len(node)
        ):
            node = node[part]
            yield part


_SECTIONS: dict[str, type[BaseModel]] = {
    "": SweepSection, "name": NameSection, "worker": WorkerSection, "devices": DevicesSection,
    "retries": RetriesSection, "limits": LimitsSection, "validate": ValidateSection,
    "notify": NotifySection, "track": TrackSection, "executor": ExecutorSection,
}  # fmt: skip
_NESTED: dict[tuple[str | int, ...], type[BaseModel]] = {
    ("worker", "spelling"): SpellingSection,
    ("devices", "share"): ShareSection,
    ("devices", "at_most"): SomeHours,
}


def _unknown_key(location: Sequence[str | int], of_model: Sequence[str | int]) -> str:
    first = str(location[0]) if len(location) > 1 else ""
    sections = AXES.values() if first == "matrix" else [_SECTIONS.get(first, SweepSection)]
    if "for ray" in of_model:
        sections = [RaySection]
    if (nested := _NESTED.get(tuple(location[:2]))) is not None and len(location) > 2:
        sections = [nested]
    names = [name for section in sections for name in sorted(keys_of(section))]
    return f"unknown key{nearest(location[-1], names)}"
