"""What several looks at a configuration say together."""

from __future__ import annotations

from worker.measure.adaptive.pooling import pooled
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
