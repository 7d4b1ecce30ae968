"""What the reader makes of the ways in which people write such files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from worker.compare.extract import FIELDS, extract
from worker.compare.report import plain

PROGRAMS = yaml.safe_load((Path(__file__).parent / "programs.yaml").read_text())
MODEL = 'MODEL = "stable-diffusion-v1-5/stable-diffusion-v1-5"\n'
LOADED = f"""\
import os
import torch
from diffusers import StableDiffusionPipeline, DDIMScheduler
{MODEL}
pipe = StableDiffusionPipeline.from_pretrained(MODEL)
"""


def find(program: str) -> dict[str, Any]:
    findings = extract(program.encode())
    return {name: plain(findings.fields[name]) for name in FIELDS}


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
