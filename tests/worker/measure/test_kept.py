"""How many measurements a changed search section keeps, told without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from worker.config.settings import Timing
from worker.measure.kept import count_kept, is_precise_enough
from worker.results.row import Figures, Row, metric

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


@pytest.mark.parametrize(
    ("half", "stopping", "undisturbed", "holds"),
    [
        (0.019, {"precision": 0.05, "at_most": 60.0}, 12, True),
        (0.021, {"precision": 0.05, "at_most": 60.0}, 12, False),
        (0.021, {"precision": 0.02, "at_most": 600.0}, 12, True),
        # nothing was stopped for this interval; the one that is held to 2 % is wider by a quarter
        (0.015, None, 12, True),
        (0.019, None, 12, False),
        (0.015, None, 5, False),
    ],
)
def test_which_rows_are_precise_enough(
    half: float, stopping: dict[str, float] | None, undisturbed: int, holds: bool
) -> None:
    line = json.loads(RESULTS.read_text().splitlines()[1])
    row = Row.model_validate(line)
    gain = metric("speedup", 2.0, "×", "higher", low=2 * (1 - half), high=2 * (1 + half))
    row = row.model_copy(
        update={
            "metrics": [gain],
            "samples": Figures(seconds=[1.0] * 12, disturbed_rounds=list(range(undisturbed, 12))),
            "settings": row.settings | ({"stopping": stopping} if stopping else {}),
        }
    )
    assert is_precise_enough(row, Timing.model_validate({"precision": "2%"})) == holds


def test_a_file_that_is_gone_keeps_nothing(tmp_path: Path) -> None:
    assert count_kept(MATRIX, ARGS, SEARCH, tmp_path / "none.jsonl") == (0, 3)


def asked(**more: Any) -> str:
    """Ask the worker, without torch, about one task; return the answer."""
    question = {"tasks": [{"id": "t", "matrix": MATRIX}], "args": ARGS, "search": SEARCH, **more}
    program = (
        "import sys; sys.argv = ['worker', 'check']; from worker.__main__ import main; code = main();"
        "print('torch' in sys.modules, code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=json.dumps(question), capture_output=True, text=True
    )
    answer, torch = done.stdout.splitlines()
    assert torch == "False 0", done.stderr
    return answer


def test_what_is_kept_is_told_without_torch() -> None:
    answer = asked(results={"t": str(RESULTS), "unknown": "x"})
    assert json.loads(answer) == {"problems": [], "kept": {"t": [3, 3]}}


def test_what_is_kept_is_not_ahead() -> None:
    whole = json.loads(asked(ahead=True))["ahead"]["t"]
    left = json.loads(asked(ahead=True, results={"t": str(RESULTS)}))["ahead"]["t"]
    assert 0 < left["work"] < whole["work"]
    # The baseline is measured beside whatever is left.
    assert 3 * left["counts"]["images"] == whole["counts"]["images"]
