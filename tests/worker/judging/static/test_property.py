"""The reader agrees with what really runs, on programs made from the forms it follows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings

from tests.worker.judging.static.programs import programs
from tests.worker.judging.static.recording import Recorder
from worker.judging.report import plain
from worker.judging.static.extract import extract

MANY = settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorder]:
    recorder = Recorder(tmp_path_factory.mktemp("programs"))
    yield recorder
    recorder.finish()


def contradictions(real: Any, read: Any, *, certain: bool) -> bool:
    """Whether what was read says anything that did not happen; None says nothing."""
    if read is None:
        return certain
    if isinstance(real, dict) and isinstance(read, dict):
        # What the reader cannot tell to be there or not stands there without a value.
        return any(
            contradictions(real[key], read[key], certain=certain)
            if key in real and key in read
            else certain or read.get(key) is not None or key in real
            for key in real | read
        )
    return bool(real != read)


def check(source: str, recorder: Recorder, *, certain: bool) -> None:
    note(source)
    ran = recorder.run(source)
    assert ran["error"] is None, ran["error"]
    findings = extract(source.encode())
    note(str(findings.notes))
    del ran["call"]["beside"]
    for name, real in ran["call"].items():
        read = plain(findings.fields[name])
        assert not contradictions(real, read, certain=certain), (name, real, read)


@MANY
@given(source=programs(certain=True))
def test_what_can_be_known_is_known_and_right(source: str, recorder: Recorder) -> None:
    check(source, recorder, certain=True)


@MANY
@given(source=programs(certain=False))
def test_what_is_told_is_right(source: str, recorder: Recorder) -> None:
    check(source, recorder, certain=False)
