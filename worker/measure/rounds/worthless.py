"""Images that are worth nothing: told as they are made, before hours are spent on comparisons with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from worker.errors import PipelineFailsError
from worker.measure.context import QualityMetrics
from worker.measure.rounds.caption_match import CaptionMatch
from worker.measure.samples import Samples
from worker.metrics.contrast import Contrast
from worker.results import statistics
from worker.results.relation import Relation, relation
from worker.results.row import ALL_ALIKE, NO_CONTRAST, NON_FINITE, UNRELATED
from worker.types import Dtype

_CONFIG = "scheduler_config.json"


class WorthlessImagesError(PipelineFailsError):
    """The baseline's own images are worth nothing: nothing could be compared with them.

    Attributes:
        status: what is wrong with them, as a row's ``status`` says it.
    """

    def __init__(self, status: str, seen: str, look_at: str) -> None:
        super().__init__(f"the baseline's {status}{seen}: {look_at}", f"its {status}{seen}")
        self.status = status


def fault(contrast: Contrast) -> str | None:
    """Return what is wrong with all images seen so far, as a row's ``status`` says it, or None."""
    if contrast.is_missing:
        return NO_CONTRAST
    return ALL_ALIKE if contrast.are_alike else None


def non_finite(dtype: Dtype) -> WorthlessImagesError:
    """Return the error for a baseline whose images contain NaN or Inf in a number format."""
    import torch

    remedy = (
        "no type is wider, so look at the model's weights, and at prediction_type and "
        f"rescale_betas_zero_snr in its {_CONFIG}"
        if dtype == torch.float32
        else "set search.dtype to float32, or to bfloat16 where the device computes with it"
    )
    return WorthlessImagesError(NON_FINITE, f" in {dtype}", remedy)


def without_content(contrast: Contrast) -> WorthlessImagesError:
    """Return the error for a baseline all of whose images are of one colour, or all the same."""
    if contrast.is_missing:
        colour = ", ".join(map(str, contrast.colour or ()))
        return WorthlessImagesError(
            NO_CONTRAST,
            f" ({contrast.count} of {contrast.count} made are of one colour, the first rgb({colour}))",
            "look at the VAE (its weights, scaling_factor in its config.json, whether search.dtype is "
            f"too narrow for it), at prediction_type and rescale_betas_zero_snr in {_CONFIG}, and for "
            "a safety checker that blanks them",
        )
    return WorthlessImagesError(
        ALL_ALIKE,
        f" ({contrast.count} of other prompts and other latents are the same picture)",
        f"look at the weights of the denoiser and the VAE, and at prediction_type in {_CONFIG}",
    )


def mark(block: Sequence[Samples], say: Callable[[str], None]) -> None:
    """Mark configurations none of whose images show anything, and tell of those where some do not.

    Args:
        block: what was measured.
        say: called with a line for each of the latter.
    """
    for samples in block:
        contrast = samples.contrast
        if samples.failure is not None:
            continue
        samples.failure = fault(contrast)
        if samples.failure is None and contrast.blank:
            say(
                f"{samples.configuration.label}: {contrast.blank} of {contrast.count} images have no "
                "contrast, and count with the others: look for a safety checker, or for numbers that "
                "overflow"
            )


def check_captions(quality: QualityMetrics, say: Callable[[str], None], *, last: bool) -> None:
    """Refuse a baseline whose images the scorer fits no better with their own captions than with others.

    Looked at when 16 images are scored, at each doubling, and after the last. More than that would
    find by chance what is not there.

    Args:
        quality: with the baseline's scores so far.
        say: called with a line where it cannot be told.
        last: whether no more images follow.

    Raises:
        WorthlessImagesError: the scores say so.
    """
    match = quality.caption_match
    if match is None or not match.is_due(statistics.FEWEST_IMAGES, last=last):
        return
    if match.images < statistics.FEWEST_IMAGES:
        say(f"whether images show their captions cannot be told: {_too_few(match)}")
        return
    found = relation(match.scores())
    if found.answer == "no":
        raise WorthlessImagesError(
            UNRELATED,
            f" ({_figures(found)})",
            f"look at the text encoder, prediction_type and rescale_betas_zero_snr in {_CONFIG}, the "
            "number of steps, and whether the model and the scorer (search.clip) know the language and "
            "the things of search.captions",
        )
    if found.answer == "cannot tell yet" and last:
        say(f"whether images show their captions cannot be told: {_figures(found)}")


def _too_few(match: CaptionMatch) -> str:
    needed = f"{statistics.FEWEST_IMAGES} images are needed"
    if match.distinct < match.captions:
        return (
            f"of {match.captions} captions {match.distinct} are no near duplicates of others, and of so "
            f"many {needed}"
        )
    return f"{needed}, found {match.images}"


def _figures(found: Relation) -> str:
    low, high = found.gain.low, found.gain.high
    return (
        f"{found.images} images score {found.own:.2f} with their own captions and {found.others:.2f} "
        f"with each other's, a difference of {low:.2f} to {high:.2f}"
    )
