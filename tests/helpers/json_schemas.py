"""The schema files of the JSON that commands print, made from the types that are printed.

`python -m tests.helpers.json_schemas` writes them anew; tests hold them against the types.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from scheduler.views.answers import Answers

FOLDER = Path(__file__).parents[2] / "docs" / "data"


class Dispatcher(TypedDict):
    pid: int | None
    since: float | None


class StatusGauges(TypedDict):
    utilization: int | None
    used_memory: int | None
    total_memory: int | None
    power: float | None
    temperature: int | None


class StatusDevice(TypedDict):
    device: str
    index: str
    name: str
    gauges: StatusGauges | None
    cores: str | None
    task: str | None
    idle: bool
    reason: str
    aside_until: float | None
    aside_why: str | None
    drained: bool


class StatusTask(TypedDict):
    task: str
    state: Literal["waiting", "running", "being judged", "completed", "failed"]
    # Of both stages, where it has two; of these, those that the timed one took, once that is done.
    attempts: int
    timed_stage_attempts: int | None
    device: str | None
    devices: list[str]
    started: float | None
    seconds: float | None
    cause: str | None
    log_line: str | None
    progress: str | None
    share: float | None
    note: str | None
    left_out: bool
    source: dict[str, Any] | None
    other_code: list[str]
    waits: str | None
    speedup: float | None
    loss: float | None
    max_loss: float | None
    more_images: float | None
    best: str | None
    within: bool | None
    speedup_interval: list[float | None] | None
    loss_interval: list[float | None] | None
    beats_fewer_steps: str | None
    halved: dict[str, Any]
    conclusion: str | None


class Status(TypedDict):
    """What ``status --json`` prints; more keys may come without another version."""

    version: Literal[1]
    sweep: str
    root: str
    dispatcher: Dispatcher | None
    file_changed: bool
    only: list[str]
    left_out: int
    left_the_file: list[str]
    left_running: list[str]
    left_running_pids: dict[str, int]
    snapshot: str | None
    priority: int
    waits_for_share: bool
    paused: str | None
    paused_by: str | None
    braked: str | None
    at_most: int | None
    at_most_until: float | None
    at_most_zone: str | None
    draining: bool
    counts: dict[str, int]
    journal_lines_unread: int
    seconds_left: float | None
    seconds_left_basis: str | None
    idle_device_seconds: float
    lost_device_seconds: float
    median_gap_seconds: float | None
    devices: list[StatusDevice]
    tasks: list[StatusTask]


FORMS: dict[str, Any] = {"results": Answers, "status": Status}


def schema_file(name: str) -> Path:
    return FOLDER / f"{name}.schema.json"


def schema_of(name: str) -> dict[str, Any]:
    """Return the schema of what ``python -m scheduler NAME --json`` prints."""
    made = TypeAdapter(FORMS[name]).json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


if __name__ == "__main__":
    for name in FORMS:
        schema_file(name).write_text(json.dumps(schema_of(name), indent=1) + "\n")
