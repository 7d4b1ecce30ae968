"""What a measurement depends on beside its configuration, and what is asked of one task."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal

from worker.config.settings import PipelineSettings, Timing
from worker.models.sources import has_random_weights
from worker.models.task import Task
from worker.search.plan import captions_source, guidance_scale
from worker.search.section import Search
from worker.search.studies import Length, Study


@dataclass(frozen=True)
class TaskRequest:
    """What to measure, and with how many images."""

    task: Task
    search: Search
    num_samples: int
    batch_size: int
    seed: int = 0
    confirm: int = 0
    """On how many other prompts the frontier is measured again."""
    stage: Literal["timed", "untimed"] | None = None
    """Which part of it, where it can be measured in two; None: all of it."""
    command: str = ""
    """The command that repeats this task by hand."""

    def reproduction(self) -> dict[str, object]:
        """Return how the task is repeated by hand, as it stands in a row."""
        search = self.search.model_dump(mode="json", exclude_defaults=True)
        # what an adaptive search looks for depends on whether it was named
        if "max_loss" in self.search.model_fields_set:
            search["max_loss"] = self.search.max_loss
        return {"command": self.command, "search": search}


@dataclass(frozen=True)
class MeasurementSettings:
    """Everything that the figures of a study depend on beside the configuration.

    What only chooses configurations or studies (the grids, the controls, the bound) is not in it:
    a changed grid leaves the measurements alone that it still contains. A row holds the fields
    under these names and in this order, and their digest; what the scheduler's configuration comes
    to is added once the model is loaded, and follows from its source.
    """

    pipe: str
    source: str
    weights: str
    sched: str
    steps: int
    image_size: int
    """Pixels of a side."""
    guidance_scale: float
    dtype: str
    captions: str
    clip: tuple[str, str] | None
    """The scorer's model and weights; None where images mean nothing (random weights)."""
    lpips: str | None
    fid: str | None
    num_samples: int
    first_prompt: int
    prompts: Length
    batch_size: int
    seed: int
    pipeline: PipelineSettings
    timing: Timing

    @property
    def is_untrained(self) -> bool:
        """Whether the model or its scorer has random weights by design, so that scores mean nothing."""
        parts = (self.source, self.clip[0].removeprefix("local-dir:") if self.clip else "")
        return self.weights != "pretrained" or any(map(has_random_weights, parts))

    def as_json(self, prompts: Sequence[str]) -> dict[str, object]:
        """Return the settings as they stand in a row, with a digest of them and of the prompts.

        Args:
            prompts: the study's prompts; the same file may hold others tomorrow.
        """
        plain = {item.name: getattr(self, item.name) for item in fields(self)} | {
            "clip": None if self.clip is None else list(self.clip),
            "pipeline": self.pipeline.model_dump(),
            # how many share a pass of the baseline chooses pairs, but changes no figure; what is
            # measured beside the times changes none of them; more rounds make them more precise
            "timing": (
                "off"
                if self.timing.is_off
                else self.timing.model_dump(include={"warmup", "repeats"})
            ),
            "prompts_digest": _digest(prompts),
        }
        return plain | {"digest": _digest(plain)}


def settings_of(request: TaskRequest, study: Study, device: str) -> MeasurementSettings:
    """Return what the figures of one of the task's studies depend on.

    Args:
        request: the task.
        study: its prompts and seeds.
        device: a torch device.
    """
    task, search = request.task, request.search
    pipe = task.pipe
    pretrained = search.weights == "pretrained"
    clip = (search.clip.model, search.clip.pretrained) if search.clip else pipe.clip
    return MeasurementSettings(
        pipe=pipe.name,
        source=search.source_of(pipe),
        weights=search.weights,
        sched=task.sched.name,
        steps=task.steps,
        image_size=search.image_size or pipe.image_size,
        guidance_scale=guidance_scale(pipe, search),
        dtype=search.dtype or ("float16" if device.startswith("cuda") else "float32"),
        captions=captions_source(pipe, search),
        clip=clip if pretrained else None,
        lpips=search.lpips if pretrained else None,
        fid=search.fid if pretrained else None,
        num_samples=study.count,
        first_prompt=study.first_prompt,
        prompts=study.length,
        batch_size=study.batch_size,
        seed=study.seed,
        pipeline=search.settings,
        timing=search.timing,
    )


def _digest(content: Mapping[str, object] | Sequence[str]) -> str:
    text = json.dumps(content, sort_keys=True).encode()
    return hashlib.sha256(text).hexdigest()[:16]
