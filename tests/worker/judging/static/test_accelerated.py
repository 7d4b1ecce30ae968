"""Whether an accelerator is on at the call, told, or left open, for every form that Python has."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from worker.judging.field_diff import compare
from worker.judging.static.extract import extract

PROGRAMS: dict[str, dict[str, str]] = yaml.safe_load(
    (Path(__file__).parent / "accelerated.yaml").read_text()
)
LOADED = """\
import torch
from diffusers import StableDiffusionPipeline
from DeepCache import DeepCacheSDHelper
MODEL = "stable-diffusion-v1-5/stable-diffusion-v1-5"
pipe = StableDiffusionPipeline.from_pretrained(MODEL)
helper = DeepCacheSDHelper(pipe=pipe)
helper.set_params(cache_interval=3, cache_branch_id=0)
"""
CALL = "\npipe('a', num_inference_steps=20)\n"
REFERENCES = {True: LOADED + "helper.enable()" + CALL, False: LOADED + CALL}


def matches(program: str, *, accelerated: bool) -> bool | None:
    """Compare with what is called with DeepCache on, or off: does everything match?"""
    text = LOADED + program + ("" if "num_inference_steps" in program else CALL)
    found = compare(extract(REFERENCES[accelerated].encode()), extract(text.encode()))
    answers = {item.match for item in found}
    return False if False in answers else None if None in answers else True


@pytest.mark.parametrize("name", PROGRAMS["enabled"])
def test_what_is_on(name: str) -> None:
    program = PROGRAMS["enabled"][name]
    assert matches(program, accelerated=True) is True
    assert matches(program, accelerated=False) is False


@pytest.mark.parametrize("name", PROGRAMS["plain"])
def test_what_is_off(name: str) -> None:
    program = PROGRAMS["plain"][name]
    assert matches(program, accelerated=False) is True
    assert matches(program, accelerated=True) is False


@pytest.mark.parametrize("name", PROGRAMS["unknown"])
def test_what_cannot_be_known(name: str) -> None:
    program = PROGRAMS["unknown"][name]
    assert matches(program, accelerated=True) is None
    assert matches(program, accelerated=False) is None
