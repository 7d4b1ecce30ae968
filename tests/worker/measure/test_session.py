"""Models and captions that cannot be had end the task in one sentence."""

import json
import os
import shutil
import subprocess
from dataclasses import replace

import pytest
from diffusers import UNet2DConditionModel

from tests.helpers.tiny_task import (
    COMMAND,
    SECTION,
    measure,
    read,
    request,
)
from worker.errors import ConfigurationError
from worker.measure.task.run import run
from worker.models.catalogue import find_pipe, find_sched
from worker.models.random_weights import tiny_pipeline
from worker.models.sources import local_source
from worker.models.task import Task
from worker.results.file import ResultsFile


def test_too_few_captions(tmp_path):
    file = tmp_path / "c.txt"
    file.write_text("one\ntwo\n")
    section = SECTION | {"captions": str(file)}
    with pytest.raises(ConfigurationError, match="has 2 captions, but the task needs 3"):
        measure(tmp_path / "r.jsonl", section=section)
    # for the confirmation as well, before anything is measured
    wanted = replace(request(section, num_samples=2), confirm=2)
    with pytest.raises(ConfigurationError, match="has 2 captions, but the task needs 4"):
        run(wanted, ResultsFile.open(tmp_path / "r.jsonl"), "cpu", lambda _line: None)
    assert read(tmp_path / "r.jsonl") == []


def test_a_model_folder_without_safetensors(tmp_path):
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(ConfigurationError, match="it lacks unet, vae, text_encoder, tokenizer"):
        measure(tmp_path / "r.jsonl", section={"models": {"TINY_SD15": str(tmp_path)}})


def of_tiny_sd15(folder):
    shutil.copytree(tiny_pipeline("sd15"), folder)
    return folder


def cut_off(folder):
    file = of_tiny_sd15(folder) / "text_encoder" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    return "is cut off"


def with_no_index(folder):
    (of_tiny_sd15(folder) / "model_index.json").write_text("[]")
    return "holds no JSON object"


def without_tokenizer(folder):
    shutil.rmtree(of_tiny_sd15(folder) / "tokenizer")
    return "it lacks tokenizer"


def of_other_blocks(folder):
    shutil.copytree(local_source("package:shapes/weights/sd15"), folder)
    return "its UNet has 3 blocks of 1 layers.*TINY_SD15's has 4 blocks of 2"


def without_middle_block(folder):
    of_tiny_sd15(folder)
    config = UNet2DConditionModel.load_config(folder / "unet")
    unet = UNet2DConditionModel.from_config(config | {"mid_block_type": None})
    unet.save_pretrained(folder / "unet")
    return "without a middle block"


def of_sdxl(folder):
    shutil.copytree(tiny_pipeline("sdxl"), folder)
    return "not of one model"


@pytest.mark.parametrize(
    "make",
    [cut_off, with_no_index, without_tokenizer, of_other_blocks, without_middle_block, of_sdxl],
)
def test_a_model_folder_that_is_not_what_it_should_be(tmp_path, make):
    folder = tmp_path / "model"
    words = make(folder)
    with pytest.raises(ConfigurationError, match=words):
        measure(tmp_path / "r.jsonl", section={"models": {"TINY_SD15": str(folder)}})


def test_a_folder_of_sd15_is_no_sdxl(tmp_path):
    task = Task(find_pipe("TINY_SDXL"), find_sched("DDIM"), 4)
    section = SECTION | {"models": {"TINY_SDXL": str(tiny_pipeline("sd15"))}}
    wanted = replace(request(section), task=task)
    with pytest.raises(ConfigurationError, match=r"it lacks text_encoder_2|cannot be loaded"):
        run(wanted, ResultsFile.open(tmp_path / "r.jsonl"), "cpu", lambda _line: None)


def test_what_cannot_be_built_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match="'built:sd51' cannot be built"):
        measure(tmp_path / "r.jsonl", section={"models": {"TINY_SD15": "built:sd51"}})


def test_a_scorer_that_open_clip_does_not_know(tmp_path):
    section = {"clip": {"model": "ViT-g-15", "pretrained": "laion2b_s34b_b88k"}}
    with pytest.raises(ConfigurationError, match=r"search\.clip\.model"):
        measure(tmp_path / "r.jsonl", section=section)
    section = {"clip": {"model": "ViT-g-14", "pretrained": "nothing"}}
    with pytest.raises(ConfigurationError, match="laion2b_s34b_b88k"):
        measure(tmp_path / "r.jsonl", section=section)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({}, "the data set phiyodr/coco2017 is not in the local cache"),
        ({"captions": "package:captions/tiny.txt"}, "the CLIP weights ViT-g-14"),
        (
            {"captions": "package:captions/tiny.txt", "clip": {"model": "built:tiny-clip"}},
            "the model stabilityai/stable-diffusion-xl-base-1.0",
        ),
    ],
)
def test_what_the_hub_cannot_give_now_may_come_later(tmp_path, section, words):
    file = tmp_path / "search.yaml"
    file.write_text(json.dumps(section))
    flags = ["--pipe", "SDXL", "--sched", "DDIM", "--steps", "4", "--search", str(file)]
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub"), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*COMMAND, *flags, "--results", str(tmp_path / "r.jsonl")],
        capture_output=True,
        text=True,
        env=os.environ | offline,
    )
    assert done.returncode == 75
    assert words in done.stderr
    for pattern in ("Traceback", "RuntimeError"):
        assert pattern not in done.stdout + done.stderr
