"""The sections and keys of a sweep file, their types, and what is said where they are broken."""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    PlainValidator,
    StrictBool,
    StrictInt,
    StrictStr,
    Tag,
    ValidationError,
    model_validator,
)

from scheduler.config import sweep as plain
from scheduler.config.cluster.ray import RaySection
from scheduler.config.cluster.slurm import ExecutorSection
from scheduler.config.cluster.values import given
from scheduler.config.hours import AtMost, Hours, SomeHours, hours_of, read_zone
from scheduler.config.matrix.axes import AXES, STRICT, Axis, Value, keys_of
from scheduler.config.matrix.values import Scalar as MatrixScalar
from scheduler.config.placeholders import names_in
from scheduler.config.spelling import Spelling, parse_spelling
from scheduler.config.strict_yaml import Unusable
from scheduler.config.suggest import nearest
from scheduler.config.sweep import Rules
from scheduler.config.units import parse_duration, parse_size


def _scalar(value: object) -> object:
    if not isinstance(value, bool | int | float | str):
        raise ValueError("must be text, a number or true/false")  # noqa: TRY004  # pydantic's
    return value


def _argument(value: object) -> object:
    if isinstance(value, list) and all(
        isinstance(part, bool | int | float | str) for part in value
    ):
        return value
    if not isinstance(value, bool | int | float | str):
        raise ValueError("must be text, a number, true/false or a list of these")  # noqa: TRY004  # pydantic's
    return value


def _device_name(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("must be a device's index or UUID")  # noqa: TRY004  # pydantic's
    return value


def _cores(value: object) -> object:
    if value in ("auto", "off") or (
        isinstance(value, int) and not isinstance(value, bool) and value > 0
    ):
        return value
    raise ValueError("must be auto, off or how many cores each attempt gets (at least 1)")


def _limit(parse: Callable[[object], float]) -> Callable[[object], float | None]:
    def limit(value: object) -> float | None:
        if value == "none":
            return None
        parsed = parse(value)
        if parsed <= 0:
            raise ValueError("a limit of 0 lets nothing run; without a limit, write none")
        return parsed

    return limit


_LONGEST_TO_TELL = 600.0  # seconds; the sweep's lock is held so long at the end

Scalar = Annotated[MatrixScalar, PlainValidator(_scalar)]
Argument = Annotated[MatrixScalar | list[MatrixScalar], PlainValidator(_argument)]
DeviceName = Annotated[int | str, PlainValidator(_device_name)]
Duration = Annotated[float, BeforeValidator(parse_duration)]
Limit = Annotated[float | None, BeforeValidator(_limit(parse_duration))]
LogLimit = Annotated[int | None, BeforeValidator(_limit(parse_size))]
Size = Annotated[int, BeforeValidator(parse_size)]
Name = Annotated[StrictStr, Field(pattern=r"^[A-Za-z_][\w-]*$")]
_Rule = Annotated[dict[StrictStr, Value], Field(min_length=1)]


class _Section(BaseModel):
    model_config = STRICT


class _Name(_Section):
    sweep: StrictStr | None = None
    task: Annotated[StrictStr, Field(min_length=1)] | None = None


def _name(value: object) -> object:
    """A text with axes in braces names the tasks, any other the sweep."""
    if isinstance(value, dict | _Name):
        return value
    return {"task" if isinstance(value, str) and any(names_in(value)) else "sweep": value}


class _Spelling(_Section):
    option: StrictStr
    if_true: StrictStr | None = None
    if_false: StrictStr | None = None

    @model_validator(mode="after")
    def _check(self) -> _Spelling:
        self.parsed()
        return self

    def parsed(self) -> Spelling:
        return parse_spelling(self.option, self.if_true, self.if_false)


def _spelling(value: object) -> object:
    return {"option": value} if not isinstance(value, dict) else value


def _preload(value: object) -> str:
    parts = value.split(".") if isinstance(value, str) else [""]
    if not all(part.isidentifier() for part in parts):
        raise ValueError("must be auto, off, or the name of a module to load, as in package.module")
    return str(value)


class _Worker(_Section):
    command: Annotated[list[StrictStr], Field(min_length=1)] = list(plain.DEFAULT_COMMAND)
    check: Annotated[list[StrictStr], Field(min_length=1)] | None = None
    args: dict[Name, Argument] = {}
    env: dict[Name, Scalar] = {}
    spelling: Annotated[_Spelling, BeforeValidator(_spelling)] | None = None
    reuses_results: StrictBool | None = None
    timed: StrictBool | None = None
    preload: Annotated[str, PlainValidator(_preload)] = "auto"


def _share_of_memory(value: object) -> int:
    size = parse_size(value)
    if size <= 0:
        raise ValueError("must be more than nothing: what one attempt needs, as in 20GiB")
    return size


class _Share(_Section):
    memory: Annotated[int, BeforeValidator(_share_of_memory)]
    at_most: Annotated[
        Annotated[StrictInt, Field(ge=1, le=plain.MOST_SHARERS)] | None, BeforeValidator(given)
    ] = None
    mps: StrictBool = False


def _per_task(value: object) -> object:
    if plain.is_device_count(value) or (isinstance(value, str) and value):
        return value
    raise ValueError(
        "must be how many devices each task has at once (at least 1), or the axis whose values say so"
    )


class _Devices(_Section):
    max_utilization: Annotated[StrictInt, Field(ge=0, le=100)] = 5
    min_free_memory: Size = 2**30
    idle_for: Duration = 3.0
    cpu_slots: Annotated[StrictInt, Field(ge=1, le=4096)] | None = None
    only: list[DeviceName] = []
    exclude: list[DeviceName] = []
    cores: Annotated[plain.CoreSetting, PlainValidator(_cores)] = "auto"
    share: Annotated[_Share | None, BeforeValidator(given)] = None
    per_task: Annotated[int | str, PlainValidator(_per_task)] = 1
    at_most: Annotated[AtMost | None, BeforeValidator(given)] = None
    zone: Annotated[str | None, BeforeValidator(read_zone)] = None

    @property
    def limit(self) -> int | Hours | None:
        """How many devices may be in use at once."""
        return hours_of(self.at_most, self.zone) if isinstance(self.at_most, list) else self.at_most

    @property
    def demands(self) -> tuple[str, ...]:
        """The keys that are given and demand something of GPUs: a CPU slot fulfils none of them."""
        given = self.model_fields_set - {"cpu_slots", "cores", "at_most", "zone"}
        return tuple(name for name in type(self).model_fields if name in given)


def _halve(value: object) -> object:
    if value != "halve":
        raise ValueError("must be halve (the one remedy there is)")
    return value


def _stop_after(value: object) -> object:
    if value == "none":
        return None
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    raise ValueError("must be how many tasks (at least 1), or none")


class _Retries(_Section):
    max_attempts: Annotated[StrictInt, Field(ge=1, le=1000)] = 3
    backoff: Duration = 30.0
    on_oom: dict[StrictStr, Annotated[str, BeforeValidator(_halve)]] = {}
    stop_after: Annotated[int | None, PlainValidator(_stop_after)] = (
        plain.RetrySettings().stop_after
    )


def _occasion(value: object) -> object:
    occasions = get_args(plain.Occasion)
    if value not in occasions:
        raise ValueError(f"must be {', '.join(occasions[:-1])} or {occasions[-1]}")
    return value


def _time_to_tell(value: object) -> float:
    seconds = parse_duration(value)
    if not 0 < seconds <= _LONGEST_TO_TELL:
        raise ValueError("must be more than 0 s and at most 10 min")
    return seconds


class _Limits(_Section):
    timeout: Limit = None
    stall: Limit = None
    log: LogLimit = plain.Limits().log


class _Notify(_Section):
    command: Annotated[list[Annotated[StrictStr, Field(min_length=1)]], Field(min_length=1)]
    on: Annotated[
        list[Annotated[plain.Occasion, PlainValidator(_occasion)]], Field(min_length=1)
    ] = list(get_args(plain.Occasion))
    timeout: Annotated[float, BeforeValidator(_time_to_tell)] = 10.0

    def settings(self) -> plain.NotifySettings:
        return plain.NotifySettings(tuple(self.command), tuple(self.on), self.timeout)


def _tracker(value: object) -> object:
    if value not in ("mlflow", "wandb", "trackio"):
        raise ValueError("must be mlflow, wandb or trackio")
    return value


class _Track(_Section):
    to: Annotated[Literal["mlflow", "wandb", "trackio"], PlainValidator(_tracker)]
    project: Annotated[StrictStr, Field(min_length=1)] | None = None
    timeout: Annotated[float, BeforeValidator(_time_to_tell)] = 60.0

    def settings(self, sweep: str) -> plain.TrackSettings:
        """Return it as plain data; without a project of its own it has the sweep's name."""
        return plain.TrackSettings(self.to, self.project or sweep, self.timeout)


class _Validate(_Section):
    success: Annotated[StrictStr, Field(min_length=1)] = Rules().success
    failure: list[Annotated[StrictStr, Field(min_length=1)]] = list(Rules().failure)


def _order(value: object) -> plain.Order | None:
    match value:
        case "axes":
            return None
        case "longest first" | "random":
            return plain.Order(value)
        case {"random": int(seed), **rest} if not rest and not isinstance(seed, bool):
            return plain.Order("random", seed)
    raise ValueError(
        "must be axes, longest first, random, or {random: 7} with a number of your own"
    )


def _priority(value: object) -> int:
    most = plain.MOST_PRIORITY
    if isinstance(value, int) and not isinstance(value, bool) and -most <= value <= most:
        return value
    raise ValueError(f"must be a whole number from {-most} to {most}; more goes first")


def _engine(value: object) -> str:
    """Return which cluster's keys a section has; one of neither kind is complained of as Slurm's."""
    is_ray = isinstance(value, dict) and value.get("kind") == "ray"
    return "for ray" if is_ray or isinstance(value, RaySection) else "for slurm"


_Cluster = Annotated[
    Annotated[ExecutorSection, Tag("for slurm")] | Annotated[RaySection, Tag("for ray")],
    Discriminator(_engine),
]


class SweepSection(_Section):
    name: Annotated[_Name, BeforeValidator(_name)] = _Name()
    matrix: Annotated[dict[StrictStr, Axis], Field(min_length=1)]
    order: Annotated[plain.Order | None, PlainValidator(_order)] = None
    priority: Annotated[int, PlainValidator(_priority)] = 0
    exclude: list[_Rule] = []
    include: list[_Rule] = []
    worker: _Worker = _Worker()
    devices: _Devices = _Devices()
    retries: _Retries = _Retries()
    limits: _Limits = _Limits()
    validation: Annotated[_Validate, Field(alias="validate")] = _Validate()
    notify: _Notify | None = None
    track: Annotated[_Track | None, BeforeValidator(given)] = None
    executor: Annotated[_Cluster | None, BeforeValidator(given)] = None
    search: Any = None


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
    "": SweepSection, "worker": _Worker, "devices": _Devices, "retries": _Retries,
    "limits": _Limits, "validate": _Validate, "notify": _Notify, "track": _Track, "executor": ExecutorSection,
    "name": _Name,
}  # fmt: skip
_NESTED: dict[tuple[str | int, ...], type[BaseModel]] = {
    ("worker", "spelling"): _Spelling, ("devices", "share"): _Share, ("devices", "at_most"): SomeHours,
}  # fmt: skip


def _unknown_key(location: Sequence[str | int], of_model: Sequence[str | int]) -> str:
    first = str(location[0]) if len(location) > 1 else ""
    sections = AXES.values() if first == "matrix" else [_SECTIONS.get(first, SweepSection)]
    if "for ray" in of_model:
        sections = [RaySection]
    if (nested := _NESTED.get(tuple(location[:2]))) is not None and len(location) > 2:
        sections = [nested]
    names = [name for section in sections for name in sorted(keys_of(section))]
    return f"unknown key{nearest(location[-1], names)}"
