"""Lines of the attempts file: read into types, whatever became of them; and what of them people see."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scheduler.core.snapshot import OtherProcess
from scheduler.core.verdict import Kind, Verdict
from scheduler.storage.attempts_file import (
    AttemptRecord,
    EndLine,
    ForeignLine,
    StartLine,
    StopLine,
    VerdictLine,
    read_attempts,
)


def read(folder: Path, *lines: str | dict[str, Any]) -> list[AttemptRecord]:
    path = folder / "a.attempts"
    path.write_text(
        "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    )
    return read_attempts(path)


def test_each_line_goes_where_it_belongs(tmp_path: Path) -> None:
    start = StartLine(
        1, ("GPU-a",), digest="d", halvings=1, supervisor=7, start_ticks=8, started=2.0
    )
    keys = {"attempt": 1, "device": "GPU-a", "digest": "d", "halvings": 1}
    stop = StopLine(Verdict(Kind.TIMEOUT, "too long"))
    foreign = ForeignLine([OtherProcess(9, "python")], hidden_memory=5)
    verdict = VerdictLine(Verdict(Kind.TIMEOUT, "too long"), 1)
    (record,) = read(
        tmp_path,
        {**keys, "supervisor": 7, "start_ticks": 8, "started": 2},
        stop.as_json(),
        foreign.as_json(),
        {"ended": 3.0, "code": None, "signal": 15, "stopped": True},
        verdict.as_json(),
    )
    assert record == AttemptRecord(
        start, EndLine(3.0, signal=15, stopped=True), stop, foreign, verdict
    )


def test_lines_that_are_damaged_or_belong_to_no_start_are_passed_over(tmp_path: Path) -> None:
    start = {"attempt": 1, "device": "cpu:0"}
    no_starts: list[str | dict[str, Any]] = [
        *('{"attempt": 1, "devi', "[]", "\0\0\0", {"attempt": "1", "device": "cpu:0"}),
        *({"attempt": True, "device": "cpu:0"}, {"ended": 5.0}, {"verdict": "lost"}),
    ]
    assert read(tmp_path, *no_starts) == []
    of_another = {"attempt": 2, "verdict": "lost", "cause": "…"}
    assert read(tmp_path, *no_starts, start, of_another) == [
        AttemptRecord(StartLine(1, ("cpu:0",)))
    ]


@pytest.mark.parametrize(
    ("devices", "keys"),
    [
        (("GPU-a",), {"device": "GPU-a"}),
        (("GPU-a", "GPU-b"), {"device": "GPU-a", "devices": ["GPU-a", "GPU-b"]}),
    ],
)
def test_devices_stand_beside_the_first_where_there_are_several(
    tmp_path: Path, devices: tuple[str, ...], keys: dict[str, object]
) -> None:
    start = StartLine(1, devices)
    assert start.as_json() == {"attempt": 1, **keys, "halvings": 0, "overrides": {}}
    assert keys.items() <= AttemptRecord(start).for_people().items()
    (record,) = read(tmp_path, start.as_json())
    assert record.started == start


@pytest.mark.parametrize("wrong", ["GPU-b", ["GPU-b"], [], None, [["GPU-a"]]])
def test_devices_that_are_damaged_are_the_first_alone(tmp_path: Path, wrong: object) -> None:
    (record,) = read(tmp_path, {"attempt": 1, "device": "GPU-a", "devices": wrong})
    assert record.started.devices == ("GPU-a",)


@pytest.mark.parametrize("wrong", [True, "soon", [], {}, 1e999, 10**400])
def test_a_field_that_is_not_of_its_type_is_not_known(tmp_path: Path, wrong: object) -> None:
    texts = ("digest", "token", "boot") if not isinstance(wrong, str) else ()
    numbers = ("started", "monotonic")
    damaged = {"attempt": 1, "device": "x", **dict.fromkeys((*texts, *numbers), wrong)}
    (record,) = read(tmp_path, damaged, {"ended": wrong, "code": False})
    assert record.started == StartLine(1, ("x",))
    assert record.ended == EndLine()  # a code that is no number is no exit code 0


def test_a_verdict_that_no_longer_exists_is_a_plain_failure(tmp_path: Path) -> None:
    start = {"attempt": 1, "device": "cpu:0"}
    (record,) = read(tmp_path, start, {"attempt": 1, "verdict": "bewitched", "cause": "a spell"})
    assert record.verdict == VerdictLine(Verdict(Kind.FAILED, "a spell"), 1)


def test_people_see_what_happened_and_not_what_proves_it() -> None:
    start = StartLine(1, ("cpu:0",), digest="d", supervisor=7, start_ticks=8, boot="b", started=2.0)
    never = AttemptRecord(start, EndLine(3.0, not_started="cannot start x: No such file", errno=2))
    ran = AttemptRecord(start, EndLine(3.0, code=0, peak_memory=9))
    hidden = {"digest", "supervisor", "start_ticks", "boot", "monotonic"}
    assert not hidden & {*never.for_people(), *ran.for_people()}
    assert never.for_people()["not_started"] == "cannot start x: No such file"
    assert "peak_memory" not in never.for_people()
    assert (ran.for_people()["code"], ran.for_people()["peak_memory"]) == (0, 9)
