"""Of two programs the reader never says that they do the same where running them differs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings

from tests.worker.judging.static.pairs import pairs
from tests.worker.judging.static.recording import Recorder
from worker.commands.compare import exit_code
from worker.judging import field_diff
from worker.judging.static.extract import extract

MATCH, MISMATCH, UNKNOWN = 0, 1, 3


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorder]:
    recorder = Recorder(tmp_path_factory.mktemp("pairs"))
    yield recorder
    recorder.finish()


def outcome(source: str, recorder: Recorder) -> Any:
    ran = recorder.run(source)
    note(f"{source}\n→ {ran}")
    return "an error" if ran["error"] is not None else ran["call"]


def verdict(left: str, right: str) -> int:
    findings = [extract(source.encode()) for source in (left, right)]
    return exit_code(field_diff.compare(findings[0], findings[1]))


@settings(
    max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
@given(pair=pairs())
def test_a_match_is_a_match(pair: tuple[str, str], recorder: Recorder) -> None:
    left, right = pair
    said = verdict(left, right)
    ran = [outcome(source, recorder) for source in pair]
    if "an error" in ran and ran[0] == ran[1]:
        return
    if said == MATCH:
        assert ran[0] == ran[1]
    if said == MISMATCH:
        assert ran[0] != ran[1]
