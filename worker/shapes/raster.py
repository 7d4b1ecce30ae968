"""Draw scenes as pictures, in batches, on any device.

Every shape is a function of the distance to its outline, so edges are smooth at any size and a
thousand pictures are a handful of tensor operations. Places, radii and colours vary a little from
picture to picture; what a caption says never changes by that.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from worker.shapes.grammar import COLOURS, POSITIONS, SHAPES, Column, has_two_objects

#: Width and height of every picture, in pixels.
IMAGE_SIZE = 64

_RGB = {
    "red": (0.85, 0.12, 0.14),
    "orange": (0.98, 0.55, 0.08),
    "yellow": (0.98, 0.90, 0.20),
    "green": (0.12, 0.62, 0.24),
    "blue": (0.13, 0.30, 0.85),
    "purple": (0.55, 0.18, 0.66),
    "white": (0.95, 0.95, 0.95),
    "black": (0.06, 0.06, 0.06),
}
_RGB_JITTER = 0.03

# All lengths from here on are in widths of the picture; y grows downwards.
_OFFSET = 0.22
_POSITION_JITTER = 0.03
_OFFSET_IN_PAIRS = 0.23
_JITTER_ACROSS_PAIRS = 0.10  # along the axis that the relation does not speak of
_RADII = ((0.11, 0.125), (0.18, 0.21))  # from, to; small and large

# Where the only object stands, in the order of POSITIONS.
_CENTRES = (
    (0, 0),
    (0, -1),
    (0, 1),
    (-1, 0),
    (1, 0),
    (-1, -1),
    (1, -1),
    (-1, 1),
    (1, 1),
)
# On which side of the middle the first of two objects stands, in the order of RELATIONS.
_SIDES = ((-1, 0), (1, 0), (0, -1), (0, 1))


def draw_pictures(
    scenes: Tensor, generator: torch.Generator, device: torch.device | str = "cpu"
) -> Tensor:
    """Draw one picture of every scene.

    Args:
        scenes: int64 of shape (n, 8), see `grammar.Column`.
        generator: a generator on the CPU; it decides what captions leave open, and is advanced.
        device: where to draw.

    Returns:
        Float32 of shape (n, 3, 64, 64), values from -1 to 1, on `device`.
    """
    count = len(scenes)
    centres, radii = _layout(scenes, generator)
    palette = torch.tensor([_RGB[colour] for colour in COLOURS])
    painted = scenes[:, [Column.BACKGROUND, Column.COLOUR, Column.OTHER_COLOUR]]
    jitter = (2 * torch.rand(count, 3, 3, generator=generator) - 1) * _RGB_JITTER
    rgb = (palette[painted] + jitter).clamp(0, 1).to(device)

    pictures = rgb[:, 0, :, None, None].expand(-1, -1, IMAGE_SIZE, IMAGE_SIZE).clone()
    shapes = scenes[:, [Column.SHAPE, Column.OTHER_SHAPE]]
    # Shape -1 is nothing at all.
    shapes = torch.where(
        torch.stack([torch.ones(count, dtype=torch.bool), has_two_objects(scenes)], 1), shapes, -1
    )
    for layer in range(2):
        coverage = _coverage(shapes[:, layer], centres[:, layer], radii[:, layer], device)[:, None]
        pictures = torch.lerp(pictures, rgb[:, 1 + layer, :, None, None], coverage)
    return pictures * 2 - 1


def _layout(scenes: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Centres, shape (n, 2 objects, x and y), and radii, shape (n, 2)."""
    count = len(scenes)

    def spread() -> Tensor:
        return 2 * torch.rand(count, 2, 2, generator=generator) - 1

    place = scenes[:, Column.PLACE]
    single = torch.tensor(_CENTRES, dtype=torch.float32)[place.clamp(max=len(POSITIONS) - 1)]
    alone = 0.5 + _OFFSET * single[:, None] + _POSITION_JITTER * spread()
    side = torch.tensor(_SIDES, dtype=torch.float32)[(place - len(POSITIONS)).clamp(min=0)]
    sides = torch.stack([side, -side], 1)
    along = sides.abs()
    reach = _POSITION_JITTER * along + _JITTER_ACROSS_PAIRS * (1 - along)
    paired = 0.5 + _OFFSET_IN_PAIRS * sides + reach * spread()
    centres = torch.where(has_two_objects(scenes)[:, None, None], paired, alone)

    bounds = torch.tensor(_RADII)[scenes[:, [Column.SIZE, Column.OTHER_SIZE]]]
    radii = torch.lerp(bounds[..., 0], bounds[..., 1], torch.rand(count, 2, generator=generator))
    return centres, radii


def _coverage(shapes: Tensor, centres: Tensor, radii: Tensor, device: torch.device | str) -> Tensor:
    """How much of each pixel the object covers; shape (n, 64, 64), values from 0 to 1."""
    axis = (torch.arange(IMAGE_SIZE, device=device) + 0.5) / IMAGE_SIZE
    coverage = torch.zeros(len(shapes), IMAGE_SIZE, IMAGE_SIZE, device=device)
    for number, name in enumerate(SHAPES):
        chosen = (shapes == number).nonzero()[:, 0]
        if not len(chosen):
            continue
        radius = radii[chosen].to(device)[:, None, None]
        centre = centres[chosen].to(device)[:, :, None, None]
        x = (axis[None, None, :] - centre[:, 0]) / radius
        y = (axis[None, :, None] - centre[:, 1]) / radius
        pixels_outside = _OUTLINES[name](x, y) * radius * IMAGE_SIZE
        coverage[chosen.to(device)] = (0.5 - pixels_outside).clamp(0, 1)
    return coverage


# Outlines: the distance from (x, y) to the outline, negative inside, in radii of the object.


def _circle(x: Tensor, y: Tensor) -> Tensor:
    return torch.hypot(x, y) - 0.95


def _square(x: Tensor, y: Tensor) -> Tensor:
    return torch.maximum(x.abs(), y.abs()) - 0.85


def _triangle(x: Tensor, y: Tensor) -> Tensor:
    slope = math.sqrt(3) / 2
    return torch.maximum(y - 0.6 + 0 * x, slope * x.abs() - y / 2 - 0.55)


def _diamond(x: Tensor, y: Tensor) -> Tensor:
    half_width, half_height = 0.72, 1.1
    steepness = math.hypot(1 / half_width, 1 / half_height)
    return (x.abs() / half_width + y.abs() / half_height - 1) / steepness


def _star(x: Tensor, y: Tensor) -> Tensor:
    tenth = math.pi / 5
    tip, notch = 1.15, 0.5
    # Folded onto one half of one ray, the outline is a straight line from the tip to the notch.
    angle = (torch.remainder(torch.atan2(x, -y) + tenth, 2 * tenth) - tenth).abs()
    length = torch.hypot(x, y)
    run_x, run_y = notch * math.cos(tenth) - tip, notch * math.sin(tenth)
    out_x, out_y = run_y, -run_x
    distance = (length * angle.cos() - tip) * out_x + length * angle.sin() * out_y
    return distance / math.hypot(out_x, out_y)


def _cross(x: Tensor, y: Tensor) -> Tensor:
    length, half_width = 1.0, 0.3
    across = torch.maximum(x.abs() - length, y.abs() - half_width)
    upright = torch.maximum(x.abs() - half_width, y.abs() - length)
    return torch.minimum(across, upright)


def _ring(x: Tensor, y: Tensor) -> Tensor:
    return (torch.hypot(x, y) - 0.77).abs() - 0.23


def _crescent(x: Tensor, y: Tensor) -> Tensor:
    return torch.maximum(torch.hypot(x, y) - 1.0, 0.85 - torch.hypot(x - 0.5, y))


_OUTLINES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "diamond": _diamond,
    "star": _star,
    "cross": _cross,
    "ring": _ring,
    "crescent": _crescent,
}
