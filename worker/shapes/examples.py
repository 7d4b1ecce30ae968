"""Training examples: drawn once from a seed, kept on the device, chosen from at every step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from worker.shapes.grammar import captions_of
from worker.shapes.raster import draw_pictures

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

_CHUNK = 1024


def draw_pool(scenes: Tensor, generator: torch.Generator, device: torch.device) -> Tensor:
    """Draw a picture of every scene; uint8 of shape (n, 3, 64, 64) on `device`."""
    chunks = [draw_pictures(chunk, generator, device) for chunk in torch.split(scenes, _CHUNK)]
    return torch.cat([((chunk + 1) * 127.5).round().to(torch.uint8) for chunk in chunks])


def to_float(pictures: Tensor) -> Tensor:
    """Pictures of a pool as the models see them.

    Args:
        pictures: uint8 of any shape, such as (n, 3, 64, 64).

    Returns:
        Values from -1 to 1, float32 of the same shape.
    """
    return pictures.float() / 127.5 - 1


def tokens_of(scenes: Tensor, tokenizer: CLIPTokenizer, device: torch.device) -> Tensor:
    """The captions of scenes as token numbers; int64 of shape (n, 32) on `device`."""
    encoded = tokenizer(captions_of(scenes), padding="max_length", truncation=True)
    return torch.tensor(encoded.input_ids, device=device)


def choose(pool_size: int, count: int, generator: torch.Generator) -> Tensor:
    """Numbers of examples, with repetition; int64 of shape (count,) on the generator's device."""
    return torch.randint(pool_size, (count,), generator=generator, device=generator.device)
