"""Whether the answer on images and captions is right as often as it should be."""

import numpy as np
import pytest

from worker.results.relation import relation


def answers(gain, images, runs=100, popular=0.0):
    """Return the share of each answer on simulated scores.

    Args:
        gain: by how many standard deviations an own caption scores higher.
        images: as many as captions.
        runs: simulations.
        popular: how much images and captions differ in their scores with all others.
    """
    random = np.random.default_rng(0)
    found = []
    for _ in range(runs):
        scores = 20 + random.normal(size=(images, images)) + gain * np.eye(images)
        scores += popular * (random.normal(size=(images, 1)) + random.normal(size=(1, images)))
        found.append(relation(scores.tolist()).answer)
    return {answer: found.count(answer) / runs for answer in set(found)}


@pytest.mark.parametrize("popular", [0.0, 3.0])
@pytest.mark.parametrize("images", [16, 64])
def test_no_relation_is_hardly_ever_taken_for_one(images, popular):
    shares = answers(0.0, images, popular=popular)
    assert shares.get("yes", 0) <= 0.06
    assert shares["no"] >= (0.9 if images == 64 else 0.65)


@pytest.mark.parametrize("popular", [0.0, 3.0])
def test_a_weak_model_is_not_refused(popular):
    """Blurred pictures of two steps lie around one standard deviation."""
    assert answers(1.0, 16, popular=popular).get("no", 0) <= 0.02
    assert answers(1.0, 64, popular=popular) == {"yes": 1.0}


def test_few_images_decide_nothing():
    assert answers(0.0, 15) == {"cannot tell yet": 1.0}


def test_figures_are_means_of_own_and_others():
    scores = np.random.default_rng(1).normal(10, 1, size=(20, 20)) + 5 * np.eye(20)
    found = relation(scores.tolist())
    others = (scores.sum() - scores.trace()) / (20 * 19)
    assert found.own == pytest.approx(scores.trace() / 20)
    assert found.others == pytest.approx(others)
    assert found.gain.value == pytest.approx(found.own - others)
    assert found.gain.low < found.gain.value < found.gain.high
    assert found.scatter == pytest.approx(1, abs=0.1)


def test_scores_without_any_difference_are_no_relation():
    assert relation(np.full((16, 16), 3.0).tolist()).answer == "no"
