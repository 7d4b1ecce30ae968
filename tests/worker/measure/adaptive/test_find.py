"""A pipeline of one's own, searched from Python, and left as it was."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.helpers.tiny_task import NO_CONTROLS
from worker.errors import ConfigurationError
from worker.measure.adaptive.find import find
from worker.models.prompts import load_captions
from worker.models.sources import local_source

CAPTIONS = "package:captions/shapes.txt"
SCORER = {"model": "package:shapes/weights/scorer"}


def image(pipe, **arguments):
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        return pipe(
            "a red ring", num_inference_steps=4, generator=generator, output_type="pt", **arguments
        ).images


def test_the_best_is_found_and_the_pipeline_is_left_as_it_was(load):
    pipe = load("SHAPES_SDXL")
    before = image(pipe)
    found = find(
        pipe,
        max_loss=0.05,
        captions=load_captions(local_source(CAPTIONS), 32),
        steps=4,
        num_samples=16,
        batch_size=8,
        say=lambda _line: None,
        clip=SCORER,
        configurations=[{"deepcache": {"cache_interval": 2}}],
        controls=NO_CONTROLS,
        timing={"repeats": 2, "energy": False},
    )
    assert found.label == "DeepCache 2/0"
    assert found.accelerators == {"deepcache": {"cache_interval": 2, "cache_branch_id": 0}}
    assert found.speedup > 1
    assert found.stopped
    assert torch.equal(image(pipe), before)
    with found.on(pipe) as accelerated:
        faster = image(pipe, **accelerated.begin(calls=4, seed=0))
    assert not torch.equal(faster, before)
    assert torch.equal(image(pipe), before)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"max_loss": 2.0}, "search.max_loss: input should be less than 1"),
        ({"target_speedup": 0.5}, "search.target_speedup: input should be greater than 1"),
        ({"maximal_loss": 0.1}, "search.maximal_loss: unknown key"),
        ({"num_samples": 4}, "needs 16 prompts or more"),
        ({"steps": 0}, "steps: expected a whole number from 1 on, found 0"),
        ({"steps": 2000}, "DDIM takes 1 to"),
        ({"batch_size": 0}, "batch_size: expected a whole number from 1 on, found 0"),
        ({"settings": {"compile": True}}, "search.settings: the pipeline is loaded already"),
        ({"models": {"SDXL": "/m"}}, "search.models: the pipeline is loaded already"),
        ({"weights": "random"}, "search.weights: the pipeline is loaded already"),
        ({"dtype": "float16"}, "search.dtype: the pipeline is loaded already"),
        ({"strategy": "grid"}, "search.strategy: what find() does is an adaptive search"),
        ({"stability": {}}, "leave stability out"),
        ({"captions": ["one", " "]}, "captions: 1 are given, but the search needs 160"),
        ({"captions": []}, "captions: 0 are given, but the search needs 160"),
        ({"captions": [1, 2]}, "captions: expected texts, or the name of a file that has them"),
        ({"captions": Path("none.txt")}, "none.txt cannot be read"),
    ],
)
def test_what_cannot_be_is_told_in_one_sentence(load, changes, sentence):
    with pytest.raises(ConfigurationError) as raised:
        find(load("SHAPES_SDXL"), **{"captions": CAPTIONS, "steps": 4} | changes)
    assert sentence in str(raised.value)


def test_it_goes_on_behind_what_is_kept_of_the_same_weights(load, tmp_path):
    pipe, path = load("SHAPES_SDXL"), tmp_path / "t.jsonl"

    def measured() -> int:
        before = path.read_text().count('"role"') if path.exists() else 0
        find(
            pipe,
            max_loss=0.5,
            captions=load_captions(local_source(CAPTIONS), 32),
            steps=2,
            num_samples="16",
            batch_size=16,
            say=lambda _line: None,
            results=path,
            clip=SCORER,
            configurations=[{"deepcache": {"cache_interval": 2}}],
            controls=NO_CONTROLS,
            timing={"repeats": 1, "warmup": 0, "energy": False},
        )
        return path.read_text().count('"role"') - before

    assert measured() > 0
    assert measured() == 0
    bias = pipe.unet.conv_in.bias
    before = bias.detach().clone()
    try:
        bias.data += 0.01
        assert measured() > 0
    finally:
        bias.data = before  # other tests have the pipeline as well


def test_another_kind_of_pipeline_is_refused():
    with pytest.raises(ConfigurationError, match="a SimpleNamespace cannot be accelerated here"):
        find(SimpleNamespace())
