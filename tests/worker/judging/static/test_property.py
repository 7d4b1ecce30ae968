"""The reader agrees with what really runs, on programs made from the forms it follows."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings

from worker.judging.report import plain
from worker.judging.static.extract import extract

HERE = Path(__file__).parent


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec and spec.loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


programs = _load("programs").programs


MANY = settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)


class Recorder:
    """A process that runs programs for real, against modules that record."""

    def __init__(self, folder: Path) -> None:
        self.program = folder / "program.py"
        self.process = subprocess.Popen(
            [sys.executable, "-S", str(HERE / "stand_ins" / "recorder.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, source: str) -> dict[str, Any]:
        self.program.write_text(source)
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{self.program}\n")
        stdin.flush()
        answer: dict[str, Any] = json.loads(stdout.readline())
        return answer


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorder]:
    recorder = Recorder(tmp_path_factory.mktemp("programs"))
    yield recorder
    recorder.process.communicate()


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
