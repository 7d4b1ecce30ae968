"""Reasons in words: each code has some, and nothing that decides makes them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import scheduler.core
from scheduler.core.retry import GiveUp, GiveUpCode, RetryCode, RetryReason
from scheduler.core.texts import give_up_text, retry_text
from scheduler.core.verdict import Kind

GIB = 2**30


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (RetryReason(RetryCode.STOPPED), "was stopped"),
        (RetryReason(RetryCode.FAILED, Kind.LOST), "lost"),
        (RetryReason(RetryCode.FAILED, Kind.TIMEOUT, 30.0), "waits 30.0 s after: timeout"),
        (RetryReason(RetryCode.DEVICE_ERROR, Kind.DEVICE_ERROR), "device error"),
        (
            RetryReason(RetryCode.HALVES_ARGUMENTS, arguments=("batch", "tiles")),
            "out of memory: halves batch, tiles",
        ),
        (
            RetryReason(RetryCode.NEEDS_MEMORY, memory=10 * GIB),
            "out of memory: needs a device with more than 10.0 GiB free",
        ),
        (RetryReason(RetryCode.OTHER, words="so it was said"), "so it was said"),
    ],
)
def test_why_a_task_is_tried_again(reason: RetryReason, text: str) -> None:
    assert retry_text(reason) == text


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (GiveUp(GiveUpCode.WRONG_CODE, "exit 2"), "exit 2; the same code would fail again"),
        (GiveUp(GiveUpCode.NO_ATTEMPTS_LEFT, "exit 1", 3, 3), "exit 1 (attempt 3 of 3)"),
        (
            GiveUp(GiveUpCode.TOO_FEW_DEVICES, devices=4, most_devices=2),
            "needs 4 devices at once, and 2 is the most here",
        ),
        (
            GiveUp(GiveUpCode.NO_SUCH_MEMORY, memory=GIB),
            "out of memory: needs a device with more than 1.0 GiB free, and there is none",
        ),
    ],
)
def test_why_a_task_is_given_up(reason: GiveUp, text: str) -> None:
    assert give_up_text(reason) == text


def test_every_code_has_words() -> None:
    assert all(retry_text(RetryReason(code)) for code in RetryCode)
    assert all(give_up_text(GiveUp(code)) for code in GiveUpCode)


def test_nothing_that_decides_makes_words() -> None:
    folder = Path(scheduler.core.__path__[0])
    for file in folder.glob("*.py"):
        imported = {
            name
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.ImportFrom)
            for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
        }
        assert "scheduler.core.texts" not in imported, file
