"""The pipelines and noise schedulers that a task can name: a closed list.

The pipelines are declared by their families. Nothing here imports torch, so that ``python -m worker
check`` answers at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from worker.errors import ConfigurationError, nearest
from worker.models.families.base import Pipe
from worker.models.families.registry import families

PIPES: Mapping[str, Pipe] = {
    pipe.name: pipe for family in families().values() for pipe in family.pipes
}


# classes of diffusers that are not there without a package of others
_NEEDED_PACKAGES = {
    "LMSDiscreteScheduler": "scipy",
    "DPMSolverSDEScheduler": "torchsde",
    "CosineDPMSolverMultistepScheduler": "torchsde",
}


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
    zero_snr: bool = True
    """Whether the class takes ``rescale_betas_zero_snr``; the others pass over it."""
    sigmas: bool = True
    """Whether the class takes ``use_karras_sigmas`` and its like; the others pass over them."""

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

    def refusal(self, config: Mapping[str, Any]) -> str | None:
        """Return why a model cannot be measured with this noise scheduler, or None.

        Args:
            config: the model's scheduler configuration.
        """
        kind = str(config.get("_class_name", ""))
        flow = config.get("prediction_type") == "flow_prediction" or config.get("use_flow_sigmas")
        if flow or kind.startswith("FlowMatch"):
            return (
                f"the model's own noise scheduler ({kind}) is for flow matching, and {self.name} adds "
                "and takes away noise in another way: name another model"
            )
        if config.get("rescale_betas_zero_snr") and not self.zero_snr:
            others = ", ".join(name for name, sched in SCHEDS.items() if sched.zero_snr)
            return (
                "the model was trained with a noise schedule rescaled to zero signal "
                f"(rescale_betas_zero_snr), which {self.name} does not take: exclude {self.name} for "
                f"this model; those that take it: {others}"
            )
        package = _NEEDED_PACKAGES.get(kind)
        if package is not None and find_spec(package) is None:
            return (
                f"the model was saved with {kind}, which diffusers looks for though {self.name} takes "
                f"its place, and which needs the package {package}, which is not installed: "
                f"pip install {package}"
            )
        if config.get("use_beta_sigmas") and self.sigmas and find_spec("scipy") is None:
            return (
                f"the model's scheduler configuration has use_beta_sigmas, for which {self.name} needs "
                "the package scipy, which is not installed: pip install scipy"
            )
        return None

    def calls(self, steps: int) -> int:
        """Return how often one image of ``steps`` steps calls the UNet."""
        return self.order * steps + self.extra_calls


_SCHEDS = (
    Sched("DDIM", sigmas=False),
    # without the Runge-Kutta start, which Stable Diffusion's own configuration skips as well
    Sched(
        "PNDM",
        extra_calls=1,
        min_steps=2,
        max_steps=999,
        options=(("skip_prk_steps", True),),
        zero_snr=False,
        sigmas=False,
    ),
    Sched("EulerDiscrete"),
    Sched("EulerAncestralDiscrete", sigmas=False),
    Sched("HeunDiscrete", order=2, extra_calls=-1, zero_snr=False),
    Sched("DEISMultistep", zero_snr=False),
    Sched("DPMSolverMultistep"),
    Sched("DPMSolverSinglestep", zero_snr=False),
    Sched("UniPCMultistep"),
    # of latent consistency models: some of the steps that they were distilled from, which are fifty
    Sched("LCM", max_steps=50, sigmas=False),
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
