"""How a method is put on a pipeline of one's own, in lines that its published package suffices for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worker.models.catalogue import Sched


@dataclass(frozen=True)
class Target:
    """The pipeline that a snippet makes."""

    sched: Sched
    scheduler_config: Mapping[str, object]
    """What the noise scheduler goes by, as a row's settings have it."""

    @property
    def repeats_timesteps(self) -> bool:
        """Whether a timestep may come up twice in the noise scheduler's list."""
        config = self.scheduler_config.items()
        # noise levels of their own are turned back into timesteps by rounding
        by_sigmas = any(
            value and name.startswith("use_") and "sigmas" in name for name, value in config
        )
        return by_sigmas or self.sched.order != 1 or self.sched.extra_calls != 0


@dataclass(frozen=True)
class Recipe:
    """Lines that make the same images as the worker's own accelerator."""

    imports: Sequence[str]
    lines: Sequence[str]
    """They find ``pipe``, and ``seed``, which the first image of the batch is made from."""


@dataclass(frozen=True)
class NoRecipe:
    """No published package makes the same images."""

    why: str
    """A clause."""


def keywords(values: Mapping[str, object]) -> str:
    """Return the arguments of a call that passes values by their names."""
    return ", ".join(f"{name}={value!r}" for name, value in values.items())
