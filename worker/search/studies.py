"""Which images a set of configurations is measured on: the task's own, others, harder ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Literal

from worker.config.numbers import FEWEST_IMAGES_FOR_FID
from worker.config.settings import Stability
from worker.search.section import Search
from worker.search.space import proposals_wanted

Length = Literal["as given", "short", "long"]

_SHORT_WORDS = 4
# with fewer, a bound is not decided
_FEWEST_TO_CONFIRM = 16
# CLIP reads 77 tokens; eight captions of ten words are always more
_CAPTIONS_IN_A_LONG_PROMPT = 8


@dataclass(frozen=True)
class Study:
    """A set of prompts and seeds, and how many images are made at once."""

    name: str
    """Empty for the task's own measurements."""
    count: int
    batch_size: int
    first_prompt: int = 0
    seed: int = 0
    length: Length = "as given"
    is_part: bool = False
    """Whether it is a part of the task's own measurements, which fail where its baseline does."""

    @property
    def is_first(self) -> bool:
        """Whether the task's first images are of this study, by which it is looked at more closely."""
        return not self.name or (self.is_part and self.first_prompt == 0)

    @property
    def end(self) -> int:
        """Number of the first caption behind those that the study reads."""
        each = _CAPTIONS_IN_A_LONG_PROMPT if self.length == "long" else 1
        return self.first_prompt + self.count * each

    def prompts(self, captions: Sequence[str]) -> list[str]:
        """Return the study's prompts, made from its captions among all of them."""
        captions = captions[self.first_prompt : self.end]
        if self.length == "short":
            return [" ".join(caption.split()[:_SHORT_WORDS]) for caption in captions]
        if self.length == "long":
            return [" ".join(captions[n :: self.count]) for n in range(self.count)]
        return list(captions)


@dataclass(frozen=True)
class Stages:
    """A task's own study in two parts: on the first prompts speed is measured, and quality on all."""

    timed: Study
    untimed: Study


def stages(search: Search, own: Study, confirm: int) -> Stages | None:
    """Return the parts in which a task can be measured; None where it cannot, or the first is all.

    Args:
        search: the task's section.
        own: the task's own study.
        confirm: on how many other prompts it is measured again, which is timed when all else is known.
    """
    is_simple = search.strategy == "grid" and search.stability is None and not confirm
    # FID is of all images at once; with random weights no quality is measured
    if (
        not is_simple
        or search.timing.is_off
        or search.fid is not None
        or search.weights == "random"
    ):
        return None
    count = search.timing.repeats * own.batch_size
    if count >= own.count:
        return None
    return Stages(
        replace(own, name=_prompts(0, count), count=count, is_part=True),
        replace(
            own,
            name=_prompts(count, own.count),
            first_prompt=own.first_prompt + count,
            count=own.count - count,
            is_part=True,
        ),
    )


def _prompts(first: int, end: int) -> str:
    return f"prompts {first + 1} to {end}"


def confirmation(own: Study, count: int) -> Iterator[Study]:
    """Yield the study that measures what was best again, on other prompts and other latents.

    What is the best of hundreds on some prompts owes part of that to chance.
    """
    if count:
        first = own.first_prompt + own.count
        yield replace(own, name="confirmation", first_prompt=first, count=count)


def prompts_to_confirm(search: Search, num_samples: int, confirm: int) -> int:
    """Return on how many prompts the best is confirmed: what an adaptive search chose, always."""
    if confirm or search.strategy == "grid":
        return confirm
    return max(_FEWEST_TO_CONFIRM, num_samples // 4)


def unfit_to_search(search: Search, num_samples: int, confirm: int) -> tuple[str, str] | None:
    """Return which key of the section asks what an adaptive search cannot do, and why; None: none does."""
    if search.strategy == "grid":
        return None
    if num_samples < _FEWEST_TO_CONFIRM:
        return "search.strategy", (
            f"an adaptive search needs {_FEWEST_TO_CONFIRM} prompts or more, since fewer decide "
            f"nothing: raise num_samples, which is {num_samples}"
        )
    if proposals_wanted(search.configurations or (), search.proposals) and not find_spec("optuna"):
        return "search.configurations", (
            "an adaptive search of so many is proposed to by Optuna, which is not installed: pip "
            "install 'diffusion-sweeps[adaptive]', or name fewer configurations, and no ranges"
        )
    prompts = prompts_to_confirm(search, num_samples, confirm)
    if search.fid is not None and prompts < FEWEST_IMAGES_FOR_FID:
        return "search.fid", (
            "an adaptive search measures FID where it confirms what it chose, which takes "
            f"{FEWEST_IMAGES_FOR_FID:,} prompts and has {prompts:,}: set confirm, or leave fid out"
        )
    return None


def stability(own: Study, wanted: Stability | None) -> Iterator[Study]:
    """Yield one study for each batch size, seed and length of prompts."""
    if wanted is None:
        return
    base = replace(own, count=wanted.num_samples)
    for batch_size in wanted.batch_sizes:
        yield replace(base, name=f"batch size {batch_size}", batch_size=batch_size)
    for seed in wanted.seeds:
        yield replace(base, name=f"seed {seed}", seed=seed)
    lengths: tuple[Length, ...] = ("short", "long")
    for length in lengths:
        if length in wanted.prompts:
            yield replace(base, name=f"{length} prompts", length=length)
