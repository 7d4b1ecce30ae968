"""What the null arm makes of other configurations' figures."""

import pytest

from tests.helpers.measured_rows import measured
from worker.results.frontier import frontier
from worker.results.null_arm import NullArm
from worker.results.row import OUT_OF_MEMORY, metric
from worker.results.summary import in_words, summarise

UNBIASED = (1.0, 0.98, 1.03)
BIASED = (1.07, 1.05, 1.09)
NO_LOSS = (0.0, 0.0, 0.0)


def row(label, gain=None, loss=NO_LOSS, role="candidate", images=32, **configuration):
    """Return a row whose speed-up and loss have these values and ends of their intervals."""
    metrics = [metric("clip_score", 30.0, "", "higher"), metric("images_scored", images, "", None)]
    samples = {}
    if gain is not None:
        for name, (value, low, high) in (("speedup", gain), ("quality_loss", loss)):
            metrics.append(metric(name, value, "", None, low=low, high=high))
        samples = {
            "seconds": [1 / gain[0]] * 10,
            "baseline_seconds": [1.0] * 10,
            "clip_score": [30 * (1 - loss[0])] * images,
            "baseline_clip_score": [30.0] * images,
        }
    return measured(label, role, configuration, metrics, samples)


def null(gain, loss=NO_LOSS, **more):
    return row("baseline, other seeds", gain, loss, "control", seeds=1, **more)


BASELINE = row("baseline", role="baseline")


@pytest.mark.parametrize(
    ("judge", "gain", "said", "least"),
    [
        # the null arm's interval reaches 3 % from 1
        (UNBIASED, (1.02, 1.01, 1.03), "cannot tell", 0.03),
        (UNBIASED, (1.04, 1.03, 1.05), "faster", 0.03),
        (UNBIASED, (0.98, 0.97, 0.99), "cannot tell", 0.03),
        (UNBIASED, (0.96, 0.95, 0.97), "slower", 0.03),
        # a configuration's own interval may be wider
        (UNBIASED, (1.08, 0.972, 1.188), "cannot tell", 0.1),
        (UNBIASED, (1.2, 1.08, 1.32), "faster", 0.1),
        # what is biased may have moved it as far, beside its own uncertainty
        (BIASED, (1.08, 1.0584, 1.1016), "cannot tell", 0.11),
        (BIASED, (1.1, 1.078, 1.122), "cannot tell", 0.11),
        (BIASED, (1.12, 1.0976, 1.1424), "faster", 0.11),
        (BIASED, (0.88, 0.8624, 0.8976), "slower", 0.11),
        # without a null arm its own interval is all there is
        (None, (1.02, 1.01, 1.03), "faster", None),
        (None, (1.02, 0.99, 1.05), "cannot tell", None),
        ((1.0, None, None), (1.02, 1.01, 1.03), "faster", None),
        (UNBIASED, (2.0, None, None), "cannot tell", 0.03),
    ],
)
def test_a_difference_below_the_least_one_is_not_told(judge, gain, said, least):
    candidate = row("A", gain)
    rows = [BASELINE, candidate] if judge is None else [BASELINE, null(judge), candidate]
    arm = NullArm.of(rows)
    assert arm.speed(candidate) == said
    assert arm.least_difference(candidate) == (None if least is None else pytest.approx(least))


def test_what_cannot_be_told_is_a_tie_and_a_tie_is_the_baselines():
    tie = row("tie", (1.02, 1.01, 1.03))
    rows = [BASELINE, null(UNBIASED), tie]
    assert frontier(rows) == [BASELINE]
    assert summarise(rows, 0.05).best.label == "baseline"
    # the same row, had nobody looked at the baseline twice
    assert frontier([BASELINE, tie]) == [tie]
    assert summarise([BASELINE, tie], 0.05).best.label == "tie"
    faster = row("faster", (1.5, 1.48, 1.52))
    assert frontier([*rows, faster]) == [faster]
    assert summarise([*rows, faster], 0.05).best.label == "faster"


def test_a_tie_that_surely_looks_better_stays_on_the_frontier_for_that():
    better = row("better", (1.02, 1.01, 1.03), (-0.02, -0.025, -0.015))
    assert frontier([BASELINE, null(UNBIASED), better]) == [better]
    assert summarise([BASELINE, null(UNBIASED), better], 0.05).best.label == "baseline"


@pytest.mark.parametrize(
    ("judge", "loss", "images", "said"),
    [
        ((0.002, -0.008, 0.012), (-0.01, -0.011, -0.009), 32, "cannot tell"),
        ((0.002, -0.008, 0.012), (-0.02, -0.021, -0.019), 32, "better"),
        ((0.002, -0.008, 0.012), (0.01, 0.009, 0.011), 32, "cannot tell"),
        ((0.002, -0.008, 0.012), (0.02, 0.019, 0.021), 32, "worse"),
        ((0.002, -0.008, 0.012), (0.02, -0.001, 0.041), 32, "cannot tell"),
        ((0.0, 0.0, 0.0), (0.02, 0.019, 0.021), 15, "cannot tell"),
    ],
)
def test_a_loss_below_what_other_seeds_give_is_not_told(judge, loss, images, said):
    candidate = row("A", (0.9, 0.89, 0.91), loss, images=images)
    rows = [BASELINE, null(UNBIASED, judge), candidate]
    assert NullArm.of(rows).quality(candidate) == said
    on_frontier = candidate in frontier(rows)
    assert on_frontier == (said == "better"), "it is slower, so only quality can bring it there"


@pytest.mark.parametrize(
    ("fewer", "judge", "said"),
    [(1.5, UNBIASED, "yes"), (1.58, UNBIASED, "cannot tell yet"), (1.5, BIASED, "cannot tell yet")],
)
def test_fewer_steps_are_not_beaten_by_less_than_can_be_seen(fewer, judge, said):
    half = row("10 steps", (fewer, fewer, fewer), (0.01, 0.0, 0.02), "control", steps=10)
    candidate = row("A", (1.6, 1.584, 1.616), (0.01, 0.0, 0.02))
    rows = [BASELINE, half, candidate, null(judge)]
    assert summarise(rows, 0.05).beats_fewer_steps == {"A": said}
    assert summarise(rows[:-1], 0.05).beats_fewer_steps == {"A": "yes"}


def told(*rows):
    """Return the summary as it stands in a results file, and its lines for the log."""
    summary = summarise([BASELINE, *rows], 0.05)
    return summary.as_json(), in_words(summary)


def without_ends(told_apart):
    """Return what is told of each candidate, less the ends of its intervals."""
    ends = {"speedup_interval", "loss_interval"}
    return {
        name: {key: value for key, value in one.items() if key not in ends}
        for name, one in told_apart.items()
    }


def test_both_ends_of_the_intervals_stand_with_each_candidate():
    plain, _ = told(null(UNBIASED), row("B", (1.5, 1.485, 1.515), (0.02, 0.01, 0.03)))
    assert plain["told_apart"]["B"]["speedup_interval"] == [1.485, 1.515]
    assert plain["told_apart"]["B"]["loss_interval"] == [0.01, 0.03]
    plain, _ = told(null(UNBIASED), row("B", (2.0, None, None)))
    assert "speedup_interval" not in plain["told_apart"]["B"]


def test_a_run_says_what_it_could_see():
    tie, faster = row("A", (1.02, 1.01, 1.03)), row("B", (1.5, 1.485, 1.515), (0.02, 0.01, 0.03))
    plain, lines = told(null(UNBIASED, (0.002, -0.008, 0.012)), tie, faster)
    assert plain["null_arm"] == {
        "speedup": {"value": 1.0, "low": 0.98, "high": 1.03},
        "least_difference": pytest.approx(0.03),
        "biased": False,
        "quality_loss": {"value": 0.002, "low": -0.008, "high": 0.012},
        "least_loss": 0.012,
        "too_few_prompts": False,
    }
    least = pytest.approx(0.03)
    assert without_ends(plain["told_apart"]) == {
        "A": {"speed": "cannot tell", "least_difference": least, "quality": "cannot tell"},
        "B": {"speed": "faster", "least_difference": least, "quality": "worse"},
    }
    seen = "this run could see differences of 3% and more"
    assert plain["conclusion"] == f"best is B; null arm 1.00 [0.98, 1.03]: {seen}"
    rest = "loss within 5%: within; better than fewer steps: cannot tell yet"
    assert lines == [
        f"null arm 1.00 [0.98, 1.03]: {seen}",
        "null arm's loss +0.20% [-0.80%, +1.20%]: less than 1.2% says nothing",
        "frontier: baseline, B",
        f"A: speed: cannot tell: {seen}; quality: cannot tell; {rest}",
        f"B: speed: faster; quality: worse; {rest}",
        "within a loss of 5%: best is B",
    ]


def test_a_biased_run_says_so_everywhere():
    plain, lines = told(null(BIASED), row("A", (1.08, 1.0584, 1.1016)))
    biased = (
        "biased: the baseline with other seeds came out at 1.07 [1.05, 1.09] where 1 is right; "
        "speed-ups of this run may be off by as much"
    )
    assert plain["null_arm"]["biased"] is True
    assert plain["null_arm"]["least_difference"] == pytest.approx(0.09)
    open_ = "cannot tell 1 of 1 from the baseline by speed"
    assert plain["conclusion"] == f"best is baseline; {open_}; {biased}"
    assert lines[0] == biased
    assert any("cannot tell: this run could see differences of 11% and more" in x for x in lines)


def test_prompts_that_are_too_few_are_told_of():
    _, lines = told(null(UNBIASED, (-0.01, -0.019, -0.003)), row("A", (1.5, 1.48, 1.52)))
    assert (
        "too few prompts: other seeds alone came out at a loss of -1.00% [-1.90%, -0.30%] where "
        "0 is right; less than 1.9% says nothing" in lines
    )


@pytest.mark.parametrize(
    ("judge", "why"),
    [
        ([], "no null arm was measured"),
        (
            [null(UNBIASED).model_copy(update={"status": OUT_OF_MEMORY, "metrics": []})],
            "of the null arm nothing is known: out of memory",
        ),
        ([null((1.01, None, None))], "the null arm has fewer than 6 timed rounds"),
    ],
)
def test_where_the_null_arm_is_not_known_nothing_is_made_up(judge, why):
    plain, lines = told(*judge, row("A", (1.02, 0.99, 1.05)), row("B", (2.0, None, None)))
    assert plain["null_arm"].items() >= {"not_known": why}.items()
    assert not plain["null_arm"].keys() & {"speedup", "least_difference", "biased"}
    assert without_ends(plain["told_apart"])["A"] == {
        "speed": "cannot tell",
        "quality": "cannot tell",
    }
    sentence = f"what differences this run could see is not known: {why}"
    assert lines[0] == sentence
    assert plain["conclusion"].endswith(f"; {sentence}")
    assert any("A: speed: cannot tell: 1 lies within [0.99, 1.05]; " in line for line in lines)
    assert any("B: speed: cannot tell: fewer than 6 timed rounds; " in line for line in lines)


def test_without_quality_speed_is_judged_all_the_same():
    bare = [
        item.model_copy(update={"metrics": [item.metric("speedup")]})
        for item in (null(UNBIASED), row("A", (1.5, 1.48, 1.52)))
    ]
    plain, lines = told(*bare)
    assert without_ends(plain["told_apart"]) == {
        "A": {"speed": "faster", "least_difference": pytest.approx(0.03)}
    }
    assert plain["conclusion"] == lines[0]
    assert lines[1:] == ["A: speed: faster"]


def test_a_large_share_has_no_exponent():
    assert "differences of 120% and more" in NullArm.of([null((1.1, 0.9, 2.2))]).in_words()
