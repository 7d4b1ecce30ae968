"""The section of a sweep file that has its attempts run on a Ray cluster."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, PlainValidator

from scheduler.config.cluster.settings import RaySettings
from scheduler.config.cluster.values import Count, Memory
from scheduler.config.matrix.axes import STRICT
from scheduler.config.units import parse_duration


def _address(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(r"[\w.-]+:\d{1,5}|\[[0-9A-Fa-f:]+\]:\d{1,5}", value):
        return value
    raise ValueError(
        "must be the head's address and port, as ray start --head prints it: 10.0.0.1:6379"
    )


def _gpus(value: object) -> float:
    if value == "none":
        return 0.0
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
        if 0 < number < 1 or (number >= 1 and number.is_integer()):
            return number
    raise ValueError(
        "must be how many GPUs each attempt has (at least 1), a part of one as 0.5, or none"
    )


def _lease(value: object) -> float:
    seconds = parse_duration(value)
    if not 5 <= seconds <= 50:
        raise ValueError("must be from 5s to 50s: Ray gives up a node after 60s")
    return seconds


def _scratch(value: object) -> str:
    if isinstance(value, str) and PurePosixPath(value).is_absolute():
        return value
    raise ValueError("must be an absolute path of a folder that every node has, as in /tmp")


class RaySection(BaseModel):
    model_config = STRICT
    kind: Literal["ray"]
    address: Annotated[str, PlainValidator(_address)]
    gpus: Annotated[float, PlainValidator(_gpus)] = RaySettings("").gpus
    cpus: Count = None
    memory: Memory = None
    at_most: Count = None
    lease: Annotated[float, BeforeValidator(_lease)] = RaySettings("").lease
    scratch: Annotated[str, PlainValidator(_scratch)] = RaySettings("").scratch

    def settings(self) -> RaySettings:
        """Return what the section asks for."""
        return RaySettings(**self.model_dump(exclude={"kind"}))
