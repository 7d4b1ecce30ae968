"""What the reader makes of the ways in which people write such files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from worker.judging.field_diff import compare
from worker.judging.fields import FIELDS
from worker.judging.report import plain
from worker.judging.static.extract import extract

PROGRAMS = yaml.safe_load((Path(__file__).parent / "programs.yaml").read_text())
MODEL = 'MODEL = "stable-diffusion-v1-5/stable-diffusion-v1-5"\n'
LOADED = f"""\
import os
import torch
from diffusers import StableDiffusionPipeline, DDIMScheduler
{MODEL}
pipe = StableDiffusionPipeline.from_pretrained(MODEL)
"""
CALL = "\npipe('a', num_inference_steps=20)\n"


def find(program: str) -> dict[str, Any]:
    findings = extract(program.encode())
    return {name: plain(findings.fields[name]) for name in FIELDS}


def matches(change: str, expected: str = "") -> dict[str, bool | None]:
    """Compare a program that changes a pipeline before the call with one that does not."""
    pair = [extract((LOADED + text + CALL).encode()) for text in (expected, change)]
    return {item.field: item.match for item in compare(*pair)}


@pytest.mark.parametrize("name", PROGRAMS["after_loading"])
def test_a_program_that_goes_on_with_a_pipeline(name: str) -> None:
    entry = PROGRAMS["after_loading"][name]
    fields = find(LOADED + entry["program"])
    assert {key: fields[key] for key in entry["find"]} == entry["find"]


@pytest.mark.parametrize("name", PROGRAMS["whole"])
def test_a_whole_program(name: str) -> None:
    entry = PROGRAMS["whole"][name]
    fields = find(MODEL + entry["program"])
    assert {key: fields[key] for key in entry["find"]} == entry["find"]


@pytest.mark.parametrize("name", PROGRAMS["changes"])
def test_a_change_that_nobody_knows_leaves_accelerators_unknown(name: str) -> None:
    fields = find(LOADED + PROGRAMS["changes"][name] + CALL)
    assert fields["pipeline"] == "StableDiffusionPipeline"
    assert fields["steps"] == 20
    assert fields["accelerators"] is None
    assert matches(PROGRAMS["changes"][name])["accelerators"] is None
    assert matches(PROGRAMS["changes"][name])["settings"] in (None, True)


@pytest.mark.parametrize("name", PROGRAMS["neutral"])
def test_what_only_looks_leaves_everything_known(name: str) -> None:
    assert set(matches(PROGRAMS["neutral"][name]).values()) == {True}


@pytest.mark.parametrize("name", PROGRAMS["scheduler_changes"])
def test_a_changed_scheduler_has_unknown_arguments(name: str) -> None:
    answers = matches(PROGRAMS["scheduler_changes"][name])
    assert [field for field, answer in answers.items() if answer is not True] == ["scheduler_args"]
    assert answers["scheduler_args"] is None


def test_two_files_that_change_alike_match() -> None:
    change = "pipe.unet.set_attn_processor(diffusers.models.AttnProcessor2_0())\n"
    assert set(matches("import diffusers\n" + change, "import diffusers\n" + change).values()) == {
        True
    }


def test_options_that_nobody_knows_are_not_those_of_another_file() -> None:
    loaded = LOADED.replace("(MODEL)", "(MODEL, **eval(input()))").encode()
    answers = {
        item.field: item.match for item in compare(extract(LOADED.encode()), extract(loaded))
    }
    assert answers["settings"] is None


def test_no_key_of_a_file_is_taken_for_one_of_the_interpreter() -> None:
    calls = ["{'\\0open': 1, 'scale': 1}", "{'\\0open': 1}"]
    pair = [
        extract((LOADED + f"pipe('a', cross_attention_kwargs={options})\n").encode())
        for options in calls
    ]
    answers = {item.field: item.match for item in compare(*pair)}
    assert answers["call_options"] is False
