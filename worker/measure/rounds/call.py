"""One call of the pipeline with a configuration, timed; and what becomes of it where that fails."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from worker.errors import OutOfMemoryError, is_out_of_memory
from worker.measure.context import EvaluationContext
from worker.measure.rounds import worthless
from worker.measure.samples import Samples
from worker.metrics.device import Reading
from worker.metrics.host import Disturbance, HostReading
from worker.results.row import NON_FINITE, OUT_OF_MEMORY
from worker.search.configuration import Configuration
from worker.types import Tensor

# images of which not one shows anything before a baseline is refused, if there are as many
_SURE = 8
# two sets of seeds never meet: no task has so many prompts
_SEEDS_APART = 1_000_000

T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """One call of the pipeline."""

    images: Tensor
    """Shape [batch, 3, height, width], values from 0 to 1."""
    seconds: float
    reading: Reading
    host: HostReading
    peak_memory: int | None
    """Bytes; None on a CPU."""

    @property
    def disturbance(self) -> Disturbance | None:
        """Why its time does not count."""
        return self.reading.disturbance or self.host.disturbance


def generate(
    context: EvaluationContext, samples: Samples, indices: list[int], steps: int | None = None
) -> Batch | None:
    """Make one batch of images, in ``steps`` steps instead of the configuration's own if given.

    Returns:
        The batch, or None where the configuration failed; it is marked with the reason.

    Raises:
        WorkerError: the baseline failed.
    """
    import torch

    batch = fitting(context, samples, lambda: _call(context, samples.configuration, indices, steps))
    if batch is None:
        return None
    samples.spent += batch.seconds
    samples.made += len(indices)
    # random weights may overflow, and nothing is said of their images
    if context.quality is None:
        return batch
    if not torch.isfinite(batch.images).all():
        if samples.configuration.role == "baseline":
            raise worthless.non_finite(context.pipeline.plain.dtype)
        samples.failure = NON_FINITE
        return None
    if steps is None:
        samples.contrast.add(batch.images, indices)
        if samples.configuration.role == "baseline":
            _refuse_without_content(context, samples)
    return batch


def _refuse_without_content(context: EvaluationContext, baseline: Samples) -> None:
    """Refuse a baseline whose images show nothing, or all the same.

    The first few may be exceptions: those of the next prompts are then made at once.

    Raises:
        WorthlessImagesError: they do not.
    """
    contrast = baseline.contrast
    if worthless.fault(contrast) is None:
        return
    for number in range(context.least_rounds):
        indices = context.batch(number)
        if contrast.count >= _SURE or worthless.fault(contrast) is None:
            break
        if contrast.has_seen(indices):
            continue
        batch = fitting(
            context, baseline, partial(_call, context, baseline.configuration, indices, None)
        )
        assert batch is not None, "the baseline is made or raises"
        baseline.spent += batch.seconds
        baseline.made += len(indices)
        contrast.add(batch.images, indices)
    if worthless.fault(contrast) is not None:
        raise worthless.without_content(contrast)


def fitting(context: EvaluationContext, samples: Samples, act: Callable[[], T]) -> T | None:
    """Do something with a configuration, or mark it as too large and leave the device clean.

    Raises:
        OutOfMemoryError: it is the baseline that does not fit: nothing could be compared with it.
    """
    import torch

    pipeline = context.pipeline.plain
    vae = pipeline.vae
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
    if pipeline.device.type == "cuda":
        torch.cuda.empty_cache()
    if samples.configuration.role == "baseline":
        raise failure
    samples.failure = OUT_OF_MEMORY
    return None


def _call(
    context: EvaluationContext, configuration: Configuration, indices: list[int], steps: int | None
) -> Batch:
    """Call the pipeline once, timed from a quiet device to a quiet device."""
    import torch

    settings = context.settings
    steps = steps or configuration.steps or settings.steps
    first = settings.seed + settings.first_prompt + _SEEDS_APART * configuration.seeds
    # one CPU generator for each prompt: the same latents whatever the batch size or the device
    generators = [torch.Generator("cpu").manual_seed(first + index) for index in indices]
    pipeline = context.pipeline
    with torch.inference_mode(), pipeline.with_accelerators_of(configuration) as accelerated:
        arguments = accelerated.begin(context.sched.calls(steps), seed=first + indices[0])
        context.memory.start()
        context.meter.start()
        # started last and stopped first: reading it takes the least time
        context.host.start()
        start = time.perf_counter()
        images = pipeline.plain(
            [context.prompts[index] for index in indices],
            num_inference_steps=steps,
            height=settings.image_size,
            width=settings.image_size,
            guidance_scale=settings.guidance_scale,
            generator=generators,
            output_type="pt",
            return_dict=False,
            **arguments,
        )[0]
        context.memory.wait()
        seconds = time.perf_counter() - start
        host = context.host.stop(seconds)
        reading = context.meter.stop()
    return Batch(images, seconds, reading, host, context.memory.peak())
