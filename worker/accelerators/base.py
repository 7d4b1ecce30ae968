"""What every accelerator offers, and the clock they share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from worker.types import Module, Opaque, Pipeline


@dataclass
class Clock:
    """Where in one call of the pipeline we are.

    It counts calls of the UNet. The value of a timestep would not do: PNDM and Heun repeat some,
    and looking it up on the device waits for the device at every step.
    """

    call: int = -1
    """Index of the UNet call under way, from 0; -1 before the first."""
    calls: int = 0
    """UNet calls that one image takes."""
    gate: int | None = None
    """The call from which on classifier-free guidance is dropped and the batch is halved."""
    gate_half: int = 1
    """Which half of the conditioning goes on after the gate: 0 unconditional, 1 conditional."""
    full: frozenset[int] | None = None
    """The calls in which the UNet runs whole, where others leave its deep layers out; None where
    every call is whole."""


class Accelerator(Protocol):
    """One accelerator with its parameters, on one pipeline.

    The order of calls: ``prepare`` once; then, as often as wanted, ``install``, and for every call
    of the pipeline ``begin`` and before each call of the UNet ``step``, and ``remove``.
    """

    def prepare(self, pipe: Pipeline, clock: Clock) -> None:
        """Make ready what ``install`` will put in; ``pipe`` stays as it is."""

    def install(self) -> None:
        """Change the pipeline in place."""

    def begin(self, seed: int) -> None:
        """Forget what an earlier image left behind; ``seed`` feeds any random choice."""

    def step(self) -> None:
        """Decide what the UNet call that the clock shows will do.

        Decided here and only read inside the UNet, so that a compiled UNet sees plain flags
        and is compiled once for each of their values, not once for each call.
        """

    def remove(self) -> None:
        """Leave the pipeline exactly as it was before ``install``."""


class Overrides:
    """Replacements of modules' ``forward``, all put in and all undone at once.

    A replacement lies in the instance's dictionary and hides the class's method, so that removing
    it restores the module bit for bit. One that was there before is put back.
    """

    def __init__(self) -> None:
        self._replacements: list[tuple[Module, Callable[..., Opaque]]] = []
        self._undo: list[Callable[[], None]] = []

    def forward(self, module: Module, replacement: Callable[..., Opaque]) -> None:
        """Remember a replacement of ``module.forward``."""
        self._replacements.append((module, replacement))

    def install(self) -> None:
        """Put every replacement in."""
        for module, replacement in self._replacements:
            self._undo.append(_undoing(module))
            module.forward = replacement

    def restore(self) -> None:
        """Undo every replacement, the last one first."""
        while self._undo:
            self._undo.pop()()


def _undoing(module: Module) -> Callable[[], None]:
    """Return what puts ``module.forward`` back to what it is now."""
    previous = module.__dict__.get("forward")

    def undo() -> None:
        if previous is None:
            del module.forward
        else:
            module.forward = previous

    return undo
