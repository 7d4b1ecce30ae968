"""Round after round: each arm of a block once, in a fresh order, timed and scored."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable, Sequence
from functools import partial

from worker.measure.context import EvaluationContext, QualityMetrics
from worker.measure.memory import must_fit
from worker.measure.pictures import note
from worker.measure.rounds import worthless
from worker.measure.rounds.call import generate
from worker.measure.rounds.ending import Ending
from worker.measure.rounds.garbage_collection import no_garbage_collection
from worker.measure.rounds.orders import Orders
from worker.measure.rounds.retaking import timed
from worker.measure.samples import Samples
from worker.types import Tensor


def run_rounds(
    context: EvaluationContext, block: Sequence[Samples], progress: Callable[[str], None]
) -> None:
    """Time and score the arms of a block; one that fails takes no part in the rounds after.

    Args:
        context: the pipeline and its task.
        block: the samples to add to, the baseline's first.
        progress: called after every round with what has been done, in a few words.

    Raises:
        OutOfMemoryError: the baseline does not fit, or the images' scores do not.
        WorthlessImagesError: the baseline's images are worth nothing.
    """
    orders = Orders(_seed(context, block))
    ending = Ending(context.settings.timing, context.least_rounds)
    with no_garbage_collection():
        for number in itertools.count():
            indices = context.batch(number)
            running = [arm for arm, samples in enumerate(block) if samples.failure is None]
            images = _round(context, block, orders.next(running), indices)
            note(context, block, images, indices)
            # further batches have the same prompts and latents again
            fresh = len(context.prompts) - number * context.settings.batch_size
            if context.quality is not None and fresh > 0:
                with must_fit("the CLIP/LPIPS/FID scorer"):
                    _score(context.quality, block, images, indices[:fresh])
                last = fresh <= context.settings.batch_size
                worthless.check_captions(context.quality, progress, last=last)
            is_last, said = ending.after(number + 1, block)
            progress(said)
            if is_last:
                return


def _seed(context: EvaluationContext, block: Sequence[Samples]) -> str:
    """Return what the orders follow from: the same for the same task, another for another block."""
    digest = context.settings.as_json(context.prompts)["digest"]
    return " ".join([str(digest), *(samples.configuration.key for samples in block)])


def _round(
    context: EvaluationContext, block: Sequence[Samples], order: Sequence[int], indices: list[int]
) -> list[Tensor | None]:
    """Time each arm once, and return the images of each of the block, None where it made none."""
    images: list[Tensor | None] = [None] * len(block)
    calls: list[int] = []
    for arm in order:
        # what the arm before left in cycles may hold memory of the device
        gc.collect()
        retaken = len(block[arm].retaken)
        images[arm] = _images(context, block[arm], indices)
        calls += [arm] * (1 + len(block[arm].retaken) - retaken)
    for samples in block:
        samples.rounds.append(calls)
    return images


def _images(context: EvaluationContext, samples: Samples, indices: list[int]) -> Tensor | None:
    """Time a batch, if speed is measured, and return its images; None where its configuration failed."""
    make = partial(generate, context, samples, indices)
    batch = make() if context.settings.timing.is_off else timed(samples, make)
    if batch is None:
        return None
    if batch.peak_memory is not None:
        samples.peak_memory = max(batch.peak_memory, samples.peak_memory or 0)
    samples.images += len(indices)
    return batch.images


def _score(
    quality: QualityMetrics,
    block: Sequence[Samples],
    images: Sequence[Tensor | None],
    indices: Sequence[int],
) -> None:
    """Score one batch.

    Args:
        quality: what scores it.
        block: the samples to add to, the baseline's first.
        images: what each of the block made, or None; shape [batch, 3, height, width].
        indices: the prompts' numbers; images behind them only fill up the batch.
    """
    reference: Tensor = images[0]
    for samples, made in zip(block, images, strict=True):
        if made is None:
            continue
        scored = made[: len(indices)]
        quality.score(samples, scored, indices)
        # other latents give other images
        if samples is not block[0] and not samples.configuration.seeds:
            quality.compare(samples, scored, reference[: len(indices)])
