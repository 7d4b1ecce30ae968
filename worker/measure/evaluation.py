"""Generate, time and score: the one function that every comparison goes through.

Configurations are measured in blocks, interleaved with the baseline batch by batch (A B C D A B C
D). Every row thus carries its own pairs: the same prompts, the same starting latents, the same
minute of the machine. A single unpaired run of each side can be wrong by a fifth.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from worker.accelerators.compose import Accelerated
from worker.errors import ConfigurationError, OutOfMemoryError, is_out_of_memory
from worker.measure.integrity import IntegrityCheck
from worker.measure.memory import Memory
from worker.metrics.device import Meter, Reading
from worker.metrics.fid import Fid
from worker.metrics.lpips import Lpips
from worker.metrics.similarity import psnr, ssim
from worker.models.catalogue import Sched
from worker.results.file import NON_FINITE, OUT_OF_MEMORY
from worker.search.configuration import Configuration
from worker.types import Pipeline, Tensor

# two sets of seeds never meet: no task has so many prompts
_SEEDS_APART = 1_000_000
# enough for text, UNet, noise scheduler and decoder to act together, and for little time
_STEPS_TO_COMPARE = 2
# how often a disturbed batch is timed before its time is taken as it is
_ATTEMPTS = 3

T = TypeVar("T")


class NonFiniteImagesError(ConfigurationError):
    """The baseline's own images contain NaN or Inf: it overflowed."""


class Scorer(Protocol):
    """What scores images against captions."""

    def score(self, images: Tensor, captions: Tensor) -> list[float]:
        """Return one score for each image."""


@dataclass(frozen=True)
class EvaluationContext:
    """A loaded pipeline and everything that stays the same from configuration to configuration."""

    pipeline: Pipeline
    sched: Sched
    steps: int
    prompts: Sequence[str]
    batch_size: int
    image_size: int
    guidance_scale: float
    scorer: Scorer | None
    """None where images mean nothing (random weights at full size): no quality is measured."""
    captions: Tensor
    """The scorer's embedding of each prompt, shape [prompts, width]."""
    lpips: Lpips | None
    """None where its weights were not given."""
    seed: int
    warmup: int
    repeats: int
    """Least number of timed batches; prompts come round again where there are too few."""
    meter: Meter
    memory: Memory
    compiled: bool = False
    """Whether the UNet is compiled, for every configuration alike."""
    fid: Fid | None = None
    """None where its weights were not given, or there are too few images for it."""
    integrity: IntegrityCheck = field(default_factory=IntegrityCheck)
    contexts: dict[str, Accelerated] = field(default_factory=dict)
    """What was made for each configuration: what is compiled in it is not compiled again."""

    def accelerated(self, configuration: Configuration) -> Accelerated:
        """Return the pipeline's context for a configuration, the same one each time."""
        key = json.dumps(dict(configuration.accelerators), sort_keys=True)
        if key not in self.contexts:
            self.contexts[key] = Accelerated(
                self.pipeline, configuration.accelerators, self.compiled
            )
        return self.contexts[key]


@dataclass
class Samples:
    """What one configuration gave, in the order of the prompts."""

    configuration: Configuration
    setup_seconds: float | None = None
    """Seconds to put the accelerators in and out of the pipeline."""
    cold_seconds: float | None = None
    """Seconds of its very first batch."""
    spent: float = 0.0
    """Seconds in the pipeline altogether: cold, timed and retaken."""
    seconds: list[float] = field(default_factory=list)
    """Seconds of each timed batch."""
    readings: list[Reading] = field(default_factory=list)
    """What the device told of each timed batch."""
    retaken: int = 0
    """Batches that were timed again because something disturbed them."""
    peak_memory: int | None = None
    """Bytes of device memory at most, warm-ups apart; None on a CPU."""
    clip: list[float] = field(default_factory=list)
    psnr: list[float] = field(default_factory=list)
    ssim: list[float] = field(default_factory=list)
    lpips: list[float] = field(default_factory=list)
    features: list[Tensor] = field(default_factory=list)
    """FID's features of the images, batch by batch."""
    images: int = 0
    failure: str | None = None
    """Why there is no measurement, as a row's ``status`` says it."""


def evaluate(
    context: EvaluationContext,
    configurations: Sequence[Configuration],
    progress: Callable[[str], None],
) -> list[Samples]:
    """Measure configurations together; the first is the baseline that the others are paired with.

    Args:
        context: the pipeline and its task.
        configurations: the baseline and a block of others.
        progress: told what has been done, in a few words, after every batch.

    Returns:
        Samples for each configuration. One that failed (it ran out of memory, or its images contain
        NaN or Inf) is marked and measured no further.

    Raises:
        OutOfMemoryError: the baseline itself does not fit, or its images' scores do not.
        NonFiniteImagesError: the baseline's own images contain NaN or Inf.
        WorkerError: an accelerator left something behind.
    """
    block = [Samples(configuration) for configuration in configurations]
    baseline = block[0]
    _warm_up(context, baseline)
    _check_unchanged(context, baseline)
    for samples in block[1:]:
        _warm_up(context, samples)
    batches = _batches(context)
    for number, indices in enumerate(batches):
        scored = number * context.batch_size < len(context.prompts)
        images = {}
        # whoever goes first finds the device cooler and the caches colder: take turns
        for turn in range(len(block)):
            samples = block[(turn + number) % len(block)]
            if samples.failure is None:
                images[id(samples)] = _timed(context, samples, indices)
        if scored:
            with must_fit("the CLIP/LPIPS/FID scorer"):
                _score(context, block, images, indices)
        progress(f"batch {number + 1} of {len(batches)}")
    _check_unchanged(context, baseline)
    return block


def _check_unchanged(context: EvaluationContext, baseline: Samples) -> None:
    """Hold the pipeline against what it was before the first accelerator was made ready.

    Raises:
        WorkerError: an accelerator left something behind.
    """
    steps = min(context.steps, max(_STEPS_TO_COMPARE, context.sched.min_steps))
    batch = _generate(context, baseline, _batches(context)[0], steps)
    assert batch is not None, "the baseline is made or raises"
    with must_fit("the check of the pipeline's integrity"):
        context.integrity.check(context.pipeline, batch.images)


@dataclass(frozen=True)
class _Batch:
    """One call of the pipeline."""

    images: Tensor
    seconds: float
    reading: Reading
    peak_memory: int | None


def _batches(context: EvaluationContext) -> list[list[int]]:
    """Return the prompts' numbers, batch by batch, each at least once.

    All batches are equally large, so that their times can be compared: the last one is filled up
    from the front.
    """
    count = len(context.prompts)
    needed = max(-(-count // context.batch_size), context.repeats)
    numbers = [n % count for n in range(needed * context.batch_size)]
    return [
        numbers[first : first + context.batch_size]
        for first in range(0, len(numbers), context.batch_size)
    ]


def _warm_up(context: EvaluationContext, samples: Samples) -> None:
    """Run the configuration untimed; the first run tells what a cold start costs."""
    samples.setup_seconds = _fitting(
        context, samples, lambda: _set_up(context, samples.configuration)
    )
    for run in range(context.warmup):
        if samples.failure is not None:
            return
        batch = _generate(context, samples, _batches(context)[0])
        if batch is not None and run == 0:
            samples.cold_seconds = batch.seconds


def _set_up(context: EvaluationContext, configuration: Configuration) -> float:
    """Put the accelerators in and out once, and return the seconds that it took."""
    start = time.perf_counter()
    with context.accelerated(configuration):
        pass
    return time.perf_counter() - start


def _timed(context: EvaluationContext, samples: Samples, indices: list[int]) -> Tensor:
    """Make and time one batch; take it again where something else disturbed the device."""
    batch = _generate(context, samples, indices)
    # what disturbed the last batch at every try will not be gone by trying this one again
    stays = bool(samples.readings) and samples.readings[-1].spoiled is not None
    for _ in range(0 if stays else _ATTEMPTS - 1):
        if batch is None or batch.reading.spoiled is None:
            break
        samples.retaken += 1
        batch = _generate(context, samples, indices)
    if batch is None:
        return None
    samples.seconds.append(batch.seconds)
    samples.readings.append(batch.reading)
    samples.images += len(indices)
    if batch.peak_memory is not None:
        samples.peak_memory = max(batch.peak_memory, samples.peak_memory or 0)
    return batch.images


def _generate(
    context: EvaluationContext, samples: Samples, indices: list[int], steps: int | None = None
) -> _Batch | None:
    """Make one batch of images, in ``steps`` steps instead of the configuration's own if given.

    Returns:
        The batch, or None where the configuration failed; it is marked with the reason.

    Raises:
        WorkerError: the baseline failed.
    """
    import torch

    batch = _fitting(
        context, samples, lambda: _call(context, samples.configuration, indices, steps)
    )
    if batch is None:
        return None
    samples.spent += batch.seconds
    # random weights may overflow, and nothing is said of their images
    if context.scorer is not None and not torch.isfinite(batch.images).all():
        _mark_non_finite(context, samples)
        return None
    return batch


@contextmanager
def must_fit(what: str) -> Iterator[None]:
    """Do what nothing goes without.

    Raises:
        OutOfMemoryError: it does not fit.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(what, error) from error


def _fitting(context: EvaluationContext, samples: Samples, act: Callable[[], T]) -> T | None:
    """Do something with a configuration, or mark it as too large and leave the device clean.

    Raises:
        OutOfMemoryError: it is the baseline that does not fit: nothing could be compared with it.
    """
    import torch

    vae = context.pipeline.vae
    dtype = vae.dtype
    try:
        return act()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        failure = OutOfMemoryError("the baseline", error)
    # only here, where the error is gone: the frames in its traceback kept the call's tensors alive
    gc.collect()
    # SDXL's call casts it to float32 for decoding, and back only where that succeeds
    with torch.inference_mode():
        vae.to(dtype)
    if context.pipeline.device.type == "cuda":
        torch.cuda.empty_cache()
    if samples.configuration.role == "baseline":
        raise failure
    samples.failure = OUT_OF_MEMORY
    return None


def _call(
    context: EvaluationContext, configuration: Configuration, indices: list[int], steps: int | None
) -> _Batch:
    """Call the pipeline once, timed from a quiet device to a quiet device."""
    import torch

    steps = steps or configuration.steps or context.steps
    first = context.seed + _SEEDS_APART * configuration.seeds
    # one CPU generator for each prompt: the same latents whatever the batch size or the device
    generators = [torch.Generator("cpu").manual_seed(first + index) for index in indices]
    with torch.inference_mode(), context.accelerated(configuration) as accelerated:
        arguments = accelerated.begin(
            context.sched.calls(steps), seed=first + indices[0], guided=context.guidance_scale > 1
        )
        context.memory.start()
        context.meter.start()
        start = time.perf_counter()
        images = context.pipeline(
            [context.prompts[index] for index in indices],
            num_inference_steps=steps,
            height=context.image_size,
            width=context.image_size,
            guidance_scale=context.guidance_scale,
            generator=generators,
            output_type="pt",
            return_dict=False,
            **arguments,
        )[0]
        context.memory.wait()
        seconds = time.perf_counter() - start
        reading = context.meter.stop()
    return _Batch(images, seconds, reading, context.memory.peak())


def _mark_non_finite(context: EvaluationContext, samples: Samples) -> None:
    """Mark a configuration whose images contain NaN or Inf.

    Raises:
        NonFiniteImagesError: it is the baseline: nothing could be compared with it.
    """
    if samples.configuration.role == "baseline":
        raise NonFiniteImagesError(
            f"the baseline's images contain NaN or Inf in {context.pipeline.dtype}: set search.dtype to "
            "float32, or to bfloat16 where the device computes with it"
        )
    samples.failure = NON_FINITE


def _score(
    context: EvaluationContext, block: Sequence[Samples], images: dict[int, Any], indices: list[int]
) -> None:
    """Score one batch; images that only fill up the last batch are left out."""
    if context.scorer is None:
        return
    reference = images[id(block[0])]
    fresh = len([n for i, n in enumerate(indices) if n == indices[0] + i])
    for samples in block:
        made = images.get(id(samples))
        if made is None:
            continue
        made = made[:fresh]
        samples.clip += context.scorer.score(made, context.captions[indices[:fresh]])
        if context.fid is not None:
            samples.features.append(context.fid.features(made))
        if samples is not block[0] and not samples.configuration.seeds:
            samples.psnr += psnr(made, reference[:fresh])
            samples.ssim += ssim(made, reference[:fresh])
            if context.lpips is not None:
                samples.lpips += context.lpips.distance(made, reference[:fresh])
