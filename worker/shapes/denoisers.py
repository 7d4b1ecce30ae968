"""The generators: a UNet and its text encoders, trained together to find the noise in latents."""

from __future__ import annotations

import json
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from worker.shapes import models
from worker.shapes.autoencoder import encode
from worker.shapes.examples import choose, draw_pool, tokens_of
from worker.shapes.grammar import COLOURS, SHAPES, SIZES, draw_scenes, objects_by_place, turn_round
from worker.shapes.raster import IMAGE_SIZE
from worker.shapes.trainer import Objective, Recipe
from worker.shapes.vocabulary import save_tokenizer

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, DiffusionPipeline
    from open_clip import CLIP
    from transformers import CLIPTokenizer

#: Share of captions that are left out, so that guidance has an unguided side.
_CAPTION_DROPOUT = 0.1
#: Every level of noise counts by its signal-to-noise ratio, for what it says of the picture, but no
#: more than the second of these: Hang et al. 2023 (arXiv 2303.09556), min-SNR with gamma 5. And no
#: less than the first: where the noise is strongest, nothing but the caption says what is where.
_SIGNAL_TO_NOISE = (0.3, 5.0)
#: Of what an object can be: how many sizes, colours and shapes there are.
_CHOICES = [len(SIZES), len(COLOURS), len(SHAPES)]
#: What saying where things are counts beside finding the noise.
_READING_WEIGHT = 0.1


class Reader(nn.Module):
    """Reads off the text what is where; only training needs it.

    Of "a red circle right of a blue square", the words say first what is drawn last, and an encoder
    that reads from left to right meets "right of" too late to say at "circle" where it is. Left to
    find the noise alone, a UNet that knows the text by attention only learns shapes and colours and
    stays blind to the relation. So the text encoder is asked to say it: at each of the last two
    tokens, which are always padding, stands one of the objects, first the one on the left or on top.
    The UNet finds them there.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(width, sum(_CHOICES)) for _ in range(2))

    def forward(self, text: Tensor, objects: Tensor) -> Tensor:
        """The loss of every caption: cross-entropy, summed over sizes, colours and shapes.

        Args:
            text: what the UNet reads, shape (n, 32, width).
            objects: see `objects_by_place`, shape (n, 2, 3).

        Returns:
            Shape (n,).
        """
        read = [head(text[:, place]) for head, place in zip(self.heads, (-2, -1), strict=True)]
        parts = torch.split(torch.stack(read, 1).float(), _CHOICES, dim=-1)
        losses = [
            functional.cross_entropy(
                part.flatten(0, 1), objects[..., kind].flatten(), reduction="none"
            )
            for kind, part in enumerate(parts)
        ]
        return torch.stack(losses).sum(0).view(len(text), 2).mean(1)


class Denoiser(nn.Module):
    """What is trained of a pipeline: everything but the autoencoder."""

    name: str
    reader: Reader

    @abstractmethod
    def forward(
        self, noisy: Tensor, timesteps: Tensor, tokens: Tensor, dropped: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Predict the noise in latents.

        Args:
            noisy: latents, shape (n, 4, 16, 16).
            timesteps: shape (n,).
            tokens: captions, shape (n, 32).
            dropped: which captions to leave out, bool of shape (n,).

        Returns:
            The noise, shape of `noisy`, and the text that it was predicted from, shape
            (n, 32, width).
        """

    @abstractmethod
    def pipeline(self, vae: AutoencoderKL, tokenizer: CLIPTokenizer) -> DiffusionPipeline:
        """These models as a pipeline of diffusers."""


class SD15Denoiser(Denoiser):
    """The trained models of a StableDiffusionPipeline. A caption left out is an empty one."""

    name = "sd15"
    empty: Tensor

    def __init__(self, tokenizer: CLIPTokenizer, scorer: CLIP) -> None:
        super().__init__()
        self.unet = models.build_sd15_unet()
        self.text_encoder = models.build_sd15_text_encoder(tokenizer)
        models.begin_as_scorer(self.text_encoder, scorer)
        self.reader = Reader(self.unet.config.cross_attention_dim)
        empty = torch.tensor(tokenizer("", padding="max_length").input_ids)
        self.register_buffer("empty", empty, persistent=False)

    def forward(
        self, noisy: Tensor, timesteps: Tensor, tokens: Tensor, dropped: Tensor
    ) -> tuple[Tensor, Tensor]:
        tokens = torch.where(dropped[:, None], self.empty, tokens)
        text = self.text_encoder(tokens).last_hidden_state
        return self.unet(noisy, timesteps, text).sample, text

    def pipeline(self, vae: AutoencoderKL, tokenizer: CLIPTokenizer) -> DiffusionPipeline:
        from diffusers import PNDMScheduler, StableDiffusionPipeline

        return StableDiffusionPipeline(
            vae=vae,
            text_encoder=self.text_encoder,
            tokenizer=tokenizer,
            unet=self.unet,
            scheduler=PNDMScheduler.from_config(models.NOISE),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )


class SDXLDenoiser(Denoiser):
    """The trained models of a StableDiffusionXLPipeline. A caption left out is all zeros."""

    name = "sdxl"
    time_ids: Tensor

    def __init__(self, tokenizer: CLIPTokenizer, scorer: CLIP) -> None:
        super().__init__()
        self.unet = models.build_sdxl_unet()
        self.text_encoder, self.text_encoder_2 = models.build_sdxl_text_encoders(tokenizer)
        models.begin_as_scorer(self.text_encoder_2, scorer)
        self.reader = Reader(self.unet.config.cross_attention_dim)
        # Original size, corner of the crop, wanted size: what the pipeline says by default.
        size = torch.tensor([IMAGE_SIZE, IMAGE_SIZE, 0, 0, IMAGE_SIZE, IMAGE_SIZE])
        self.register_buffer("time_ids", size.float(), persistent=False)

    def forward(
        self, noisy: Tensor, timesteps: Tensor, tokens: Tensor, dropped: Tensor
    ) -> tuple[Tensor, Tensor]:
        first = self.text_encoder(tokens, output_hidden_states=True)
        second = self.text_encoder_2(tokens, output_hidden_states=True)
        text = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], -1)
        added = {
            "text_embeds": second.text_embeds.masked_fill(dropped[:, None], 0),
            "time_ids": self.time_ids.expand(len(tokens), -1),
        }
        text = text.masked_fill(dropped[:, None, None], 0)
        return self.unet(noisy, timesteps, text, added_cond_kwargs=added).sample, text

    def pipeline(self, vae: AutoencoderKL, tokenizer: CLIPTokenizer) -> DiffusionPipeline:
        from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

        return StableDiffusionXLPipeline(
            vae=vae,
            text_encoder=self.text_encoder,
            text_encoder_2=self.text_encoder_2,
            tokenizer=tokenizer,
            tokenizer_2=tokenizer,
            unet=self.unet,
            scheduler=EulerDiscreteScheduler.from_config(models.NOISE),
            force_zeros_for_empty_prompt=True,
            add_watermarker=False,
        )


def objective(
    model: Denoiser,
    vae: AutoencoderKL,
    tokenizer: CLIPTokenizer,
    recipe: Recipe,
    *,
    seed: int,
    device: torch.device,
) -> Objective[Denoiser]:
    """Find the noise in the noisy latents of pictures, given captions, and say what is where.

    The examples come in pairs: a scene and the same with its relation turned round, in the same
    noise, so that what differs between the two is the relation.
    """
    from diffusers import DDPMScheduler

    generator = torch.Generator().manual_seed(seed)
    scenes = draw_scenes(recipe.pool_size // 2, generator)
    scenes = torch.cat([scenes, turn_round(scenes)])
    tokens, objects = tokens_of(scenes, tokenizer, device), objects_by_place(scenes).to(device)
    latents = encode(vae.to(device), draw_pool(scenes, generator, device))
    signal = DDPMScheduler.from_config(models.NOISE).alphas_cumprod.to(device)
    ratio = signal / (1 - signal)
    weights = ratio.clamp(*_SIGNAL_TO_NOISE) / ratio

    def draw(generator: torch.Generator) -> tuple[Tensor, ...]:
        first = choose(len(tokens) // 2, recipe.batch_size // 2, generator)
        chosen = torch.cat([first, first + len(tokens) // 2])
        timesteps = choose(len(signal), len(first), generator).repeat(2)
        noise = torch.randn(len(first), *models.LATENT_SHAPE, generator=generator, device=device)
        dropped = torch.rand(len(first), generator=generator, device=device) < _CAPTION_DROPOUT
        return (
            latents[chosen],
            tokens[chosen],
            objects[chosen],
            timesteps,
            noise.repeat(2, 1, 1, 1),
            dropped.repeat(2),
        )

    def loss(model: Denoiser, *drawn: Tensor) -> Tensor:
        clean, captions, said, timesteps, noise, dropped = drawn
        kept = signal[timesteps][:, None, None, None]
        noisy = kept.sqrt() * clean + (1 - kept).sqrt() * noise
        predicted, text = model(noisy, timesteps, captions, dropped)
        error = (predicted.float() - noise).square().mean((1, 2, 3))
        misread = model.reader(text, said).masked_fill(dropped, 0)
        weighted: Tensor = weights[timesteps] * error + _READING_WEIGHT * misread
        return weighted.mean()

    return Objective(model.name, model.to(device), draw, loss)


def save(model: Denoiser, vae: AutoencoderKL, tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Write the folder that diffusers loads with `from_pretrained`, weights in half precision.

    Only the files are halved: the configurations go on saying float32, which is what a loader
    gives that is not asked for a precision.
    """
    model.pipeline(vae, tokenizer).save_pretrained(folder)
    # diffusers notes from which folder the autoencoder was read: the trainer's own
    configuration = folder / "vae" / "config.json"
    said = json.loads(configuration.read_text(encoding="utf-8"))
    said.pop("_name_or_path", None)
    configuration.write_text(json.dumps(said, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for path in folder.rglob("*.safetensors"):
        tensors = {name: value.half() for name, value in load_file(path).items()}
        save_file(tensors, path, metadata={"format": "pt"})
    # The tokenizer's own way of saving differs between versions and cannot be read by all.
    for tokenizer_folder in folder.glob("tokenizer*"):
        for path in tokenizer_folder.iterdir():
            path.unlink()
        save_tokenizer(tokenizer_folder)
