"""Generate, time and score: the one function that every comparison goes through.

Configurations are measured in blocks, interleaved with the baseline batch by batch (A B C D A B C
D). Every row thus carries its own pairs: the same prompts, the same starting latents, the same
minute of the machine. A single unpaired run of each side can be wrong by a fifth.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from worker.errors import PipelineFailsError, first_line
from worker.measure.context import EvaluationContext, QualityMetrics
from worker.measure.memory import must_fit
from worker.measure.rounds.call import fitting, generate
from worker.measure.rounds.untimed import add_energy
from worker.measure.samples import Samples
from worker.models.noise_schedule import try_out
from worker.search.configuration import Configuration
from worker.types import Tensor

# enough for text, UNet, noise scheduler and decoder to act together, and for little time
_STEPS_TO_COMPARE = 2
# how often a disturbed batch is timed before its time is taken as it is
_ATTEMPTS = 3

# torch's words for tensors that do not fit each other; what else it raises may be the device's
_MISFIT = re.compile(
    r"[Ss]izes? of tensor|shapes cannot be multiplied|to have \d+ channels|same dtype"
)


def evaluate(
    context: EvaluationContext,
    configurations: Sequence[Configuration],
    progress: Callable[[str], None],
) -> list[Samples]:
    """Measure configurations together; the first is the baseline that the others are paired with.

    Args:
        context: the pipeline and its task.
        configurations: the baseline and a block of others.
        progress: called after every batch with what has been done, in a few words.

    Returns:
        Samples for each configuration. One that failed (it ran out of memory, or its images contain
        NaN or Inf) is marked and measured no further.

    Raises:
        OutOfMemoryError: the baseline itself does not fit, or its images' scores do not.
        NonFiniteImagesError: the baseline's own images contain NaN or Inf.
        PipelineFailsError: the model's parts, or its noise scheduler's configuration, do not work.
        WorkerError: an accelerator left something behind.
    """
    own = context.settings.steps
    for steps in sorted({configuration.steps or own for configuration in configurations}):
        try_out(context.pipeline.plain, context.sched, steps)
    block = [Samples(configuration) for configuration in configurations]
    baseline = block[0]
    with _certain_errors_in_one_sentence():
        _warm_up(context, baseline)
        _check_unchanged(context, baseline)
    for samples in block[1:]:
        _warm_up(context, samples)
    batches = context.batches()
    for number, indices in enumerate(batches):
        images: list[Tensor | None] = [None] * len(block)
        # whoever goes first finds the device cooler and the caches colder: take turns
        for turn in range(len(block)):
            place = (turn + number) % len(block)
            if block[place].failure is None:
                images[place] = _timed(context, block[place], indices)
        # further batches have the same prompts and latents again
        fresh = len(context.prompts) - number * context.settings.batch_size
        if context.quality is not None and fresh > 0:
            with must_fit("the CLIP/LPIPS/FID scorer"):
                _score(context.quality, block, images, indices[:fresh])
        progress(f"batch {number + 1} of {len(batches)}")
    add_energy(context, block)
    _check_unchanged(context, baseline)
    return block


@contextmanager
def _certain_errors_in_one_sentence() -> Iterator[None]:
    """Tell of a model whose parts do not fit each other, which would fail in every attempt.

    Raises:
        PipelineFailsError: they do not.
    """
    try:
        yield
    except (TypeError, ValueError, LookupError, AttributeError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _MISFIT.search(str(error)):
            raise
        said = f"{type(error).__name__}: {first_line(error)}"
        raise PipelineFailsError(
            f"the model makes no image: {said}; its parts do not fit each other, so look at their "
            "config.json files",
            said,
        ) from error


def _check_unchanged(context: EvaluationContext, baseline: Samples) -> None:
    """Compare the pipeline with what it was before the first accelerator was prepared.

    Raises:
        WorkerError: an accelerator left something behind.
    """
    steps = min(context.settings.steps, max(_STEPS_TO_COMPARE, context.sched.min_steps))
    batch = generate(context, baseline, context.batches()[0], steps)
    assert batch is not None, "the baseline is made or raises"
    with must_fit("the check of the pipeline's integrity"):
        context.integrity.check(context.pipeline.plain, batch.images)


def _warm_up(context: EvaluationContext, samples: Samples) -> None:
    """Run the configuration untimed; the first run tells what a cold start costs."""
    samples.setup_seconds = fitting(
        context, samples, lambda: _set_up(context, samples.configuration)
    )
    for run in range(context.settings.timing.warmup):
        if samples.failure is not None:
            return
        batch = generate(context, samples, context.batches()[0])
        if batch is not None and run == 0:
            samples.cold_seconds = batch.seconds


def _set_up(context: EvaluationContext, configuration: Configuration) -> float:
    """Put the accelerators in and out once, and return the seconds that it took."""
    start = time.perf_counter()
    with context.pipeline.with_accelerators_of(configuration):
        pass
    return time.perf_counter() - start


def _timed(context: EvaluationContext, samples: Samples, indices: list[int]) -> Tensor | None:
    """Make and time one batch of images, or mark the configuration as failed and return None.

    A batch during which something else disturbed the device is taken again.
    """
    batch = generate(context, samples, indices)
    # what disturbed the last batch at every try will not be gone by trying this one again
    stays = bool(samples.readings) and samples.readings[-1].spoiled is not None
    for _ in range(0 if stays else _ATTEMPTS - 1):
        if batch is None or batch.reading.spoiled is None:
            break
        samples.retaken += 1
        batch = generate(context, samples, indices)
    if batch is None:
        return None
    samples.seconds.append(batch.seconds)
    samples.readings.append(batch.reading)
    samples.images += len(indices)
    if batch.peak_memory is not None:
        samples.peak_memory = max(batch.peak_memory, samples.peak_memory or 0)
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
