"""The pipeline and the scorer of a task: loaded when first needed, shared by all its studies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from typing_extensions import Self

from worker.accelerators.compose import Accelerated
from worker.measure.evaluation import EvaluationContext, must_fit
from worker.measure.memory import Memory
from worker.metrics.clip import ClipScorer
from worker.metrics.device import Meter
from worker.metrics.fid import FEWEST_IMAGES, Fid
from worker.metrics.lpips import Lpips
from worker.models.loading import apply_settings, load_pipeline
from worker.models.prompts import load_captions
from worker.models.task import Task
from worker.search.section import Search
from worker.search.studies import Study
from worker.types import Pipeline


@dataclass
class Session:
    """What is loaded. A finished task that is asked again loads nothing but captions."""

    task: Task
    search: Search
    device: str
    say: Callable[[str], None]
    evaluating: float = 0.0
    """Seconds of evaluation so far."""
    in_pipeline: float = 0.0
    """Seconds of them in the pipeline itself; the rest is the evaluation's own overhead."""
    _captions: Sequence[str] = ()
    _pipeline: Pipeline = None
    _scorer: ClipScorer | None = None
    _lpips: Lpips | None = None
    _fid: Fid | None = None
    _meter: Meter | None = None
    _memory: Memory | None = None
    _contexts: dict[str, Accelerated] = field(default_factory=dict)

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
        self._contexts.clear()

    def prompts(self, source: str, study: Study) -> list[str]:
        """Return a study's prompts; captions are read again only where more are needed.

        Raises:
            WorkerError: the captions cannot be had.
        """
        if len(self._captions) < study.end:
            self._captions = load_captions(source, study.end)
        return study.prompts(self._captions)

    def context(self, settings: Mapping[str, Any], study: Study) -> EvaluationContext:
        """Return the context of a study; what is cheapest to fail comes first.

        Raises:
            WorkerError: captions, scorer or pipeline cannot be had, or do not fit on the device.
        """
        with must_fit(f"{self.task.pipe.name} with its scorer"):
            return self._context(settings, study)

    def _context(self, settings: Mapping[str, Any], study: Study) -> EvaluationContext:
        meter = self._load_meter()  # before anything uses the device
        prompts = self.prompts(settings["captions"], study)
        embedded = None
        if settings["clip"] is not None:
            embedded = self._load_scorer(*settings["clip"]).encode(prompts)
        if settings["lpips"] is not None and self._lpips is None:
            self._lpips = Lpips(settings["lpips"], self.device)
        enough = study.count >= FEWEST_IMAGES
        if settings["fid"] is not None and enough and self._fid is None:
            self._fid = Fid(settings["fid"], self.device)
        pipeline = self._load_pipeline(settings)
        if self._memory is None:
            self._memory = Memory(pipeline)
        return EvaluationContext(
            pipeline=pipeline,
            sched=self.task.sched,
            steps=self.task.steps,
            prompts=prompts,
            batch_size=study.batch_size,
            image_size=settings["image_size"],
            guidance_scale=settings["guidance_scale"],
            scorer=self._scorer,
            captions=embedded,
            lpips=self._lpips,
            seed=study.seed + study.first_prompt,
            warmup=self.search.timing.warmup,
            repeats=self.search.timing.repeats,
            meter=meter,
            memory=self._memory,
            compiled=self.search.settings.compile,
            fid=self._fid if enough else None,
            contexts=self._contexts,
        )

    def _load_scorer(self, model: str, pretrained: str) -> ClipScorer:
        if self._scorer is None:
            self.say(f"loading the scorer {model} {pretrained}".rstrip())
            self._scorer = ClipScorer(model, pretrained, self.device)
        return self._scorer

    def _load_pipeline(self, settings: Mapping[str, Any]) -> Pipeline:
        if self._pipeline is None:
            import torch

            self.say(f"loading {self.task.pipe.name} from {settings['source']}")
            self._pipeline = load_pipeline(
                self.task.pipe,
                self.task.sched,
                source=settings["source"],
                weights=settings["weights"],
                device=self.device,
                dtype=getattr(torch, settings["dtype"]),
            )
            apply_settings(self._pipeline, self.search.settings)
        return self._pipeline

    def _load_meter(self) -> Meter:
        if self._meter is None:
            self._meter = Meter(self.device)
        return self._meter
