"""Generate, time and score: the one function that every comparison goes through.

Configurations are measured in blocks, interleaved with the baseline batch by batch (A B C D A B C
D). Every row thus carries its own pairs: the same prompts, the same starting latents, the same
minute of the machine. A single unpaired run of each side can be wrong by a fifth.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from worker.accelerators.compose import Accelerated
from worker.catalogue import Sched
from worker.errors import ConfigurationError, WorkerError, is_out_of_memory
from worker.metrics.device import Meter, Reading
from worker.metrics.lpips import Lpips
from worker.metrics.similarity import psnr, ssim
from worker.plan import Configuration
from worker.results import NOT_NUMBERS, OUT_OF_MEMORY
from worker.untyped import Pipeline, Tensor

# two sets of seeds never meet: no task has so many prompts
_SEEDS_APART = 1_000_000
# kernels may add up in another order from run to run, which moves single pixels a little
_ROUNDING = 0.02
# how often a disturbed batch is timed before its time is taken as it is
_ATTEMPTS = 3


class Scorer(Protocol):
    """What scores images against captions."""

    def score(self, images: Tensor, captions: Tensor) -> list[float]:
        """Return one score for each image."""


@dataclass(frozen=True)
class Bench:
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
    compiled: bool = False
    """Whether the UNet is compiled, for every configuration alike."""
    _accelerated: dict[str, Accelerated] = field(default_factory=dict)
    _first_images: list[Tensor] = field(default_factory=list)

    def accelerated(self, configuration: Configuration) -> Accelerated:
        """Return the pipeline's context for a configuration, the same one each time."""
        key = json.dumps(dict(configuration.accelerators), sort_keys=True)
        if key not in self._accelerated:
            self._accelerated[key] = Accelerated(
                self.pipeline, configuration.accelerators, self.compiled
            )
        return self._accelerated[key]

    def baseline_is_unchanged(self, images: Tensor) -> None:
        """Compare the baseline's first batch with what it was in the first block.

        Raises:
            WorkerError: the images differ by more than rounding: an accelerator left something
                behind, and no ratio from here on would mean anything.
        """
        if not self._first_images:
            self._first_images.append(images.cpu())
            return
        apart = (images.cpu() - self._first_images[0]).abs().mean().item()
        if apart > _ROUNDING:
            raise WorkerError(
                f"the baseline's images changed within the task (by {apart:.3f} of the range of a "
                "pixel on average): an accelerator was not undone; please report this"
            )


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
    """Bytes of device memory at most; None on a CPU."""
    clip: list[float] = field(default_factory=list)
    psnr: list[float] = field(default_factory=list)
    ssim: list[float] = field(default_factory=list)
    lpips: list[float] = field(default_factory=list)
    images: int = 0
    failure: str | None = None
    """Why there is no measurement, as a row's ``status`` says it."""


def evaluate(
    bench: Bench, configurations: Sequence[Configuration], progress: Callable[[str], None]
) -> list[Samples]:
    """Measure configurations together; the first is the baseline that the others are paired with.

    Args:
        bench: the pipeline and its task.
        configurations: the baseline and a block of others.
        progress: told what has been done, in a few words, after every batch.

    Returns:
        Samples for each configuration. One that failed (it ran out of memory, or its images are no
        numbers) is marked and measured no further.

    Raises:
        torch.OutOfMemoryError: the baseline itself does not fit.
        ConfigurationError: the baseline's own images are no numbers.
    """
    block = [Samples(configuration) for configuration in configurations]
    for samples in block:
        _warm_up(bench, samples)
    batches = _batches(bench)
    for number, indices in enumerate(batches):
        scored = number * bench.batch_size < len(bench.prompts)
        images = {}
        # whoever goes first finds the device cooler and the caches colder: take turns
        for turn in range(len(block)):
            samples = block[(turn + number) % len(block)]
            if samples.failure is None:
                images[id(samples)] = _timed(bench, samples, indices)
        if scored:
            _score(bench, block, images, indices)
        if number == 0:
            bench.baseline_is_unchanged(images[id(block[0])])
        progress(f"batch {number + 1} of {len(batches)}")
    return block


def _batches(bench: Bench) -> list[list[int]]:
    """Return the prompts' numbers, batch by batch, each at least once.

    All batches are equally large, so that their times can be compared: the last one is filled up
    from the front.
    """
    count = len(bench.prompts)
    needed = max(-(-count // bench.batch_size), bench.repeats)
    numbers = [n % count for n in range(needed * bench.batch_size)]
    return [
        numbers[first : first + bench.batch_size]
        for first in range(0, len(numbers), bench.batch_size)
    ]


def _warm_up(bench: Bench, samples: Samples) -> None:
    """Run the configuration untimed; the first run tells what a cold start costs."""
    start = time.perf_counter()
    try:
        with bench.accelerated(samples.configuration):
            pass
    except (RuntimeError, MemoryError) as error:
        _ran_out_of_memory(samples, error)
        return
    samples.setup_seconds = time.perf_counter() - start
    indices = _batches(bench)[0]
    for run in range(bench.warmup):
        _, seconds, _ = _generate(bench, samples, indices)
        if samples.failure is not None:
            return
        if run == 0:
            samples.cold_seconds = seconds


def _timed(bench: Bench, samples: Samples, indices: list[int]) -> Tensor:
    """Make and time one batch; take it again where something else disturbed the device."""
    for attempt in range(_ATTEMPTS):
        images, seconds, reading = _generate(bench, samples, indices)
        if images is None:
            return None
        if reading.spoiled is None or attempt == _ATTEMPTS - 1:
            break
        samples.retaken += 1
    samples.seconds.append(seconds)
    samples.readings.append(reading)
    samples.images += len(indices)
    return images


def _generate(bench: Bench, samples: Samples, indices: list[int]) -> tuple[Tensor, float, Reading]:
    """Make one batch of images; return them (None where memory ran out), seconds and reading."""
    import torch

    on_gpu = bench.pipeline.device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(bench.pipeline.device)
    try:
        images, seconds, reading = _call(bench, samples.configuration, indices)
    except (RuntimeError, MemoryError) as error:
        _ran_out_of_memory(samples, error)
    else:
        samples.spent += seconds
        if on_gpu:
            peak = torch.cuda.max_memory_allocated(bench.pipeline.device)
            samples.peak_memory = max(peak, samples.peak_memory or 0)
        # random weights may overflow, and nothing is said of their images
        if bench.scorer is not None and not torch.isfinite(images).all():
            _has_no_images(bench, samples)
            return None, seconds, reading
        return images, seconds, reading
    # outside the handler: the error's traceback would keep the tensors alive
    if on_gpu:
        torch.cuda.empty_cache()
    return None, 0.0, Reading()


def _call(
    bench: Bench, configuration: Configuration, indices: list[int]
) -> tuple[Tensor, float, Reading]:
    """Call the pipeline once, timed from a quiet device to a quiet device."""
    import torch

    steps = configuration.steps or bench.steps
    first = bench.seed + _SEEDS_APART * configuration.seeds
    # one CPU generator for each prompt: the same latents whatever the batch size or the device
    generators = [torch.Generator("cpu").manual_seed(first + index) for index in indices]
    wait = torch.cuda.synchronize if bench.pipeline.device.type == "cuda" else _no_wait
    with torch.inference_mode(), bench.accelerated(configuration) as accelerated:
        arguments = accelerated.begin(
            bench.sched.calls(steps), seed=first + indices[0], guided=bench.guidance_scale > 1
        )
        wait()
        bench.meter.start()
        start = time.perf_counter()
        images = bench.pipeline(
            [bench.prompts[index] for index in indices],
            num_inference_steps=steps,
            height=bench.image_size,
            width=bench.image_size,
            guidance_scale=bench.guidance_scale,
            generator=generators,
            output_type="pt",
            return_dict=False,
            **arguments,
        )[0]
        wait()
        seconds = time.perf_counter() - start
        reading = bench.meter.stop()
    return images, seconds, reading


def _no_wait() -> None:
    """A CPU has finished when the call returns."""


def _ran_out_of_memory(samples: Samples, error: BaseException) -> None:
    """Mark a configuration that does not fit; raise the error where it is anything else.

    The baseline's own is raised as well: nothing could be compared with it.
    """
    if not samples.configuration.accelerators or not is_out_of_memory(error):
        raise error
    samples.failure = OUT_OF_MEMORY


def _has_no_images(bench: Bench, samples: Samples) -> None:
    """Mark a configuration whose images hold no numbers; without the baseline's own nothing goes."""
    if samples.configuration.role == "baseline":
        raise ConfigurationError(
            f"the baseline's images are not numbers in {bench.pipeline.dtype}: set search.dtype to "
            "float32, or to bfloat16 where the device computes with it"
        )
    samples.failure = NOT_NUMBERS


def _score(
    bench: Bench, block: Sequence[Samples], images: dict[int, Any], indices: list[int]
) -> None:
    """Score one batch; images that only fill up the last batch are left out."""
    if bench.scorer is None:
        return
    reference = images[id(block[0])]
    fresh = len([n for i, n in enumerate(indices) if n == indices[0] + i])
    for samples in block:
        made = images.get(id(samples))
        if made is None:
            continue
        made = made[:fresh]
        samples.clip += bench.scorer.score(made, bench.captions[indices[:fresh]])
        if samples is not block[0] and not samples.configuration.seeds:
            samples.psnr += psnr(made, reference[:fresh])
            samples.ssim += ssim(made, reference[:fresh])
            if bench.lpips is not None:
                samples.lpips += bench.lpips.distance(made, reference[:fresh])
