"""The prompts of a batch never mix, whatever accelerates the pipeline and whether it is guided."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch

from tests.helpers.guidance_embedding import with_guidance_embedding
from worker.accelerators.compose import Accelerated
from worker.accelerators.registry import specs
from worker.config.settings import PipelineSettings
from worker.models.catalogue import find_pipe
from worker.models.families.registry import family_of
from worker.search.incompatible import incompatibility

STEPS = 4
# each acts within four steps, beside the others as well
VALUES: Mapping[str, Mapping[str, Any]] = {
    "deepcache": {"cache_interval": 2},
    "tome": {"ratio": 0.5, "max_downsample": 2},
    "tgate": {"gate_step": 2},
    "guidance_cutoff": {"step": 2},
}
PIPES = ("SHAPES_SD15", "SHAPES_SDXL")
PROMPT = "a large red circle"
OTHERS = ("two yellow stars", "a small blue square", "a green triangle on a black background")
#: Where the pipeline's unconditional images come from: a second half of the batch, or nowhere.
GUIDED = {"guided": (5.0, False), "unguided": (1.0, False), "embedded": (5.0, True)}


def together() -> list[dict[str, Mapping[str, Any]]]:
    """Return every set of accelerators that can act together."""
    architecture, settings = find_pipe(PIPES[0]).architecture, PipelineSettings()
    sets = (
        {name: VALUES[name] for name in names}
        for count in range(1, len(VALUES) + 1)
        for names in itertools.combinations(VALUES, count)
    )
    return [item for item in sets if incompatibility(item, architecture, settings) is None]


def images(
    pipeline: Any,
    accelerators: Mapping[str, Mapping[str, Any]],
    scale: float,
    prompts: Sequence[str],
) -> torch.Tensor:
    generators = [torch.Generator().manual_seed(number) for number in range(len(prompts))]
    with torch.inference_mode(), Accelerated(pipeline, accelerators) as accelerated:
        made: torch.Tensor = pipeline(
            list(prompts),
            num_inference_steps=STEPS,
            guidance_scale=scale,
            generator=generators,
            output_type="pt",
            **accelerated.begin(STEPS, seed=0),
        ).images
    return made


@pytest.fixture(scope="module")
def pipeline_of(load: Callable[[str], Any]) -> Callable[[str, bool], Any]:
    """Return a function that gives a pipeline, its UNet with or without a guidance embedding."""
    embedded = {name: with_guidance_embedding(load(name)) for name in PIPES}
    for pipeline in embedded.values():
        pipeline.set_progress_bar_config(disable=True)
    return lambda name, embeds: embedded[name] if embeds else load(name)


def test_every_accelerator_is_tried() -> None:
    assert VALUES.keys() == specs().keys()


@pytest.mark.parametrize(("scale", "embeds"), GUIDED.values(), ids=GUIDED.keys())
@pytest.mark.parametrize("name", PIPES)
@pytest.mark.parametrize("accelerators", together(), ids="+".join)
def test_an_image_does_not_depend_on_its_neighbours(
    accelerators: Mapping[str, Mapping[str, Any]],
    name: str,
    scale: float,
    embeds: bool,
    pipeline_of: Callable[[str, bool], Any],
) -> None:
    pipeline, (one, two, three) = pipeline_of(name, embeds), OTHERS
    assert len(images(pipeline, accelerators, scale, [PROMPT])) == 1
    neighbours = [
        ((one, PROMPT), (two, PROMPT)),
        ((PROMPT, one, two, three), (PROMPT, two, three, one)),
    ]
    for batches in neighbours:
        first, second = (images(pipeline, accelerators, scale, prompts) for prompts in batches)
        same = [
            number for number, pair in enumerate(zip(*batches, strict=True)) if len(set(pair)) == 1
        ]
        torch.testing.assert_close(first[same], second[same], rtol=0, atol=1e-5)
        others = [number for number in range(len(first)) if number not in same]
        assert (first[others] - second[others]).abs().amax(dim=(1, 2, 3)).min() > 0.1


@pytest.mark.parametrize(("scale", "embeds"), GUIDED.values(), ids=GUIDED.keys())
@pytest.mark.parametrize("name", PIPES)
def test_what_a_family_says_of_guidance_is_what_the_pipeline_does(
    name: str, scale: float, embeds: bool, pipeline_of: Callable[[str, bool], Any]
) -> None:
    pipeline, sizes = pipeline_of(name, embeds), []
    hook = pipeline.unet.register_forward_pre_hook(lambda _unet, given: sizes.append(len(given[0])))
    images(pipeline, {}, scale, [PROMPT, *OTHERS])
    hook.remove()
    guided = family_of(find_pipe(name).architecture).guided(scale, pipeline.unet.config)
    assert sizes == [8 if guided else 4] * STEPS


@pytest.mark.parametrize("sched", ["LCM", "EulerAncestralDiscrete"])
def test_noise_of_each_step_is_the_image_s_own(load: Callable[..., Any], sched: str) -> None:
    pipeline = load("SHAPES_SD15", sched)
    alone, beside = (
        images(pipeline, {"tgate": VALUES["tgate"]}, 1.0, prompts)
        for prompts in ([PROMPT], [PROMPT, *OTHERS])
    )
    torch.testing.assert_close(alone, beside[:1], rtol=0, atol=1e-3)


@pytest.mark.parametrize("prompts", [[PROMPT], [PROMPT, *OTHERS]], ids=len)
def test_tgate_on_an_embedding_equals_the_package(
    prompts: list[str], pipeline_of: Callable[[str, bool], Any]
) -> None:
    """Of SDXL alone it takes that the UNet is such a one, and averages no halves then."""
    tgate = pytest.importorskip("tgate", reason="it comes with the extra [test]")
    pipeline = pipeline_of("SHAPES_SDXL", True)
    values = {"gate_step": 2, "sp_interval": 1, "fi_interval": 1, "warm_up": 0}
    ours = images(pipeline, {"tgate": values}, 5.0, prompts)
    with torch.inference_mode():
        theirs = (
            tgate.TgateSDXLLoader(pipeline)
            .tgate(
                prompts,
                num_inference_steps=STEPS,
                guidance_scale=5.0,
                generator=[torch.Generator().manual_seed(n) for n in range(len(prompts))],
                output_type="pt",
                lcm=True,
                **values,
            )
            .images
        )
    for module in pipeline.unet.modules():
        vars(module).pop("forward", None)
        vars(module).pop("cache", None)
    assert torch.equal(ours, theirs)
