"""Round after round: each arm of a block once, in a fresh order, timed and scored."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable, Sequence
from statistics import median

from worker.measure.context import EvaluationContext, QualityMetrics
from worker.measure.memory import must_fit
from worker.measure.rounds import worthless
from worker.measure.rounds.call import Batch, generate
from worker.measure.rounds.ending import Ending
from worker.measure.rounds.garbage_collection import no_garbage_collection
from worker.measure.rounds.orders import Orders
from worker.measure.samples import Samples
from worker.types import Tensor

# how often a disturbed batch is timed before its time is taken as it is
_ATTEMPTS = 3
# times the median of the arm's batches
_FAR_LONGER = 3.0
_FEWEST_TO_COMPARE = 3


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
        images[arm] = _timed(context, block[arm], indices)
        calls += [arm] * (1 + len(block[arm].retaken) - retaken)
    for samples in block:
        samples.rounds.append(calls)
    return images


def _timed(context: EvaluationContext, samples: Samples, indices: list[int]) -> Tensor | None:
    """Make and time one batch of images, or mark the configuration as failed and return None.

    A batch that something else disturbed, on the device or on the host, is taken again.
    """
    batch = generate(context, samples, indices)
    # what disturbed the last batch at every try will not be gone by trying this one again
    stays = bool(samples.spoiled) and samples.spoiled[-1] is not None
    for _ in range(0 if stays else _ATTEMPTS - 1):
        spoiled = None if batch is None else _spoiled(batch, samples)
        if spoiled is None:
            break
        samples.retaken.append(spoiled)
        batch = generate(context, samples, indices)
    if batch is None:
        return None
    samples.spoiled.append(_spoiled(batch, samples))
    samples.seconds.append(batch.seconds)
    samples.readings.append(batch.reading)
    samples.hosts.append(batch.host)
    samples.images += len(indices)
    if batch.peak_memory is not None:
        samples.peak_memory = max(batch.peak_memory, samples.peak_memory or 0)
    return batch.images


def _spoiled(batch: Batch, samples: Samples) -> str | None:
    """Return why a batch's time does not count.

    No counter tells of a worker on a GPU that was stopped by a signal, nor of a virtual machine
    that was frozen. But no call of the same work takes three times as long by itself.
    """
    if batch.spoiled is not None or len(samples.seconds) < _FEWEST_TO_COMPARE:
        return batch.spoiled
    times = batch.seconds / median(samples.seconds)
    return f"took far longer than usual ({times:.0f} times)" if times > _FAR_LONGER else None


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
