"""Generate, time and score: the one function that every comparison goes through.

Configurations are measured in blocks, interleaved with the baseline batch by batch, each round in
another order (A B D C, B C A D, …). Every row thus carries its own pairs: the same prompts, the
same starting latents, the same minute of the machine. A single unpaired run of each side can be
wrong by a fifth.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from worker.errors import PipelineFailsError, first_line
from worker.measure.context import EvaluationContext
from worker.measure.memory import must_fit
from worker.measure.rounds import worthless
from worker.measure.rounds.call import fitting, generate
from worker.measure.rounds.loop import run_rounds
from worker.measure.rounds.untimed import add_energy
from worker.measure.samples import Samples
from worker.models.noise_schedule import try_out
from worker.search.configuration import Configuration
from worker.search.cost import steps_to_compare

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
        progress: called after every round with what has been done, in a few words.

    Returns:
        Samples for each configuration. One that failed (it ran out of memory, or its images are worth
        nothing) is marked.

    Raises:
        OutOfMemoryError: the baseline itself does not fit, or its images' scores do not.
        WorthlessImagesError: the baseline's own images are worth nothing.
        PipelineFailsError: the model's parts, or its noise scheduler's configuration, do not work.
        WorkerError: an accelerator left something behind.
    """
    own = context.settings.steps
    for steps in sorted({configuration.steps or own for configuration in configurations}):
        try_out(context.pipeline.plain, context.sched, steps)
    arms = [configuration.label for configuration in configurations]
    block = [Samples(configuration, arms) for configuration in configurations]
    baseline = block[0]
    with _certain_errors_in_one_sentence():
        _warm_up(context, baseline)
        _check_unchanged(context, baseline)
    for samples in block[1:]:
        _warm_up(context, samples)
    run_rounds(context, block, progress)
    worthless.mark(block, progress)
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
    steps = steps_to_compare(context.settings.steps, context.sched)
    batch = generate(context, baseline, context.batch(0), steps)
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
        batch = generate(context, samples, context.batch(0))
        if batch is not None and run == 0:
            samples.cold_seconds = batch.seconds


def _set_up(context: EvaluationContext, configuration: Configuration) -> float:
    """Put the accelerators in and out once, and return the seconds that it took."""
    start = time.perf_counter()
    with context.pipeline.with_accelerators_of(configuration):
        pass
    return time.perf_counter() - start
