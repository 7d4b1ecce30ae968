"""Pictures show what captions say."""

import pytest
import torch

from worker.shapes.grammar import COLOURS, POSITIONS, RELATIONS, SHAPES, Column, draw_scenes
from worker.shapes.raster import IMAGE_SIZE, draw_pictures

RED, GREEN, BLACK, WHITE = (COLOURS.index(name) for name in ("red", "green", "black", "white"))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def scene(**columns):
    row = torch.zeros(1, len(Column), dtype=torch.int64)
    for name, value in columns.items():
        row[0, Column[name.upper()]] = value
    return row


def centre_of(mask):
    rows, columns = mask.nonzero(as_tuple=True)
    return columns.float().mean().item() / IMAGE_SIZE, rows.float().mean().item() / IMAGE_SIZE


def test_pictures_depend_on_nothing_but_scenes_and_seed():
    scenes = draw_scenes(64, seeded())
    first, second = draw_pictures(scenes, seeded(1)), draw_pictures(scenes, seeded(1))
    assert first.shape == (64, 3, IMAGE_SIZE, IMAGE_SIZE)
    assert torch.equal(first, second)
    assert first.min() >= -1
    assert first.max() <= 1
    assert not torch.equal(first, draw_pictures(scenes, seeded(2)))


@pytest.mark.parametrize(
    ("position", "x", "y"),
    [
        ("in the center", 0, 0),
        ("at the top", 0, -1),
        ("on the left", -1, 0),
        ("in the bottom right corner", 1, 1),
    ],
)
def test_a_single_object_stands_where_the_caption_says(position, x, y):
    row = scene(colour=WHITE, place=POSITIONS.index(position), background=BLACK)
    (picture,) = draw_pictures(row, seeded())
    found = centre_of(picture[0] > 0)
    assert [round((value - 0.5) / 0.22) for value in found] == [x, y]


@pytest.mark.parametrize(
    ("relation", "axis", "sign"),
    [("left of", 0, -1), ("right of", 0, 1), ("above", 1, -1), ("below", 1, 1)],
)
def test_the_first_of_two_objects_stands_on_the_side_that_the_relation_says(relation, axis, sign):
    row = scene(
        colour=RED,
        other_colour=GREEN,
        place=len(POSITIONS) + RELATIONS.index(relation),
        background=BLACK,
    )
    (picture,) = draw_pictures(row, seeded())
    red, green, _ = picture
    first, other = centre_of(red > green + 0.5), centre_of(green > red + 0.5)
    assert (first[axis] - other[axis]) * sign > 0.3


@pytest.mark.parametrize("shape", range(len(SHAPES)), ids=SHAPES)
def test_a_large_object_covers_more_than_a_small_one(shape):
    areas = [
        (draw_pictures(scene(size=size, colour=WHITE, shape=shape, background=BLACK), seeded()) > 0)
        .sum()
        .item()
        for size in (0, 1)
    ]
    assert 0 < 1.5 * areas[0] < areas[1]


def test_every_shape_looks_different():
    rows = torch.cat(
        [scene(size=1, colour=WHITE, shape=number, background=BLACK) for number in range(8)]
    )
    pictures = torch.cat([draw_pictures(row[None], seeded()) for row in rows])
    for first in range(8):
        for second in range(first):
            assert (pictures[first] - pictures[second]).abs().gt(1).sum() > 50
