"""The fastest acceleration of a pipeline of one's own, from Python."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.accelerators.compose import Accelerated
from worker.accelerators.spec import Values
from worker.config.numbers import TASK_NUMBERS
from worker.errors import ConfigurationError
from worker.measure.adaptive.task import run_adaptive
from worker.measure.settings import TaskRequest
from worker.models.catalogue import find_sched
from worker.models.families.base import Family, Pipe
from worker.models.families.registry import families
from worker.models.task import Task
from worker.results.file import ResultsFile
from worker.results.summary import Summary
from worker.search.section import Search, read_search
from worker.search.studies import prompts_to_confirm, unfit_to_search
from worker.types import Module, Pipeline

# what stands for captions that are in no file
_GIVEN = "given"
_LOADED = "the pipeline is loaded already"
# what a search section may say and a given pipeline has settled
_OF_THE_PIPELINE = {
    "dtype": _LOADED,
    "models": _LOADED,
    "settings": _LOADED,
    "strategy": "what find() does is an adaptive search",
    "weights": _LOADED,
}


@dataclass(frozen=True)
class Acceleration:
    """What was found for a pipeline."""

    label: str
    """In words, such as ``DeepCache 3/0``; ``baseline`` where nothing is better."""
    accelerators: Mapping[str, Values]
    """Methods with their parameters; none for the baseline."""
    speedup: float
    loss: float
    """Relative loss of CLIP score; like the speed-up that of the confirmation."""
    within: bool
    """Whether it surely keeps the bound and is faster, on prompts that the search did not see."""
    stopped: str
    """Why the search ended."""
    summary: Summary

    def on(self, pipe: Pipeline) -> Accelerated:
        """Return a context in which the pipeline is accelerated so.

        Example::

            with found.on(pipe) as accelerated:
                images = pipe(prompts, num_inference_steps=50, **accelerated.begin(calls=50, seed=0)).images
        """
        return Accelerated(pipe, self.accelerators, denoiser=_family_of(pipe).denoiser)


def find(
    pipe: Pipeline,
    *,
    max_loss: float = 0.05,
    target_speedup: float | None = None,
    captions: str | Path | Sequence[str] | None = None,
    steps: int = 50,
    num_samples: int = 128,
    batch_size: int = 4,
    results: str | Path | None = None,
    say: Callable[[str], None] = print,
    **search: Any,
) -> Acceleration:
    """Find out how far a pipeline can be accelerated, and return the best.

    The pipeline stays as it is: bit for bit, whatever was tried in it.

    Args:
        pipe: a loaded Stable Diffusion pipeline (SD1.x, SD2.x or SDXL) on its device.
        max_loss: how much of its CLIP score may be lost, as a share.
        target_speedup: the first that is surely so much faster ends the search; None: the fastest.
        captions: the prompts, or a file of them, or None for COCO 2017's. A quarter more than
            ``num_samples`` are read, to confirm what was found.
        steps: inference steps of a call.
        num_samples: prompts at most for one configuration.
        batch_size: images at once.
        results: a file in which measurements are kept, so that a search goes on behind them. Those of
            other weights of the denoiser do not count. None: nothing is kept.
        say: called with each line of the log.
        search: further keys of a search section (``configurations``, ``clip``, ``budget``, …).

    Raises:
        WorkerError: something asked for is not possible (see its subclasses), in one sentence.
    """
    family = _family_of(pipe)
    counts = _checked(
        search, {"steps": steps, "num_samples": num_samples, "batch_size": batch_size}
    )
    given = _given(captions)
    with tempfile.TemporaryDirectory() as folder:
        section = {
            "strategy": "adaptive",
            "max_loss": max_loss,
            "target_speedup": target_speedup,
            "captions": _GIVEN if given is not None else captions and str(captions),
            "dtype": str(pipe.dtype).removeprefix("torch."),
            **search,
        }
        read = _read(section)
        task = _task(pipe, family, counts["steps"])
        request = TaskRequest(
            task, read, counts["num_samples"], counts["batch_size"], command="find()"
        )
        if given is not None:
            _must_suffice(given, request)
        file = ResultsFile.open(Path(folder, "results.jsonl") if results is None else Path(results))
        with _without_progress_bar(pipe):
            summary = run_adaptive(request, file, str(pipe.device), say, pipe, given or ())
    best = summary.best
    assert best is not None and summary.search is not None, "an adaptive search says so"
    return Acceleration(
        best.label,
        summary.search["accelerators"],
        best.speedup,
        best.loss,
        best.within,
        summary.search["stopped"],
        summary,
    )


def _checked(search: Mapping[str, Any], counts: Mapping[str, int]) -> dict[str, int]:
    """Return the counts as whole numbers; refuse them, or keys of a section, where they cannot be.

    Raises:
        ConfigurationError: a key is settled by the pipeline, or no task can have such a number.
    """
    for key in search:
        if key in _OF_THE_PIPELINE:
            raise ConfigurationError(
                f"search.{key}: {_OF_THE_PIPELINE[key]}: leave it out, and give find() the pipeline "
                "as it is to be"
            )
    checked = {}
    for name, count in counts.items():
        try:
            checked[name] = TASK_NUMBERS[name](count)
        except ValueError as error:
            raise ConfigurationError(f"{name}: {error}") from error
    return checked


def _read(section: Mapping[str, Any]) -> Search:
    """Return a search section of these keys, less those that are None.

    Raises:
        ConfigurationError: with all that is wrong with it.
    """
    given = {name: value for name, value in section.items() if value is not None}
    read, problems = read_search(given)
    if read is None:
        raise ConfigurationError("; ".join(f"{key}: {said}" for key, said in problems))
    return read


def _task(pipe: Pipeline, family: Family, steps: int) -> Task:
    """Return the task that a pipeline with its noise scheduler stands for.

    Raises:
        ConfigurationError: it cannot be accelerated, or its scheduler makes no images in so many steps.
    """
    sched = find_sched(type(pipe.scheduler).__name__)
    sched.check_steps(steps)
    return Task(_pipe(pipe, family), sched, steps)


@contextmanager
def _without_progress_bar(pipe: Pipeline) -> Iterator[None]:
    bar = getattr(pipe, "_progress_bar_config", {})
    pipe.set_progress_bar_config(disable=True)
    try:
        yield
    finally:
        pipe.set_progress_bar_config(**bar)


def _family_of(pipe: Pipeline) -> Family:
    known = {family.pipeline_class: family for family in families().values()}
    found = known.get(type(pipe).__name__)
    if found is None:
        raise ConfigurationError(
            f"a {type(pipe).__name__} cannot be accelerated here: give a {' or '.join(known)}"
        )
    return found


def _pipe(pipe: Pipeline, family: Family) -> Pipe:
    """Return what a plan needs to know of a pipeline.

    Raises:
        ConfigurationError: its denoiser is not one in which accelerators could be placed.
    """
    denoiser = getattr(pipe, family.denoiser)
    try:
        architecture = family.architecture_of(dict(denoiser.config))
    except ValueError as error:
        raise ConfigurationError(f"its {family.denoiser_title} {error}") from error
    name = type(pipe).__name__
    size = denoiser.config.sample_size * pipe.vae_scale_factor
    return Pipe(name, architecture, f"given/{name}-{_fingerprint(denoiser)}", size)


def _fingerprint(denoiser: Module) -> str:
    """Return a text that differs where weights do, by some values of each tensor."""
    digest = hashlib.sha256()
    for name, tensor in denoiser.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        # where weights are moved in for each call there are none now
        if not tensor.is_meta:
            values = tensor.detach().reshape(-1)
            digest.update(str([*values[:8].tolist(), *values[-8:].tolist()]).encode())
    return digest.hexdigest()[:16]


def _given(captions: str | Path | Sequence[str] | None) -> list[str] | None:
    """Return captions that were given as such, each in one line; None where they are to be read.

    Raises:
        ConfigurationError: they are no texts.
    """
    if captions is None or isinstance(captions, (str, Path)):
        return None
    if not all(isinstance(caption, str) for caption in captions):
        raise ConfigurationError("captions: expected texts, or the name of a file that has them")
    return [line for caption in captions if (line := " ".join(caption.split()))]


def _must_suffice(captions: Sequence[str], request: TaskRequest) -> None:
    """Refuse fewer captions than a search looks at.

    Raises:
        ConfigurationError: there are fewer.
    """
    refused = unfit_to_search(request.search, request.num_samples, request.confirm)
    needed = request.num_samples + prompts_to_confirm(request.search, request.num_samples, 0)
    if refused is None and len(captions) < needed:
        raise ConfigurationError(
            f"captions: {len(captions)} are given, but the search needs {needed}, the confirmation's "
            "included; lower num_samples, or give more"
        )
