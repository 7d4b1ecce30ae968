"""How good the trained models are: does the scorer put the right caption first among many?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from worker.shapes.grammar import captions_of, has_two_objects, turn_round

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


class Scorer:
    """The trained scorer, loaded by open_clip from its folder."""

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        import open_clip

        name = f"local-dir:{folder}"
        self.model = open_clip.create_model(name, device=device).eval()
        self.tokenizer = open_clip.get_tokenizer(name)
        self.device = device

    @torch.no_grad()
    def similarities(self, pictures: Tensor, captions: list[str]) -> Tensor:
        """Cosine similarity of every picture to every caption.

        Args:
            pictures: shape (n, 3, 64, 64), values from -1 to 1.
            captions: m texts.

        Returns:
            Shape (n, m), on the CPU.
        """
        images = [
            self.model.encode_image(chunk.to(self.device).float(), normalize=True)
            for chunk in torch.split(pictures, 256)
        ]
        texts = self.model.encode_text(self.tokenizer(captions).to(self.device), normalize=True)
        similarities: Tensor = torch.cat(images) @ texts.T
        return similarities.cpu()


def share_ranked_first(similarities: Tensor, among: int = 32) -> float:
    """Share of pictures whose own caption scores highest among `among` captions.

    Args:
        similarities: shape (n, n), picture i belonging to caption i, captions distinct. The rivals
            of caption i are those that follow it, the first following the last.
        among: captions in a comparison, the right one included; at most n.
    """
    count = len(similarities)
    columns = (torch.arange(count)[:, None] + torch.arange(among)) % count
    return (similarities.gather(1, columns).argmax(1) == 0).float().mean().item()


def share_of_relations_kept(judge: Scorer, pictures: Tensor, scenes: Tensor) -> float:
    """Share of the pictures of two objects that prefer their relation to its opposite.

    Ranking among random captions does not tell: few of them hold the same two objects.

    Args:
        judge: the scorer.
        pictures: shape (n, 3, 64, 64), values from -1 to 1.
        scenes: what they should show, shape (n, 8), at least one of them of two objects.
    """
    two = has_two_objects(scenes)
    right = judge.similarities(pictures[two], captions_of(scenes[two])).diagonal()
    turned = judge.similarities(pictures[two], captions_of(turn_round(scenes[two]))).diagonal()
    return (right > turned).float().mean().item()


def generate(
    pipeline: DiffusionPipeline,
    captions: list[str],
    steps: int,
    guidance: float,
    *,
    batch_size: int = 32,
    seed: int = 0,
) -> Tensor:
    """One picture of each caption.

    Caption i starts from the noise of seed `seed + i`, whatever the batch size.

    Returns:
        Float32 of shape (n, 3, 64, 64), values from -1 to 1, on the CPU.
    """
    pictures = []
    for start in range(0, len(captions), batch_size):
        batch = captions[start : start + batch_size]
        generators = [torch.Generator().manual_seed(seed + start + i) for i in range(len(batch))]
        made = pipeline(
            batch,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=generators,
            output_type="pt",
        ).images
        pictures.append(made.float().cpu() * 2 - 1)
    return torch.cat(pictures)
