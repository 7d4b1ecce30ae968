"""What a description that came from a judged program may look like: a closed form, read strictly.

``capture.py`` makes descriptions inside the program's own process, where the program can change
whatever it says. So nothing is taken from one that has not been checked here.
"""

from __future__ import annotations

import base64
import binascii
import math
from functools import cache
from typing import Annotated, Any, cast

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from worker.judging.sandbox.capture import SAMPLE

# Beyond any number that a pipeline is called with, and safe to make a float of.
_LARGEST = 10**30
Whole = Annotated[int, Field(ge=0, le=_LARGEST)]
Integer = Annotated[int, Field(ge=-_LARGEST, le=_LARGEST)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Plain = bool | Integer | float | str | None
Setting = Plain | list[Plain]
Text = str | list[str] | None


class Tensor(TypedDict):
    """A tensor's shape, its type, and a sample of its values: float32, as base64."""

    shape: Annotated[list[Whole], Field(max_length=32)]
    dtype: str
    values: str


def _whole_sample(tensor: Tensor) -> Tensor:
    try:
        length = len(base64.b64decode(tensor["values"], validate=True))
    except binascii.Error as error:
        raise ValueError(str(error)) from error
    if length != 4 * min(math.prod(tensor["shape"]), SAMPLE):
        raise ValueError("the sample is not of the tensor's size")
    return tensor


class Fields(TypedDict):
    """A pipeline, as the fields of a comparison."""

    pipeline: str
    model_id: str | None
    scheduler: str
    scheduler_args: dict[str, Setting]
    accelerators: dict[str, dict[str, Plain]]
    dtype: str
    device: str
    components: dict[str, Plain]
    settings: dict[str, bool]


class CallFields(Fields):
    """A pipeline and the call that is made of it."""

    steps: Integer | None
    guidance: Integer | Finite | None
    height: Whole
    width: Whole
    batch: Whole
    images_per_prompt: Whole
    prompt: Text
    negative_prompt: Text
    call_options: dict[str, Plain]


class Built(TypedDict):
    """What is sent of a pipeline that was built."""

    fields: Fields
    objects: dict[str, Setting]
    tensors: dict[str, Annotated[Tensor, AfterValidator(_whole_sample)]]
    unknown: list[str]


class Call(Built):
    """What is sent of a pipeline that is called."""

    fields: CallFields  # type: ignore[misc]  # narrower: only ever read


class End(TypedDict):
    """What is sent at a program's end: its error in one line, None if it ran through."""

    error: str | None


@cache
def _reader(kind: str) -> TypeAdapter[Any]:
    return TypeAdapter({"built": Built, "call": Call, "end": End}[kind])


def read(kind: str, content: bytes) -> dict[str, Any]:
    """Return a frame's content, checked in every part; what is not asked for is left out.

    Args:
        kind: ``call``, ``built`` or ``end``.
        content: JSON.

    Raises:
        ValueError: it is no such description.
    """
    try:
        return cast("dict[str, Any]", _reader(kind).validate_json(content, strict=True))
    except ValidationError as error:
        raise ValueError(_said(error)[:300]) from error


def _said(error: ValidationError) -> str:
    """Return the first thing that is wrong as a person would say it."""
    errors = error.errors(include_url=False, include_input=False)
    first = errors[0]
    # In place of one form that a value may have, an error names all of them after the place.
    same = [item for item in errors if item["loc"][:2] == first["loc"][:2]]
    path = first["loc"][: 2 if len(same) > 1 else None]
    place = ".".join(str(part) for part in path if part != "fields")
    if any(item["type"] == "finite_number" for item in same):
        return f"{place} is no finite number"
    return f"{place}: {first['msg']}" if place else first["msg"]
