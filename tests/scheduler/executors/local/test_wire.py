"""Both sides of the supervisor protocol name the same things: supervisor.py shares no code with us."""

from __future__ import annotations

import ast
import os
from dataclasses import fields
from pathlib import Path

import pytest

from scheduler.executors.base import Refusal
from scheduler.executors.local import attempt_files, supervisor, wire
from scheduler.executors.local.preload import forked, prepared

NODES = [
    node
    for module in (attempt_files, supervisor, forked)
    for node in ast.walk(ast.parse(Path(module.__file__).read_text()))
]


def subscripts_of(name: str) -> set[str]:
    """Return the keys by which the supervisor reads what it calls ``name``."""
    return {
        node.slice.value
        for node in NODES
        if isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Name)
        and node.value.id == name
        and isinstance(node.slice, ast.Constant)
    }


def calls_of(name: str) -> list[ast.Call]:
    return [
        node
        for node in NODES
        if isinstance(node, ast.Call)
        and getattr(node.func, "attr", getattr(node.func, "id", None)) == name
    ]


def test_the_supervisor_reads_all_of_an_order_and_nothing_else() -> None:
    run = {field.name for field in (*fields(wire.Run), *fields(wire.Prepare))}
    setup = {field.name for field in fields(wire.Setup)}
    assert subscripts_of("order") == {"type"} | run | setup


def test_every_answer_of_the_supervisor_is_understood() -> None:
    """Those that a running supervisor gives are parsed in test_supervisor.py; here none is left out."""
    answers = {
        call.args[0].value: {keyword.arg for keyword in call.keywords}
        for call in calls_of("_answer")
        if isinstance(call.args[0], ast.Constant)
    }
    assert answers == {
        "started": {field.name for field in fields(wire.WorkerStarted)},
        "ended": {field.name for field in fields(wire.WorkerEnded)},
        "refused": {field.name for field in fields(wire.RunRefused)},
        "failed": {field.name for field in fields(wire.RunFailed)},
        "prepared": {field.name for field in fields(wire.Prepared)},
    }


def test_what_a_worker_says_that_is_prepared_is_understood() -> None:
    for why in (None, "it cannot be"):
        ours, its = os.pipe()
        prepared.answer_prepared(its, why)
        assert wire.parse(os.read(ours, 1000)) == wire.Prepared(why)
        os.close(ours)


def test_every_reason_of_a_refusal_is_known() -> None:
    reasons = {call.args[0].value for call in calls_of("Refused") if call.args}  # type: ignore[attr-defined]
    assert reasons == {reason.value for reason in Refusal} - {Refusal.DEVICE_HELD.value}


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"[]", b'"started"', b"{}", b'{"type": "started", "pid": "7", "at": 1.0}'),
        *(b'{"type": "ended", "end": {}}', b'{"type": "refused", "reason": "bored"}'),
        b'{"type": "failed", "errno": null, "error": "no", "file": null}',
        b'{"type": "started", "pid": 7, "at": 1e999}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_answer_is_an_error(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"answer|Refusal"):
        wire.parse(line)


def test_a_failure_is_the_error_that_it_was() -> None:
    error = wire.RunFailed(28, os.strerror(28), "/disk/a.log").as_error()
    assert (error.errno, error.strerror, error.filename) == (28, os.strerror(28), "/disk/a.log")
