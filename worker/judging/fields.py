"""The fields by which two files are compared, and what was found of them in one file."""

from __future__ import annotations

from dataclasses import dataclass, field

from worker.judging.reasons.codes import Reason
from worker.judging.static.values import Value

# Every field, in the order of a report, and whether only a call has it.
_ONLY_OF_A_CALL = {
    "pipeline": False,
    "model_id": False,
    "scheduler": False,
    "scheduler_args": False,
    "steps": True,
    "accelerators": False,
    "dtype": False,
    "device": False,
    "guidance": True,
    "height": True,
    "width": True,
    "batch": True,
    "images_per_prompt": True,
    "prompt": True,
    "negative_prompt": True,
    "call_options": True,
    "components": False,
    "settings": False,
}
FIELDS = tuple(_ONLY_OF_A_CALL)
CALL_FIELDS = frozenset(name for name, of_a_call in _ONLY_OF_A_CALL.items() if of_a_call)
NOT_CALLED = "no call"  # what a call's field holds where no pipeline is called
NO_PIPELINE = "no pipeline"  # what every field holds where none is built


@dataclass(frozen=True)
class Findings:
    """The fields of a file's last pipeline call, and remarks for the reader.

    Every field of FIELDS is there; a value is plain data, or Unknown, or a dictionary or list
    with such values.
    """

    fields: dict[str, Value]
    notes: list[Reason] = field(default_factory=list)
