"""What counts as an image of one colour, and what as the same picture."""

import pytest
import torch

from worker.metrics.contrast import Contrast


def noise(size, seed=0):
    return torch.rand(3, size, size, generator=torch.Generator().manual_seed(seed))


def white(size=256):
    return torch.ones(3, size, size)


def with_line(image):
    image[:, 100, 40:200] = 0
    return image


def with_few_letters(image):
    """Draw as many dark pixels as a short word in small print has."""
    image[:, 50:58, 20:60:4] = 0.2
    return image


def starry(image):
    image[:, ::60, ::60] = 0.8
    return image


LITTLE_CONTRAST = {
    "dark scene": 0.03 * noise(256),
    "line drawing": with_line(white()),
    "text on white": with_few_letters(white()),
    "night sky": starry(0.01 * noise(256)),
    "one channel": torch.stack([noise(64)[0], torch.zeros(64, 64), torch.zeros(64, 64)]),
    "fog": 0.7 + 0.03 * noise(256),
}
NO_CONTRAST = {
    "black": torch.zeros(3, 64, 64),
    "grey": torch.full((3, 64, 64), 0.5),
    "one colour": torch.tensor([0.9, 0.1, 0.4])[:, None, None].expand(3, 64, 64),
    "rounded": (0.5 * 255 + noise(64)).round() / 255,
    "half precision": (0.5 + 0.001 * noise(64)).half(),
}


@pytest.mark.parametrize("image", LITTLE_CONTRAST.values(), ids=LITTLE_CONTRAST.keys())
def test_little_contrast_is_contrast(image):
    contrast = Contrast()
    contrast.add(image[None], [0])
    assert (contrast.count, contrast.blank, contrast.is_missing) == (1, 0, False)


@pytest.mark.parametrize("image", NO_CONTRAST.values(), ids=NO_CONTRAST.keys())
def test_one_colour_is_no_contrast_whatever_it_is(image):
    contrast = Contrast()
    contrast.add(image[None].expand(2, -1, -1, -1), [0, 1])
    assert contrast.is_missing
    assert not contrast.are_alike
    assert contrast.colour == tuple(round(255 * float(channel.float().mean())) for channel in image)


def test_two_line_drawings_are_two_pictures():
    contrast = Contrast()
    contrast.add(torch.stack([with_line(white()), with_line(white()).mT]), [0, 1])
    assert not contrast.are_alike


def test_the_same_picture_is_told_behind_rounding():
    picture = noise(64)
    contrast = Contrast()
    contrast.add(torch.stack([picture, (picture * 255).round() / 255]), [0, 1])
    assert contrast.are_alike
    contrast.add(picture.half()[None], [2])
    assert contrast.are_alike
    contrast.add(noise(64, seed=1)[None], [3])
    assert not contrast.are_alike
    # what comes after two that differ changes nothing any more
    contrast.add(picture[None], [4])
    assert not contrast.are_alike


def test_a_prompt_counts_once_and_one_image_is_not_alike():
    contrast = Contrast()
    assert not contrast.is_missing
    # the last batch is filled up from the front
    contrast.add(noise(64)[None].expand(2, -1, -1, -1), [0, 0])
    contrast.add(noise(64)[None], [0])
    assert (contrast.count, contrast.are_alike) == (1, False)


def test_blanks_among_good_ones_are_counted():
    contrast = Contrast()
    black = torch.zeros(1, 3, 64, 64)
    contrast.add(black, [0])
    assert contrast.is_missing
    contrast.add(torch.cat([noise(64)[None], black, noise(64, seed=1)[None]]), [1, 2, 3])
    assert (contrast.count, contrast.blank) == (4, 2)
    assert not contrast.is_missing
    assert not contrast.are_alike
    assert contrast.has_seen([0, 3])
    assert not contrast.has_seen([0, 4])
