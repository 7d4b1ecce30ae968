"""Kinds of values that several keys of a sweep file have, and what is said of any other value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainValidator, StrictStr

from scheduler.config.matrix.values import Scalar as MatrixScalar
from scheduler.config.units import parse_duration, parse_size

_LONGEST_TO_TELL = 600.0  # seconds; the sweep's lock is held so long at the end


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


def _limit(parse: Callable[[object], float]) -> Callable[[object], float | None]:
    def limit(value: object) -> float | None:
        if value == "none":
            return None
        parsed = parse(value)
        if parsed <= 0:
            raise ValueError("a limit of 0 lets nothing run; without a limit, write none")
        return parsed

    return limit


def _time_to_tell(value: object) -> float:
    seconds = parse_duration(value)
    if not 0 < seconds <= _LONGEST_TO_TELL:
        raise ValueError("must be more than 0 s and at most 10 min")
    return seconds


Scalar = Annotated[MatrixScalar, PlainValidator(_scalar)]
Argument = Annotated[MatrixScalar | list[MatrixScalar], PlainValidator(_argument)]
DeviceName = Annotated[int | str, PlainValidator(_device_name)]
Duration = Annotated[float, BeforeValidator(parse_duration)]
TimeToTell = Annotated[float, BeforeValidator(_time_to_tell)]
Limit = Annotated[float | None, BeforeValidator(_limit(parse_duration))]
LogLimit = Annotated[int | None, BeforeValidator(_limit(parse_size))]
Size = Annotated[int, BeforeValidator(parse_size)]
Name = Annotated[StrictStr, Field(pattern=r"^[A-Za-z_][\w-]*$")]
