"""What a task's rows say together."""

from dataclasses import replace

import pytest

from tests.helpers.measured_rows import BASELINE, HALF, THIRD, row, unsure_of_speed
from worker.results.frontier import Bound, bound
from worker.results.row import NON_FINITE, Row
from worker.results.summary import beats_fewer_steps, in_words, spread, summarise


@pytest.mark.parametrize(
    ("speed", "loss", "apart", "said"),
    [
        # fewer steps give 2.5x at a loss of 4 %
        (2.6, 0.04, 0.0, "yes"),
        (2.4, 0.04, 0.0, "no"),
        (2.5, 0.04, 0.002, "cannot tell yet"),
        (2.6, 0.04, 0.02, "cannot tell yet"),
        (3.2, 0.05, 0.0, "yes"),
        # behind the last control fewer steps may be faster still, but a faster one is there
        (3.2, 0.5, 0.0, "cannot tell yet"),
        (2.9, 0.5, 0.0, "no"),
        (1.05, -0.01, 0.0, "yes"),
    ],
)
def test_against_fewer_steps_at_equal_loss(speed, loss, apart, said):
    candidate = row("candidate", speed, loss, spread_of=apart)
    assert beats_fewer_steps(candidate, [BASELINE, HALF, THIRD, candidate]) == said


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        # what the same prompts do to both cancels out; what each does on its own does not
        ((1, -1), "yes"),
        ((1, 1, -1, -1), "cannot tell yet"),
    ],
)
def test_the_controls_are_no_more_certain_than_the_candidate(pattern, said):
    controls = [
        row("25 steps", 2.0, 0.02, "control", spread_of=0.02, pattern=pattern, steps=25),
        row("15 steps", 3.0, 0.06, "control", spread_of=0.02, pattern=pattern, steps=15),
    ]
    candidate = row("candidate", 2.7, 0.04, spread_of=0.02)
    assert beats_fewer_steps(candidate, [BASELINE, *controls, candidate]) == said


def test_a_handful_of_times_decides_nothing():
    few = row("candidate", 5.0, 0.001, batches=5)
    assert beats_fewer_steps(few, [BASELINE, HALF, few]) == "cannot tell yet"


def test_against_fewer_steps_that_were_not_measured():
    assert beats_fewer_steps(row("candidate", 2.0, 0.0), [BASELINE]) == "cannot tell yet"


def test_a_handful_of_images_decides_nothing():
    few = row("candidate", 5.0, 0.001, images=15)
    assert bound(few, 0.05) == Bound("cannot tell yet", 16)
    apart = row("candidate", 5.0, 0.04, spread_of=0.02, images=8)
    assert bound(apart, 0.05).images == pytest.approx(32, abs=1)
    assert beats_fewer_steps(few, [BASELINE, HALF, few]) == "cannot tell yet"


def test_the_best_is_the_fastest_that_surely_keeps_the_bound():
    sure, perhaps = row("sure", 2.0, 0.01), row("perhaps", 3.0, 0.04, spread_of=0.02)
    best = summarise([BASELINE, sure, perhaps], 0.05).best
    assert (best.label, best.speedup, best.loss) == ("sure", 2.0, 0.01)
    assert best.within is True
    best = summarise([BASELINE, perhaps], 0.05).best
    assert (best.label, best.within) == ("perhaps", False)
    assert best.more_images == pytest.approx(128 - 32, abs=1)


@pytest.mark.parametrize(
    "candidate",
    [
        row("slower", 0.995, 0.0),
        unsure_of_speed("no slower, perhaps", 1.01, 0.98, 1.04),
        row("much too bad", 3.0, 0.2),
        row("much too bad, few images", 3.0, 0.2, spread_of=0.01, images=8),
    ],
)
def test_the_baseline_is_the_best_where_nothing_is_faster_within_the_bound(candidate):
    summary = summarise([BASELINE, candidate], 0.05)
    best = summary.best
    assert (best.label, best.speedup, best.loss, best.within) == ("baseline", 1.0, 0.0, True)
    assert in_words(summary)[-1] == "within a loss of 5%: best is baseline"


def test_where_none_surely_keeps_the_bound_the_fastest_that_may_is_named():
    slower = row("ToMe 0.5/2", 0.995, 0.0)
    open_ones = [
        row("DeepCache 2/0", 1.45, 0.002, spread_of=0.02),
        row("DeepCache 3/0", 2.06, 0.003, spread_of=0.02),
    ]
    summary = summarise([BASELINE, slower, *open_ones, row("fast", 9.0, 0.4)], 0.01)
    more = bound(open_ones[1], 0.01).images - 32
    said = {"best": "DeepCache 3/0", "speedup": 2.06, "loss": 0.003}
    assert said.items() <= summary.as_json().items()
    assert (summary.as_json()["within"], summary.as_json()["more_images"]) == (False, more)
    conclusion = f"none surely; DeepCache 3/0 2.06× may, about {more} more images decide"
    not_known = "what differences this run could see is not known: no null arm was measured"
    assert summary.as_json()["conclusion"] == f"{conclusion}; {not_known}"
    assert in_words(summary)[-1] == f"within a loss of 1%: {conclusion}"


def test_too_few_timed_batches_make_nothing_sure():
    few = unsure_of_speed("few batches", 2.0, None, None)
    assert summarise([BASELINE, few], 0.05).best.within is False


def test_what_was_not_scored_is_never_the_best():
    unscored = row("fast", 9.0, 0.0)
    unscored = unscored.model_copy(update={"metrics": [unscored.metric("speedup")]})
    failed = row("faster").model_copy(update={"status": NON_FINITE, "metrics": []})
    summary = summarise([BASELINE, unscored, failed], 0.05)
    assert summary.best is None
    assert summary.non_finite == ["faster"]


def test_a_small_bound_is_not_rounded_away():
    summary = summarise([BASELINE, row("good", 2.0, 0.001)], 0.002)
    assert any("loss within 0.2%: within" in line for line in in_words(summary))


def in_study(name, measured):
    depends_on = {"settings": {"digest": ""}, "environment": {}, "study": name}
    return Row(**dict(measured), **depends_on)


def test_spread_between_studies():
    studies = {
        name: [in_study(name, BASELINE), in_study(name, row(f"fast ({name})", speed, loss))]
        for name, speed, loss in (("seed 1", 2.0, 0.01), ("seed 2", 2.2, 0.03))
    }
    assert spread(studies) == {"fast": {"speedup": [2.0, 2.2], "quality_loss": [0.01, 0.03]}}


def test_a_summary_holds_what_was_asked_for_and_no_more():
    plain = summarise([BASELINE.model_copy(update={"metrics": []})], 0.05).as_json()
    keys = ["images_generated", "configurations", "out_of_memory", "not_numbers", "max_loss"]
    assert list(plain) == [*keys, "frontier"]
    scored = summarise(
        [BASELINE, row("fast", 2.0, 0.01), row("open", 3.0, 0.04, spread_of=0.02)], 0.05
    )
    judged = ["null_arm", "told_apart", "bound", "beats_fewer_steps"]
    best = ["best", "speedup", "loss", "within", "conclusion"]
    assert list(scored.as_json()) == [*plain, *judged, *best]
    repeated = replace(scored, confirmation=scored, stability={}, overhead=0.1).as_json()
    assert list(repeated) == [*scored.as_json(), "confirmation", "stability", "overhead"]
    assert repeated["confirmation"] == scored.as_json()
    assert repeated["bound"]["fast"] == {"answer": "within"}
    assert repeated["bound"]["open"]["images"] > 32
