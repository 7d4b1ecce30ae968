"""What an adaptive search is to find, what it asks for, and the log of what it decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from worker.results.statistics import Estimate
from worker.search.section import Wants

What = Literal["proposed", "asked", "dropped", "stopped", "confirmed", "not confirmed"]


@dataclass(frozen=True)
class Goal:
    """What is to be found."""

    wants: Wants
    """The frontier up to ``max_loss``; the fastest within it; or one that is fast enough within it."""
    max_loss: float
    """Relative loss of CLIP score."""
    target_speedup: float | None = None
    error: float = 0.05
    """Share of configurations about which any interval on the way may be wrong."""

    def in_words(self) -> str:
        """Return it as a clause."""
        within = f"within a loss of {percent(self.max_loss)}"
        if self.wants == "target":
            return f"one that is {self.target_speedup:g}× as fast {within}"
        return f"the fastest {within}" if self.wants == "fastest" else f"the frontier {within}"


@dataclass(frozen=True)
class Ask:
    """What is to be measured next."""

    what: Literal["speed", "scores"]
    names: tuple[str, ...]
    """Of configurations."""
    first: int = 0
    """Number of the first prompt."""
    count: int = 0
    """Of prompts."""

    def in_words(self) -> str:
        """Return it as a clause."""
        many = f"{len(self.names)} configurations" if len(self.names) > 1 else self.names[0]
        if self.what == "speed":
            return f"the speed of {many}"
        return f"{many} on prompts {self.first + 1} to {self.first + self.count}"


@dataclass(frozen=True)
class Decision:
    """One line of the log."""

    what: What
    why: str
    images: int
    """Made so far in the whole search."""
    name: str | None = None
    """The configuration that it is about, if it is about one."""
    look: int = 0
    """Prompts on which it had been seen."""

    def as_json(self) -> dict[str, Any]:
        """Return it as it stands in a results file."""
        about = {} if self.name is None else {"label": self.name, "prompts": self.look}
        return {"what": self.what, **about, "why": self.why, "images": self.images}


@dataclass(frozen=True)
class Found:
    """What a search has found so far."""

    chosen: str | None
    """The fastest whose loss is estimated to be within the bound; None: only the baseline is."""
    sure: str | None
    """The fastest whose loss surely is, as far as the search can tell; None if there is none yet."""
    frontier: Sequence[str]
    """What no other beats in both, the slowest first."""

    @property
    def best(self) -> str | None:
        """The one to be confirmed next: the fastest that surely will do, else the one that seems to."""
        return self.sure or self.chosen


def percent(share: float) -> str:
    """Return a share in words."""
    return f"{100 * share:.3g}%"


def loss_in_words(loss: Estimate) -> str:
    """Return a loss with its interval."""
    if loss.low is None or loss.high is None:
        return percent(loss.value)
    return f"{percent(loss.value)} [{percent(loss.low)}, {percent(loss.high)}]"
