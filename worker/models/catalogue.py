"""The pipelines and noise schedulers that a task can name: a closed list.

The pipelines are declared by their families. Nothing here imports torch, so that ``python -m worker
check`` answers at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from worker.errors import ConfigurationError, nearest
from worker.models.families.base import Pipe
from worker.models.families.registry import families

PIPES: Mapping[str, Pipe] = {
    pipe.name: pipe for family in families().values() for pipe in family.pipes
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
