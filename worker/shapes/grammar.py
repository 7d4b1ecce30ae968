"""The world of shapes: which scenes there are, how a caption says one, which are held out.

A scene is one row of integers (see `Column`), so that a batch of scenes is one tensor that can be
drawn, compared and altered without loops. A caption and a row say the same: neither knows anything
that the other does not.

The split is by combination. An object's shape, its colour and the scene's background are three
numbers from 0 to 7; where they add up to a multiple of 8, the combination is held out. One in eight
of the 512 combinations is therefore never seen in training, whatever the size, the position and the
other object, while every pair of values (a red star, a star on blue) still is.
"""

from __future__ import annotations

from enum import IntEnum

import torch
from torch import Tensor

SIZES = ("small", "large")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "white", "black")
SHAPES = ("circle", "square", "triangle", "diamond", "star", "cross", "ring", "crescent")
POSITIONS = (
    "in the center",
    "at the top",
    "at the bottom",
    "on the left",
    "on the right",
    "in the top left corner",
    "in the top right corner",
    "in the bottom left corner",
    "in the bottom right corner",
)
#: Each beside its opposite.
RELATIONS = ("left of", "right of", "above", "below")

#: One object in three scenes, two in the others.
_SHARE_OF_SINGLES = 1 / 3


class Column(IntEnum):
    """The columns of a tensor of scenes, int64 of shape (n, 8).

    `PLACE` counts through `POSITIONS`, which place the only object, and then `RELATIONS`, which
    place the first object relative to the other. A scene of one object has zeros where the other
    would be.
    """

    SIZE = 0
    COLOUR = 1
    SHAPE = 2
    OTHER_SIZE = 3
    OTHER_COLOUR = 4
    OTHER_SHAPE = 5
    PLACE = 6
    BACKGROUND = 7


_OTHER = [Column.OTHER_SIZE, Column.OTHER_COLOUR, Column.OTHER_SHAPE]


def has_two_objects(scenes: Tensor) -> Tensor:
    """Which scenes hold a second object; shape (n,), bool."""
    return scenes[:, Column.PLACE] >= len(POSITIONS)


def is_held_out(scenes: Tensor) -> Tensor:
    """Which scenes hold an object whose combination is kept from training; shape (n,), bool."""
    background = scenes[:, Column.BACKGROUND]
    first = scenes[:, Column.COLOUR] + scenes[:, Column.SHAPE] + background
    other = scenes[:, Column.OTHER_COLOUR] + scenes[:, Column.OTHER_SHAPE] + background
    return (first % 8 == 0) | (has_two_objects(scenes) & (other % 8 == 0))


def draw_scenes(count: int, generator: torch.Generator, *, held_out: bool = False) -> Tensor:
    """Draw scenes from one side of the split; the same generator state gives the same scenes.

    Args:
        count: how many.
        generator: a generator on the CPU; it is advanced.
        held_out: from the held-out combinations instead of the training ones.

    Returns:
        Scenes, int64 of shape (count, 8), see `Column`. They may repeat.
    """
    kept = torch.empty(0, len(Column), dtype=torch.int64)
    while len(kept) < count:
        candidates = _draw_any(2 * count, generator)
        usable = _is_visible(candidates) & (is_held_out(candidates) == held_out)
        kept = torch.cat([kept, candidates[usable]])
    return kept[:count]


def alter_scenes(scenes: Tensor, generator: torch.Generator, *, held_out: bool = False) -> Tensor:
    """Change one attribute of every scene, staying on one side of the split.

    A caption of the altered scene is the nearest wrong caption for a picture of the original.

    Args:
        scenes: int64 of shape (n, 8), see `Column`, all from one side of the split.
        generator: a generator on the CPU; it is advanced.
        held_out: whether they are from the held-out combinations instead of the training ones.

    Returns:
        Scenes, int64 of shape (n, 8); none equals the one it was made from.
    """
    altered = scenes.clone()
    waiting = torch.arange(len(scenes))
    while len(waiting):
        rows = scenes[waiting]
        column = torch.randint(len(Column), (len(rows),), generator=generator)
        fresh = _draw_any(len(rows), generator)
        # A place is redrawn among its own kind: whether there is a second object stays as it is.
        same_kind = has_two_objects(rows) == has_two_objects(fresh)
        row_numbers = torch.arange(len(rows))
        candidates = rows.clone()
        candidates[row_numbers, column] = fresh[row_numbers, column]
        candidates = _canonical(candidates)
        usable = (
            same_kind
            & (candidates != rows).any(1)
            & _is_visible(candidates)
            & (is_held_out(candidates) == held_out)
        )
        altered[waiting[usable]] = candidates[usable]
        waiting = waiting[~usable]
    return altered


def captions_of(scenes: Tensor) -> list[str]:
    """Say every scene in words.

    Args:
        scenes: int64 of shape (n, 8), see `Column`.

    Returns:
        n captions.
    """
    return [_caption(row) for row in scenes.tolist()]


def held_out_scenes(count: int, seed: int = 0) -> Tensor:
    """Distinct held-out scenes; a smaller count gives the beginning of a larger one.

    Args:
        count: how many.
        seed: what they follow from.

    Returns:
        Scenes, int64 of shape (count, 8), see `Column`.
    """
    generator = torch.Generator().manual_seed(seed)
    scenes: dict[tuple[int, ...], None] = {}
    while len(scenes) < count:
        drawn = draw_scenes(1024, generator, held_out=True).tolist()
        scenes.update(dict.fromkeys(map(tuple, drawn)))
    return torch.tensor(list(scenes)[:count])


def turn_round(scenes: Tensor) -> Tensor:
    """Put every relation of two objects into its opposite; scenes of one object stay as they are.

    Args:
        scenes: int64 of shape (n, 8), see `Column`.

    Returns:
        Scenes of the same shape.
    """
    turned = scenes.clone()
    relation = turned[:, Column.PLACE] - len(POSITIONS)
    opposite = len(POSITIONS) + (relation ^ 1)
    turned[:, Column.PLACE] = torch.where(relation >= 0, opposite, turned[:, Column.PLACE])
    return turned


def objects_by_place(scenes: Tensor) -> Tensor:
    """The objects of scenes, whichever the caption names first.

    Returns:
        Size, colour and shape of two objects, int64 of shape (n, 2, 3): first the one that is on
        the left or on top. An only object is both.
    """
    first, other = scenes[:, : Column.OTHER_SIZE], scenes[:, _OTHER]
    two, place = has_two_objects(scenes), scenes[:, Column.PLACE]
    other = torch.where(two[:, None], other, first)
    # of the relations, every second one names the object on the right or at the bottom first
    turned = (two & ((place - len(POSITIONS)) % 2 == 1))[:, None]
    return torch.stack([torch.where(turned, other, first), torch.where(turned, first, other)], 1)


def words() -> list[str]:
    """Every word that a caption can contain, in alphabetical order."""
    phrases = (*SIZES, *COLOURS, *SHAPES, *POSITIONS, *RELATIONS, "a an of on background")
    return sorted({word for phrase in phrases for word in phrase.split()})


def _draw_any(count: int, generator: torch.Generator) -> Tensor:
    """Scenes from both sides of the split, some of them not drawable."""

    def below(limit: int) -> Tensor:
        return torch.randint(limit, (count,), generator=generator)

    single = torch.rand(count, generator=generator) < _SHARE_OF_SINGLES
    columns = {
        Column.SIZE: below(len(SIZES)),
        Column.COLOUR: below(len(COLOURS)),
        Column.SHAPE: below(len(SHAPES)),
        Column.OTHER_SIZE: below(len(SIZES)),
        Column.OTHER_COLOUR: below(len(COLOURS)),
        Column.OTHER_SHAPE: below(len(SHAPES)),
        Column.PLACE: torch.where(
            single, below(len(POSITIONS)), len(POSITIONS) + below(len(RELATIONS))
        ),
        Column.BACKGROUND: below(len(COLOURS)),
    }
    return _canonical(torch.stack([columns[column] for column in Column], dim=1))


def _canonical(scenes: Tensor) -> Tensor:
    """Blank the second object where there is none, so that one caption has one row."""
    scenes = scenes.clone()
    scenes[:, _OTHER] *= has_two_objects(scenes)[:, None].long()
    return scenes


def _is_visible(scenes: Tensor) -> Tensor:
    """Which scenes have no object in the colour of their background; shape (n,), bool."""
    background = scenes[:, Column.BACKGROUND]
    other_is_visible = scenes[:, Column.OTHER_COLOUR] != background
    return (scenes[:, Column.COLOUR] != background) & (other_is_visible | ~has_two_objects(scenes))


def _caption(row: list[int]) -> str:
    first = _object(*row[Column.SIZE : Column.OTHER_SIZE])
    background = COLOURS[row[Column.BACKGROUND]]
    ground = f"{'an' if background[0] in 'aeiou' else 'a'} {background} background"
    if row[Column.PLACE] < len(POSITIONS):
        return f"{first} {POSITIONS[row[Column.PLACE]]} of {ground}"
    other = _object(*row[Column.OTHER_SIZE : Column.PLACE])
    return f"{first} {RELATIONS[row[Column.PLACE] - len(POSITIONS)]} {other} on {ground}"


def _object(size: int, colour: int, shape: int) -> str:
    return f"a {SIZES[size]} {COLOURS[colour]} {SHAPES[shape]}"
