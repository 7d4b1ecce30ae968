"""The contract of a pipeline family: pipelines of one class in diffusers, with the same parts.

A family is one file in this folder with a ``FAMILY``; ``registry.py`` finds it there. Nothing here
imports torch or diffusers before a pipeline is built or loaded.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from worker.types import Opaque, Pipeline

Config = dict[str, Any]
Components = Mapping[str, Config]
"""The configuration of each part that has one, by the part's name in the pipeline."""

# short and few, for pipelines whose images mean nothing
TINY_CAPTIONS = "package:captions/tiny.txt"
_TINY_CLIP = ("built:tiny-clip", "")
_MINIATURES = "package:shapes/weights/"


@dataclass(frozen=True)
class Architecture:
    """What the rules of planning need to know of a denoiser."""

    name: str
    """Its configuration in the family's ``published``."""
    family: str
    blocks: int
    """Down blocks of the UNet (the up blocks mirror them)."""
    attention_downsamples: tuple[int, ...]
    """By how much the latent image is downsampled where transformer blocks sit."""
    guidance_scale: float
    """The default of the pipeline's class."""
    layers: int = 2
    """Resnets of each down block."""
    middle: bool = True
    """Whether there is a block between the down blocks and the up blocks."""


@dataclass(frozen=True)
class Pipe:
    """A pipeline that a sweep can name."""

    name: str
    architecture: Architecture
    source: str
    """A hub id, ``built:NAME`` (random weights made here, nothing is downloaded) or
    ``package:FOLDER`` (a folder inside this package)."""
    image_size: int
    """Height and width of an image in pixels."""
    clip: tuple[str, str] = ("ViT-g-14", "laion2b_s34b_b88k")
    """Default scorer: an open_clip model and its weights; or ``built:`` or ``package:`` as above,
    and an empty string."""
    captions: str = "coco2017"
    """Default captions: ``coco2017``, or ``package:FILE``."""
    call_seconds: float = 0.001
    """About how long a call of the denoiser takes for one image, by benchmarks/acceleration-results: on an
    H100, in batches of the shipped sweeps."""
    image_seconds: float = 0.01
    """The same of all else that an image takes: its text, its decoding."""

    @property
    def is_published(self) -> bool:
        """Whether this is a published model, rather than a scaled-down version of one."""
        return not self.source.startswith(("built:", "package:"))


def tiny_pipe(name: str, architecture: Architecture) -> Pipe:
    """Return a pipe of the family's tiny configuration, with random weights."""
    return Pipe(name, architecture, f"built:{architecture.name}", 64, _TINY_CLIP, TINY_CAPTIONS)


def miniature_pipe(name: str, architecture: Architecture) -> Pipe:
    """Return a pipe of a miniature that was trained on drawn shapes (docs/shapes.md)."""
    folder = f"{_MINIATURES}{architecture.name}"
    scorer = (f"{_MINIATURES}scorer", "")
    return Pipe(name, architecture, folder, 64, scorer, "package:captions/shapes.txt")


class Family(ABC):
    """What one family declares. Override what does not hold for it; the defaults suit most."""

    name: ClassVar[str]
    pipeline_class: ClassVar[str]
    """Its name in diffusers."""
    options: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """Arguments of the class and of its ``from_pretrained``: they leave out what would be timed
    with the rest, or would change images."""
    denoiser: ClassVar[str]
    """The pipeline's part that every step calls."""
    denoiser_title: ClassVar[str]
    """In messages."""
    text_encoders: ClassVar[tuple[str, ...]]
    tokenizers: ClassVar[tuple[str, ...]]
    kinds: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """How the names of the classes begin that parts are loaded as, of parts that must be of one."""
    pixels_per_latent: ClassVar[int] = 8
    """By how much the autoencoder downsamples an image's height and width."""
    pipes: ClassVar[tuple[Pipe, ...]]
    """What a sweep can name."""
    unlisted: ClassVar[Architecture]
    """What a model is taken for that is none of these, until it is loaded and checked."""
    published: ClassVar[Mapping[str, Components]]
    """The parts at full size, by the architecture's name; as in the ``config.json`` files beside
    the released weights."""

    @abstractmethod
    def tiny(self, architecture: str) -> Components:
        """Return a published architecture scaled down to a few million parameters and 64 x 64 px.

        The structure stays (kinds and number of blocks, layers per block, where attention sits,
        how the text conditions the image); the widths shrink.
        """

    @abstractmethod
    def build(self, components: Components) -> dict[str, Opaque]:
        """Return all parts of a pipeline, as its class takes them, with weights drawn by torch."""

    @abstractmethod
    def expected_shape(self, architecture: Architecture) -> str:
        """Return in words what the rules of planning assume of the denoiser."""

    @abstractmethod
    def found_shape(self, config: Mapping[str, Any]) -> str:
        """Return the same of a denoiser by its configuration: equal words where they fit."""

    @abstractmethod
    def use_plain_attention(self, pipeline: Pipeline) -> None:
        """Let the denoiser compute attention step by step, without a fused kernel."""

    def architecture_of(self, config: Mapping[str, Any]) -> Architecture:
        """Return the architecture of a denoiser by its configuration, for a model that has no pipe.

        Raises:
            ValueError: the rules of planning do not hold for it; the message, a clause about the
                denoiser, says why.
        """
        return self.unlisted

    def another_kind(self, configs: Mapping[str, Config]) -> str | None:
        """Return why a model cannot turn a text into images as this family does, or None.

        Args:
            configs: the configuration of each part that has one, as saved; what a configuration
                leaves out has the default of its class.
        """
        return None

    def own_size(self, configs: Mapping[str, Config]) -> int | None:
        """Return the height and width in pixels that a model was made for; None: not known."""
        return None

    @property
    def weighty(self) -> tuple[str, ...]:
        """The parts that have weights, the denoiser first."""
        return (self.denoiser, "vae", *self.text_encoders)

    def guided(self, scale: float, denoiser: Mapping[str, Any] = MappingProxyType({})) -> bool:
        """Say whether a guidance scale means classifier-free guidance: twice the denoiser's batch.

        Args:
            scale: the guidance scale of the pipeline's call.
            denoiser: the denoiser's configuration; what it leaves out has the default of its class.
        """
        return scale > 1

    def load_class(self) -> Opaque:
        """Return the pipeline's class."""
        import diffusers

        return getattr(diffusers, self.pipeline_class)
