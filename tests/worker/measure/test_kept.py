"""How many measurements a changed search section keeps, told without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from worker.measure.kept import count_kept

RESULTS = Path(__file__).parents[2] / "state_of_version_1/checkpoints/old/TINY_SD15_DDIM_4.jsonl"
MATRIX = {"pipe": "TINY_SD15", "sched": "DDIM", "steps": 4}
ARGS = {"num_samples": 2, "batch_size": 2}
SEARCH: dict[str, Any] = json.loads(RESULTS.read_text().splitlines()[0])["reproduce"]["search"]


@pytest.mark.parametrize(
    ("args", "search", "counts"),
    [
        (ARGS, SEARCH, (3, 3)),
        (ARGS, SEARCH | {"max_loss": 0.01}, (3, 3)),
        (ARGS | {"confirm": 4}, SEARCH, (3, 3)),
        (ARGS, SEARCH | {"configurations": [{"tome": {"ratio": 0.3}}]}, (2, 3)),
        (ARGS, SEARCH | {"timing": {"repeats": 11}}, (0, 3)),
        # of one round there is no interval; the baseline has no speed-up
        (ARGS, SEARCH | {"timing": {"repeats": 1, "precision": "2%"}}, (1, 3)),
        (ARGS | {"num_samples": 3}, SEARCH, (0, 3)),
        (ARGS, {"unknown": 1}, None),
        ({}, SEARCH, (0, 3)),
    ],
)
def test_what_a_change_keeps(
    args: dict[str, Any], search: dict[str, Any], counts: tuple[int, int] | None
) -> None:
    assert count_kept(MATRIX, args, search, RESULTS) == counts


def test_a_file_that_is_gone_keeps_nothing(tmp_path: Path) -> None:
    assert count_kept(MATRIX, ARGS, SEARCH, tmp_path / "none.jsonl") == (0, 3)


def test_the_question_is_answered_without_torch() -> None:
    question = {
        "tasks": [{"id": "t", "matrix": MATRIX}],
        "args": ARGS,
        "search": SEARCH,
        "results": {"t": str(RESULTS), "unknown": "x"},
    }
    program = (
        "import sys; sys.argv = ['worker', 'check']; from worker.__main__ import main; code = main();"
        "print('torch' in sys.modules, code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=json.dumps(question), capture_output=True, text=True
    )
    answer, torch = done.stdout.splitlines()
    assert json.loads(answer) == {"problems": [], "kept": {"t": [3, 3]}}
    assert torch == "False 0", done.stderr
