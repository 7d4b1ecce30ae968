"""The sections and keys of a sweep file, and their types."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

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
    model_validator,
)

from scheduler.config import sweep as plain
from scheduler.config.cluster.ray import RaySection
from scheduler.config.cluster.slurm import ExecutorSection
from scheduler.config.cluster.values import given
from scheduler.config.hours import AtMost, Hours, hours_of, read_zone
from scheduler.config.matrix.axes import STRICT, Axis, Value
from scheduler.config.placeholders import names_in
from scheduler.config.schema.values import (
    Argument,
    DeviceName,
    Duration,
    Limit,
    LogLimit,
    Name,
    Scalar,
    Size,
    TimeToTell,
)
from scheduler.config.spelling import Spelling, parse_spelling
from scheduler.config.sweep import Rules
from scheduler.config.units import parse_size

_Rule = Annotated[dict[StrictStr, Value], Field(min_length=1)]


class _Section(BaseModel):
    model_config = STRICT


class NameSection(_Section):
    sweep: StrictStr | None = None
    task: Annotated[StrictStr, Field(min_length=1)] | None = None


def _name(value: object) -> object:
    """A text with axes in braces names the tasks, any other the sweep."""
    if isinstance(value, dict | NameSection):
        return value
    return {"task" if isinstance(value, str) and any(names_in(value)) else "sweep": value}


class SpellingSection(_Section):
    option: StrictStr
    if_true: StrictStr | None = None
    if_false: StrictStr | None = None

    @model_validator(mode="after")
    def _check(self) -> SpellingSection:
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


class WorkerSection(_Section):
    command: Annotated[list[StrictStr], Field(min_length=1)] = list(plain.DEFAULT_COMMAND)
    check: Annotated[list[StrictStr], Field(min_length=1)] | None = None
    args: dict[Name, Argument] = {}
    env: dict[Name, Scalar] = {}
    spelling: Annotated[SpellingSection, BeforeValidator(_spelling)] | None = None
    reuses_results: StrictBool | None = None
    timed: StrictBool | None = None
    preload: Annotated[str, PlainValidator(_preload)] = "auto"


def _share_of_memory(value: object) -> int:
    size = parse_size(value)
    if size <= 0:
        raise ValueError("must be more than nothing: what one attempt needs, as in 20GiB")
    return size


class ShareSection(_Section):
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


def _cores(value: object) -> object:
    if value in ("auto", "off") or (
        isinstance(value, int) and not isinstance(value, bool) and value > 0
    ):
        return value
    raise ValueError("must be auto, off or how many cores each attempt gets (at least 1)")


class DevicesSection(_Section):
    max_utilization: Annotated[StrictInt, Field(ge=0, le=100)] = 5
    min_free_memory: Size = 2**30
    idle_for: Duration = 3.0
    cpu_slots: Annotated[StrictInt, Field(ge=1, le=4096)] | None = None
    only: list[DeviceName] = []
    exclude: list[DeviceName] = []
    cores: Annotated[plain.CoreSetting, PlainValidator(_cores)] = "auto"
    share: Annotated[ShareSection | None, BeforeValidator(given)] = None
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


class RetriesSection(_Section):
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


class LimitsSection(_Section):
    timeout: Limit = None
    stall: Limit = None
    log: LogLimit = plain.Limits().log


class NotifySection(_Section):
    command: Annotated[list[Annotated[StrictStr, Field(min_length=1)]], Field(min_length=1)]
    on: Annotated[
        list[Annotated[plain.Occasion, PlainValidator(_occasion)]], Field(min_length=1)
    ] = list(get_args(plain.Occasion))
    timeout: TimeToTell = 10.0

    def settings(self) -> plain.NotifySettings:
        return plain.NotifySettings(tuple(self.command), tuple(self.on), self.timeout)


def _tracker(value: object) -> object:
    if value not in ("mlflow", "wandb", "trackio"):
        raise ValueError("must be mlflow, wandb or trackio")
    return value


class TrackSection(_Section):
    to: Annotated[Literal["mlflow", "wandb", "trackio"], PlainValidator(_tracker)]
    project: Annotated[StrictStr, Field(min_length=1)] | None = None
    timeout: TimeToTell = 60.0

    def settings(self, sweep: str) -> plain.TrackSettings:
        """Return it as plain data; without a project of its own it has the sweep's name."""
        return plain.TrackSettings(self.to, self.project or sweep, self.timeout)


class ValidateSection(_Section):
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
    name: Annotated[NameSection, BeforeValidator(_name)] = NameSection()
    matrix: Annotated[dict[StrictStr, Axis], Field(min_length=1)]
    order: Annotated[plain.Order | None, PlainValidator(_order)] = None
    priority: Annotated[int, PlainValidator(_priority)] = 0
    exclude: list[_Rule] = []
    include: list[_Rule] = []
    worker: WorkerSection = WorkerSection()
    devices: DevicesSection = DevicesSection()
    retries: RetriesSection = RetriesSection()
    limits: LimitsSection = LimitsSection()
    validation: Annotated[ValidateSection, Field(alias="validate")] = ValidateSection()
    notify: NotifySection | None = None
    track: Annotated[TrackSection | None, BeforeValidator(given)] = None
    executor: Annotated[_Cluster | None, BeforeValidator(given)] = None
    search: Any = None
