"""The signatures kept are those of the diffusers that is installed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import inspect
import json
from pathlib import Path

import pytest

from worker.judging.facts import read_diffusers
from worker.judging.facts.models import MODELS
from worker.judging.facts.signatures import call_of, parts_of, scheduler_signature

HERE = Path(read_diffusers.__file__).parent
KEPT = json.loads((HERE / "diffusers.json").read_text())
INSTALLED = importlib.metadata.version("diffusers")
needs_same_version = pytest.mark.skipif(
    KEPT["version"] != INSTALLED, reason=f"kept of {KEPT['version']}, {INSTALLED} is installed"
)


@needs_same_version
def test_what_is_kept_is_what_is_read() -> None:
    spec = importlib.util.find_spec("diffusers")
    assert spec is not None
    assert spec.origin is not None
    families = ("stable_diffusion", "stable_diffusion_xl")
    read = json.loads(json.dumps(read_diffusers.read(Path(spec.origin).parent, families)))
    for group in ("schedulers", "values", "pipeline methods", "model methods"):
        assert read[group] == KEPT[group]
    assert read["pipelines"].items() <= KEPT["pipelines"].items()


@needs_same_version
def test_what_is_read_is_what_python_sees() -> None:
    from diffusers import DPMSolverSinglestepScheduler, StableDiffusionXLImg2ImgPipeline

    cls = StableDiffusionXLImg2ImgPipeline
    call = call_of(cls.__name__)
    assert call is not None
    seen = inspect.signature(inspect.unwrap(cls.__call__)).parameters
    assert call.order == tuple(seen)[1:-1]
    assert call.defaults["strength"] == seen["strength"].default == 0.3
    expected, _ = cls._get_signature_keys(cls)
    assert parts_of(cls.__name__) == set(expected)
    kept = scheduler_signature("DPMSolverSinglestepScheduler")
    assert kept is not None
    own = inspect.signature(DPMSolverSinglestepScheduler.__init__).parameters
    assert set(kept.order) == set(own) - {"self"}


def test_every_model_is_loaded_by_a_class_that_is_known() -> None:
    for model in MODELS:
        assert call_of(model.pipeline) is not None
        assert model.scheduler is None or scheduler_signature(model.scheduler) is not None
