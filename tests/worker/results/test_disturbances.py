"""Disturbed batches in words, and rounds that do not count."""

import pytest

from worker.results.disturbances import in_words, undisturbed
from worker.results.row import MEASURED, Disturbed, Figures, Measurement, metric
from worker.results.summary import in_words as log
from worker.results.summary import summarise


def row(**kept):
    return Measurement(
        role="candidate",
        label="DeepCache 2/0",
        configuration={},
        status=MEASURED,
        metrics=[metric("timed_batches", 12, "", None)],
        samples=Figures(),
        disturbed={
            kind.replace("_", " "): Disturbed(retaken=2, kept=count) for kind, count in kept.items()
        },
    )


def test_kinds_are_counted_over_all_rows():
    rows = [row(waited_for_a_core=1), row(waited_for_a_core=2, the_core_was_slow=4), row()]
    words = "7 of 36 batches disturbed: the core was slow (4), waited for a core (3)"
    assert in_words(rows) == words


def test_what_was_retaken_with_success_is_no_disturbance():
    assert in_words([row(waited_for_a_core=0)]) is None


@pytest.mark.parametrize(("rounds", "beside"), [((), False), ((3,), False), (range(2), True)])
def test_a_speed_up_of_disturbed_rounds_is_said_to_be_one(rounds, beside):
    figures = Figures(seconds=[1.0] * 7, disturbed_rounds=list(rounds))
    found = row(waited_for_a_core=2).model_copy(update={"samples": figures})
    words = "2 of 24 batches disturbed: waited for a core (2)"
    load = "1 speed-up is from disturbed rounds"
    assert in_words([found, row()]) == words + (f"; {load}" if beside else "")
    # the baseline's batches may be the disturbed ones
    assert in_words([found.model_copy(update={"disturbed": {}})]) == (load if beside else None)
    summary = summarise([found], max_loss=0.05)
    assert ("beside_load" in summary.as_json()) == beside
    assert (load in summary.conclusion()) == beside
    said = any("speed: cannot tell (from disturbed rounds)" in line for line in log(summary))
    assert said == beside


@pytest.mark.parametrize(
    ("disturbed", "counted"), [([], 7), ([3], 6), ([0, 6], 7), (range(7), 7), ([99], 7)]
)
def test_fewer_than_six_undisturbed_rounds_leave_none_out(disturbed, counted):
    assert len(undisturbed(range(7), disturbed)) == counted


def test_a_row_without_disturbances_is_written_as_ever():
    assert "disturbed" not in row().as_json()
    assert Measurement.model_validate(row(waited_for_a_core=3).as_json()) == row(
        waited_for_a_core=3
    )
