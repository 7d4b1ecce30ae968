"""The scorer: a small CLIP, trained by open_clip's loss and loaded by open_clip like any other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file
from torch import Tensor

from worker.shapes.examples import choose, draw_pool, to_float, tokens_of
from worker.shapes.grammar import alter_scenes, draw_scenes
from worker.shapes.models import SCORER_PREPROCESSING, build_scorer, scorer_settings
from worker.shapes.trainer import Objective, Recipe
from worker.shapes.vocabulary import save_tokenizer

if TYPE_CHECKING:
    from open_clip import CLIP
    from transformers import CLIPTokenizer

#: Pictures are seen under noise of up to this standard deviation, so that shapes and colours are
#: judged rather than single pixels.
_NOISE = 0.15


def objective(
    tokenizer: CLIPTokenizer, recipe: Recipe, seed: int, device: torch.device
) -> Objective[CLIP]:
    """Contrast pictures with captions; half of each batch is one attribute away from the other.

    So every picture meets at least one caption that is wrong in one word, and learns that word.
    """
    from open_clip import ClipLoss

    generator = torch.Generator().manual_seed(seed)
    scenes = draw_scenes(recipe.pool_size // 2, generator)
    sides = (scenes, alter_scenes(scenes, generator))
    pictures = torch.stack([draw_pool(side, generator, device) for side in sides], 1)
    tokens = torch.stack([tokens_of(side, tokenizer, device) for side in sides], 1)
    contrast = ClipLoss()

    def draw(generator: torch.Generator) -> tuple[Tensor, ...]:
        chosen = choose(len(tokens), recipe.batch_size // 2, generator)
        images = to_float(pictures[chosen].flatten(0, 1))
        strength = _NOISE * torch.rand(len(images), 1, 1, 1, generator=generator, device=device)
        noise = torch.randn(images.shape, generator=generator, device=device)
        return images + strength * noise, tokens[chosen].flatten(0, 1)

    def loss(model: CLIP, images: Tensor, texts: Tensor) -> Tensor:
        image_features, text_features, scale = model(images, texts)
        result: Tensor = contrast(image_features, text_features, scale.clamp(max=100))
        return result

    return Objective("scorer", build_scorer(tokenizer).to(device), draw, loss)


def save(model: CLIP, folder: Path, tokenizer: CLIPTokenizer) -> None:
    """Write the folder that open_clip loads as `local-dir:<folder>`, in half precision."""
    save_tokenizer(folder)
    settings = {
        "model_cfg": scorer_settings(tokenizer),
        "preprocess_cfg": SCORER_PREPROCESSING,
    }
    (folder / "open_clip_config.json").write_text(json.dumps(settings, indent=2), "utf-8")
    tensors = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    save_file(tensors, folder / "open_clip_model.safetensors")
