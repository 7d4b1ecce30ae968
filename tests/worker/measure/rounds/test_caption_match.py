"""Which captions images are scored with, and when the scores are looked at."""

import pytest
import torch
from torch.nn.functional import normalize

from worker.measure.rounds.caption_match import CaptionMatch


def unit(count, seed=0, width=64):
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(count, width, generator=generator), dim=-1)


def test_each_image_is_scored_with_each_image_s_caption():
    captions, images = unit(4), unit(4, seed=1)
    match = CaptionMatch(captions)
    match.add(images[2:], [2, 3])
    match.add(images[:1], [0])
    match.add(images[1:2], [0])  # seen before
    known = [0, 2, 3]
    wanted = (100 * images[known] @ captions[known].T).flatten().tolist()
    found = [score for row in match.scores() for score in row]
    assert found == pytest.approx(wanted, abs=1e-4)


def test_of_near_duplicates_one_is_looked_at():
    one, other = unit(2)
    captions = normalize(torch.stack([one, one + 0.01 * other, other, one]), dim=-1)
    match = CaptionMatch(captions)
    match.add(unit(4, seed=1), [0, 1, 2, 3])
    assert (match.captions, match.distinct, match.images) == (4, 2, 2)


def test_more_than_a_few_hundred_are_not_kept():
    match = CaptionMatch(unit(600))
    match.add(unit(600, seed=1), range(600))
    assert match.images == 256


def test_looks_are_few():
    """Each look could find by chance what is not there."""
    match = CaptionMatch(unit(100))
    looks = []
    for image in range(100):
        match.add(unit(1, seed=image), [image])
        if match.is_due(16, last=image == 99):
            looks.append(image + 1)
    assert looks == [16, 32, 64, 100]
    # the block after has the same images again
    assert not match.is_due(16, last=True)


def test_few_images_are_looked_at_once():
    match = CaptionMatch(unit(3))
    match.add(unit(3, seed=1), [0, 1, 2])
    assert [match.is_due(16, last=last) for last in (False, True, True)] == [False, True, False]
