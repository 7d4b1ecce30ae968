"""The autoencoder that both generators share."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from worker.shapes.examples import choose, draw_pool, to_float
from worker.shapes.grammar import draw_scenes
from worker.shapes.models import LATENT_SHAPE, build_autoencoder
from worker.shapes.trainer import Objective, Recipe

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

#: Standard deviation of the noise that the decoder must bear on latents of deviation 1, so that
#: the small errors of a generator stay invisible.
_LATENT_NOISE = 0.1
_CHUNK = 1024


def objective(recipe: Recipe, seed: int, device: torch.device) -> Objective[AutoencoderKL]:
    """Rebuild pictures from their latents, under noise.

    The latents are brought to mean 0 and deviation 1 in every channel of the batch, which fixes
    their ratio to the noise. A weighted divergence from a normal distribution, as in the large
    autoencoders, let flat colours be said by a thousand latents together, each almost all noise.
    """
    generator = torch.Generator().manual_seed(seed)
    pictures = draw_pool(draw_scenes(recipe.pool_size, generator), generator, device)

    def draw(generator: torch.Generator) -> tuple[Tensor, ...]:
        images = to_float(pictures[choose(len(pictures), recipe.batch_size, generator)])
        noise = torch.randn(len(images), *LATENT_SHAPE, generator=generator, device=device)
        return images, noise

    def loss(model: AutoencoderKL, images: Tensor, noise: Tensor) -> Tensor:
        latents = model.encode(images).latent_dist.mean.float()
        deviation, mean = torch.std_mean(latents, (0, 2, 3), keepdim=True)
        noisy = (latents - mean) / deviation + _LATENT_NOISE * noise
        return functional.mse_loss(model.decode(noisy).sample.float(), images)

    return Objective("vae", build_autoencoder().to(device), draw, loss)


def save(model: AutoencoderKL, folder: Path, seed: int) -> None:
    """Write the autoencoder, its latents brought to mean 0 and deviation 1 in every channel."""
    generator = torch.Generator().manual_seed(seed)
    device = next(model.parameters()).device
    latents = encode(model, draw_pool(draw_scenes(_CHUNK, generator), generator, device))
    _normalise(model, latents.mean((0, 2, 3)), latents.std((0, 2, 3)))
    model.register_to_config(scaling_factor=1.0)
    model.save_pretrained(folder)


@torch.no_grad()
def _normalise(model: AutoencoderKL, mean: Tensor, deviation: Tensor) -> None:
    """Do what the training did between encoder and decoder in the encoder's last layer."""
    layer, channels = model.quant_conv, len(mean)
    layer.weight[:channels] /= deviation[:, None, None, None]
    layer.bias[:channels] = (layer.bias[:channels] - mean) / deviation
    layer.weight[channels:] = 0  # the logarithm of the posterior's variance
    layer.bias[channels:] = 2 * math.log(_LATENT_NOISE)


@torch.no_grad()
def encode(model: AutoencoderKL, pictures: Tensor) -> Tensor:
    """The most probable latents of a pool's pictures; float32 of shape (n, 4, 16, 16)."""
    chunks = torch.split(pictures, _CHUNK)
    return torch.cat([model.encode(to_float(chunk)).latent_dist.mode() for chunk in chunks])
