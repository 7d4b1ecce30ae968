"""What comparing two programs says, where they use diffusers in two ways that are alike or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from worker.judging.field_diff import compare
from worker.judging.static.extract import extract

FILES = [yaml.safe_load(path.read_text()) for path in sorted(Path(__file__).parent.glob("*.yaml"))]
PREAMBLES: dict[str, str] = next(file.pop("preambles") for file in FILES if "preambles" in file)
CASES = [
    pytest.param(PREAMBLES[group], entry, id=f"{group}: {name}")
    for file in FILES
    for group, entries in file.items()
    for name, entry in entries.items()
]


def answers(left: str, right: str) -> dict[str, bool | None]:
    pair = [extract(side.encode()) for side in (left, right)]
    return {item.field: item.match for item in compare(*pair)}


@pytest.mark.parametrize(("preamble", "entry"), CASES)
def test_two_programs_compared(preamble: str, entry: dict[str, Any]) -> None:
    found = answers(preamble + entry["left"] + "\n", preamble + entry["right"] + "\n")
    expected = entry.get("fields", {})
    assert {name: found[name] for name in expected} == expected
    code = 1 if False in found.values() else 3 if None in found.values() else 0
    assert code == entry["exit"], {name: told for name, told in found.items() if told is not True}


@pytest.mark.parametrize(("preamble", "entry"), CASES)
def test_a_program_matches_itself(preamble: str, entry: dict[str, Any]) -> None:
    for side in ("left", "right"):
        program = preamble + entry[side] + "\n"
        assert False not in answers(program, program).values()
