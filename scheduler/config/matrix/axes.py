"""The forms that an axis can have in a sweep file: a list, a glob, a range."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    StrictInt,
    StrictStr,
    Tag,
)

from scheduler.config.matrix.ranges import Number as RangeNumber
from scheduler.config.strict_yaml import NumberText, Unusable

# Of every section of a sweep file.
STRICT = ConfigDict(extra="forbid", populate_by_name=True)


def _value(value: object) -> object:
    """Let pass what JSON can hold, less nothing at all; of what could not be read the reader has told."""
    if isinstance(value, dict):
        return {key: _value(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_value(part) for part in value]
    if not isinstance(value, bool | int | float | str | Unusable):
        raise ValueError("must be text, a number, true/false, or a list or mapping of these")  # noqa: TRY004  # pydantic's
    return value


def _number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float | NumberText):
        raise ValueError("must be a number")  # noqa: TRY004  # pydantic's
    return value


# matrix.values.Value, which pydantic, as it refers to itself, cannot take apart.
Value = Annotated[Any, PlainValidator(_value)]
Number = Annotated[RangeNumber, PlainValidator(_number)]


class _Axis(BaseModel):
    model_config = STRICT


class GlobSection(_Axis):
    glob: Annotated[StrictStr, Field(min_length=1)]


class RangeSection(_Axis):
    first: Annotated[Number, Field(alias="from")]
    last: Annotated[Number, Field(alias="to")]
    step: Annotated[Number, Field(alias="by")]


def _two(value: object) -> object:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError("must be the two ends, as in [1e-5, 1e-2]")
    return value


class LogSection(_Axis):
    ends: Annotated[list[Number], BeforeValidator(_two), Field(alias="log")]
    n: Annotated[StrictInt, Field(ge=2)]


def keys_of(section: type[BaseModel]) -> set[str]:
    """Return the keys that a section has in the file."""
    return {field.alias or name for name, field in section.model_fields.items()}


def _kind_of_axis(value: object) -> str:
    if isinstance(value, list):
        return _LIST
    if isinstance(value, dict):
        counts = {
            kind: len(keys_of(section) & value.keys()) for kind, section in AXES.items()
        }  # fmt: skip
        return max(counts, key=lambda kind: counts[kind])
    return next((kind for kind, section in AXES.items() if isinstance(value, section)), _LIST)


# Names that no key of a file has: pydantic puts them into the location of what it finds.
_GLOB, _LIST, _RANGE, _LOG = "(glob)", "(list)", "(range)", "(log)"
AXES: dict[str, type[BaseModel]] = {_GLOB: GlobSection, _RANGE: RangeSection, _LOG: LogSection}
Axis = Annotated[
    Annotated[list[Value], Tag(_LIST)]
    | Annotated[GlobSection, Tag(_GLOB)]
    | Annotated[RangeSection, Tag(_RANGE)]
    | Annotated[LogSection, Tag(_LOG)],
    Discriminator(_kind_of_axis),
]
