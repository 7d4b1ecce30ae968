"""The models of a task: loaded when first needed, shared by all its studies."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from types import TracebackType

from typing_extensions import Self

from worker.config.numbers import FEWEST_IMAGES_FOR_FID
from worker.measure.context import AcceleratedPipeline, EvaluationContext, QualityMetrics
from worker.measure.memory import Memory, must_fit
from worker.measure.rounds.caption_match import CaptionMatch
from worker.measure.settings import MeasurementSettings
from worker.metrics.clip import ClipScorer
from worker.metrics.device import Meter
from worker.metrics.fid import Fid
from worker.metrics.host import HostMeter
from worker.metrics.lpips import Lpips
from worker.models.families.registry import family_of
from worker.models.loading import apply_settings, is_on_host, load_pipeline
from worker.models.prompts import load_captions
from worker.models.task import Task
from worker.search.studies import Study
from worker.types import Pipeline


class Session:
    """What is loaded for a task. A finished task that is asked again loads nothing but captions.

    Args:
        task: the task.
        device: a torch device.
        say: called with a line for the log before each model is loaded.
        pipeline: one that is loaded already, with the task's noise scheduler; None: the task's.
        captions: as many as its studies need, where they are not to be read.
    """

    def __init__(
        self,
        task: Task,
        device: str,
        say: Callable[[str], None],
        pipeline: Pipeline | None = None,
        captions: Sequence[str] = (),
    ) -> None:
        self._task = task
        self._device = device
        self._say = say
        self._captions = captions
        self._meter: Meter | None = None
        self._scorer: ClipScorer | None = None
        self._lpips: Lpips | None = None
        self._fid: Fid | None = None
        self._pipeline: AcceleratedPipeline | None = None
        if pipeline is not None:
            denoiser = family_of(task.pipe.architecture).denoiser
            self._pipeline = AcceleratedPipeline(pipeline, denoiser, compiled=False)
        self._memory: Memory | None = None
        self._not_taken: Mapping[str, object] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pipeline = self._scorer = self._lpips = self._fid = None
        self._meter = self._memory = None

    def prompts(self, source: str, study: Study) -> list[str]:
        """Return a study's prompts; captions are read again only where more are needed.

        Raises:
            WorkerError: the captions cannot be had.
        """
        if len(self._captions) < study.end:
            self._captions = load_captions(source, study.end)
        return study.prompts(self._captions)

    def context(self, settings: MeasurementSettings, study: Study) -> EvaluationContext:
        """Return the context of a study; what is cheapest to fail comes first.

        Raises:
            WorkerError: captions, scorer or pipeline cannot be had.
            OutOfMemoryError: scorer or pipeline do not fit on the device.
        """
        with must_fit(f"{self._task.pipe.name} with its scorer"):
            meter = self._load_meter()  # before anything uses the device
            prompts = self.prompts(settings.captions, study)
            with self._on_its_way(settings) as loading:
                quality = self._load_quality_metrics(settings, prompts)
            pipeline, memory = loading()
        family = family_of(self._task.pipe.architecture)
        return EvaluationContext(
            settings=settings,
            sched=self._task.sched,
            guided=family.guided(settings.guidance_scale, pipeline.denoiser_config),
            prompts=prompts,
            pipeline=pipeline,
            quality=quality,
            meter=meter,
            host=HostMeter(computes=not self._device.startswith("cuda")),
            memory=memory,
            scheduler_not_taken=self._not_taken,
        )

    @contextmanager
    def _on_its_way(
        self, settings: MeasurementSettings
    ) -> Iterator[Callable[[], tuple[AcceleratedPipeline, Memory]]]:
        """Have weights that wait in host memory go to the device while something else is loaded.

        Yields what returns the pipeline; where there are no such weights, it loads it then.
        """
        if self._pipeline is not None or not is_on_host():
            yield partial(self._load_pipeline, settings)
            return
        with ThreadPoolExecutor(1) as pool:
            yield pool.submit(self._load_pipeline, settings).result

    def _load_meter(self) -> Meter:
        if self._meter is None:
            self._meter = Meter(self._device)
        return self._meter

    def _load_quality_metrics(
        self, settings: MeasurementSettings, prompts: Sequence[str]
    ) -> QualityMetrics | None:
        if settings.clip is None:
            return None
        if self._scorer is None:
            model, pretrained = settings.clip
            self._say(f"loading the scorer {model} {pretrained}".rstrip())
            # else it is loaded for the first image that is scored, between calls that are timed
            importlib.import_module("torchmetrics.functional.image.ssim")
            self._scorer = ClipScorer(model, pretrained, self._device)
        captions = self._scorer.encode(prompts)
        if settings.lpips is not None and self._lpips is None:
            self._lpips = Lpips(settings.lpips, self._device)
        enough = len(prompts) >= FEWEST_IMAGES_FOR_FID
        if settings.fid is not None and enough and self._fid is None:
            self._fid = Fid(settings.fid, self._device)
        return QualityMetrics(
            self._scorer,
            captions,
            self._lpips,
            self._fid if enough else None,
            None if settings.is_untrained else CaptionMatch(captions),
        )

    def _load_pipeline(self, settings: MeasurementSettings) -> tuple[AcceleratedPipeline, Memory]:
        if self._pipeline is None:
            import torch

            self._say(f"loading {self._task.pipe.name} from {settings.source}")
            pipeline = load_pipeline(
                self._task.pipe,
                self._task.sched,
                source=settings.source,
                weights=settings.weights,
                device=self._device,
                dtype=getattr(torch, settings.dtype),
                image_size=self._task.image_size,
                tell_not_taken=self._note_not_taken,
            )
            family = family_of(self._task.pipe.architecture)
            apply_settings(pipeline, family, settings.pipeline)
            self._pipeline = AcceleratedPipeline(
                pipeline, family.denoiser, settings.pipeline.compile
            )
        if self._memory is None:
            self._memory = Memory(self._pipeline.plain)
        return self._pipeline, self._memory

    def _note_not_taken(self, settings: Mapping[str, object]) -> None:
        self._not_taken = settings
        for name, value in settings.items():
            self._say(
                f"{self._task.sched.name} does not take {name}: {value} of the model's scheduler "
                "configuration"
            )
