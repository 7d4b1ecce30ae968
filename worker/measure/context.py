"""What the evaluation needs of a task: the loaded pipeline, its settings and what scores images."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from worker.accelerators.compose import Accelerated
from worker.measure.integrity import IntegrityCheck
from worker.measure.memory import Memory
from worker.measure.rounds.caption_match import CaptionMatch
from worker.measure.samples import Samples
from worker.measure.settings import MeasurementSettings
from worker.metrics.clip import scores
from worker.metrics.device import Meter
from worker.metrics.fid import Fid
from worker.metrics.host import HostMeter
from worker.metrics.lpips import Lpips
from worker.metrics.similarity import psnr, ssim
from worker.models.catalogue import Sched
from worker.models.families.base import Config
from worker.models.noise_schedule import effective_config
from worker.search.configuration import Configuration
from worker.search.cost import least_rounds
from worker.search.studies import Study
from worker.types import Pipeline, Tensor


class AcceleratedPipeline:
    """A loaded pipeline, and what was prepared on it for each configuration so far.

    What is prepared is kept: what is compiled in it is not compiled again.

    Args:
        pipeline: the pipeline, without any accelerator in it.
        denoiser: its part that every step calls.
        compiled: compile that part, for every configuration alike.
    """

    def __init__(self, pipeline: Pipeline, denoiser: str, compiled: bool) -> None:
        self.plain = pipeline
        self._denoiser = denoiser
        self._compiled = compiled
        self._prepared: dict[str, Accelerated] = {}

    @property
    def denoiser_config(self) -> Config:
        """The denoiser's configuration."""
        return dict(getattr(self.plain, self._denoiser).config)

    def with_accelerators_of(self, configuration: Configuration) -> Accelerated:
        """Return the context in which a configuration's accelerators are on, the same each time."""
        key = json.dumps(dict(configuration.accelerators), sort_keys=True)
        if key not in self._prepared:
            self._prepared[key] = Accelerated(
                self.plain, configuration.accelerators, self._compiled, self._denoiser
            )
        return self._prepared[key]


class Scorer(Protocol):
    """What scores images against captions."""

    def embed(self, images: Tensor) -> Tensor:
        """Return one unit vector for each image, shape [n, width].

        Args:
            images: a tensor of shape [n, 3, height, width], values from 0 to 1.
        """


@dataclass(frozen=True)
class QualityMetrics:
    """What measures the quality of a study's images."""

    scorer: Scorer
    captions: Tensor
    """The scorer's embedding of each prompt, shape [prompts, width]."""
    lpips: Lpips | None = None
    """None where its weights were not given."""
    fid: Fid | None = None
    """None where its weights were not given, or there are too few images for it."""
    caption_match: CaptionMatch | None = None
    """Of the baseline's images. None where the model or the scorer is untrained by design."""

    def score(self, samples: Samples, images: Tensor, prompts: Sequence[int]) -> None:
        """Add what the images say by themselves to a configuration's samples.

        Args:
            samples: of the configuration that made the images.
            images: a tensor of shape [n, 3, height, width], values from 0 to 1.
            prompts: the number of each image's prompt.
        """
        embedded = self.scorer.embed(images)
        samples.clip += scores(embedded, self.captions[list(prompts)])
        if self.caption_match is not None and samples.configuration.role == "baseline":
            self.caption_match.add(embedded, prompts)
        if self.fid is not None:
            samples.features.append(self.fid.features(images))

    def compare(self, samples: Samples, images: Tensor, references: Tensor) -> None:
        """Add how alike the images are to the baseline's of the same latents.

        Args:
            samples: of the configuration that made the images.
            images: a tensor of shape [n, 3, height, width], values from 0 to 1.
            references: the baseline's images, the same shape.
        """
        samples.psnr += psnr(images, references)
        samples.ssim += ssim(images, references)
        if self.lpips is not None:
            samples.lpips += self.lpips.distance(images, references)


@dataclass(frozen=True)
class EvaluationContext:
    """What stays the same from configuration to configuration of one study."""

    settings: MeasurementSettings
    sched: Sched
    guided: bool
    """Whether the pipeline computes classifier-free guidance at the settings' guidance scale."""
    prompts: Sequence[str]
    pipeline: AcceleratedPipeline
    quality: QualityMetrics | None
    """None where images mean nothing (random weights at full size): no quality is measured."""
    meter: Meter
    host: HostMeter
    memory: Memory
    integrity: IntegrityCheck = field(default_factory=IntegrityCheck)
    pictures: int = 0
    """Of how many prompts images are kept."""
    scheduler_not_taken: Mapping[str, object] = field(default_factory=dict)
    """What of the model's scheduler configuration the noise scheduler does not take."""

    @property
    def scheduler_config(self) -> dict[str, object]:
        """What of the model's scheduler configuration the noise scheduler goes by."""
        return effective_config(self.sched, self.pipeline.plain.scheduler)

    @property
    def least_rounds(self) -> int:
        """In how many rounds all prompts have had their turn, and there are as many as asked for."""
        study = Study("", len(self.prompts), self.settings.batch_size)
        return least_rounds(study, self.settings.timing)

    def batch(self, number: int) -> list[int]:
        """Return the numbers of a batch's prompts.

        All batches are equally large, so that their times can be compared: the last one with new
        prompts is filled up from the front, and in those behind it prompts come round again.
        """
        size = self.settings.batch_size
        return [n % len(self.prompts) for n in range(number * size, (number + 1) * size)]
