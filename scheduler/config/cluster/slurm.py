"""The section of a sweep file that has its attempts run on a cluster."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field, PlainValidator, StrictInt, StrictStr

from scheduler.config.cluster.settings import SlurmSettings
from scheduler.config.cluster.values import Count, Memory, given
from scheduler.config.matrix.axes import STRICT
from scheduler.config.units import parse_duration

_MOST_QUEUED = 1000


def _kind(value: object) -> object:
    if value != "slurm":
        raise ValueError("must be slurm or ray")
    return value


def _gres(value: object) -> str:
    if value == "none":
        return ""
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z][\w.-]*(:[\w.-]+){0,2}", value):
        return value
    raise ValueError("must be what sbatch --gres takes, as in gpu:h100:1, or none")


def _time(value: object) -> float:
    seconds = parse_duration(value)
    if seconds < 60:
        raise ValueError("must be at least 1m: Slurm counts in minutes")
    return seconds


def _lease(value: object) -> float:
    seconds = parse_duration(value)
    if not 10 <= seconds <= 3600:
        raise ValueError("must be from 10s to 1h")
    return seconds


_Word = Annotated[Annotated[StrictStr, Field(pattern=r"^[^\s,]+$")] | None, BeforeValidator(given)]
_Text = Annotated[Annotated[StrictStr, Field(min_length=1)] | None, BeforeValidator(given)]


class ExecutorSection(BaseModel):
    model_config = STRICT
    kind: Annotated[str, PlainValidator(_kind)]
    time: Annotated[float, BeforeValidator(_time)]
    partition: _Word = None
    gres: Annotated[str, PlainValidator(_gres)] = SlurmSettings(60).gres
    account: _Word = None
    qos: _Word = None
    constraint: _Text = None
    cpus: Count = None
    memory: Memory = None
    at_most: Count = None
    queue: Annotated[
        Annotated[StrictInt, Field(ge=0, le=_MOST_QUEUED)] | None, BeforeValidator(given)
    ] = None
    lease: Annotated[float, BeforeValidator(_lease)] = SlurmSettings(60).lease

    def settings(self) -> SlurmSettings:
        """Return what the section asks for."""
        return SlurmSettings(**self.model_dump(exclude={"kind"}))
