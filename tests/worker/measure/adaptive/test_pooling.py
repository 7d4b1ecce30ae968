"""What several looks at a configuration say together."""

from __future__ import annotations

import pytest

from worker.measure.adaptive.pooling import pooled, scores_of
from worker.results.row import MEASURED, OUT_OF_MEMORY, Figures, Row, metric


def look(status: str, images: int) -> Row:
    return Row.model_construct(
        role="candidate",
        label="c (prompts 1 to 8)",
        configuration={"accelerators": {}},
        status=status,
        metrics=[
            metric("images_generated", images, "", "lower"),
            metric("gpu_seconds", 1.5, "s", "lower"),
        ],
        samples=Figures(clip_score=[90.0] * images if status == MEASURED else []),
        disturbed={},
        absent={},
    )


def test_one_that_failed_at_a_later_look_has_cost_what_it_made_before():
    found = pooled([look(MEASURED, 24), look(OUT_OF_MEMORY, 8)], "c", None)
    assert found.status == OUT_OF_MEMORY
    assert found.images_generated == 32
    assert found.value_of("gpu_seconds") == 3.0
    assert found.value_of("clip_score") is None
    assert not found.samples.clip_score


@pytest.mark.parametrize(
    ("beside", "own", "told"),
    [
        ([91.0, 92.0], [90.0, 89.0], ([91.0, 92.0], [90.0, 89.0])),
        # as many of each, and yet of other prompts
        ([91.0, None, 92.0], [90.0, 89.0, None], "have no score"),
        ([91.0, None], [90.0, None], "have no score"),
        ([], [], "have no score"),
    ],
)
def test_scores_are_paired_by_prompt_or_not_at_all(beside, own, told):
    row = look(MEASURED, 2)
    found = scores_of(
        row.model_copy(update={"samples": Figures(clip_score=own, baseline_clip_score=beside)})
    )
    assert found == told or told in found


def test_of_one_that_failed_it_says_why():
    assert scores_of(look(OUT_OF_MEMORY, 2)) == OUT_OF_MEMORY
