"""What does not fit into the memory is a result, or ends the attempt in a sentence."""

import json
import os
import resource
import subprocess

import pytest
import torch
from diffusers import DDIMScheduler

from tests.helpers.tiny_task import (
    COMMAND,
    FLAGS,
    NO_CONTROLS,
    SECTION,
    TooLarge,
    labels,
    measure,
    read,
    replace_accelerator,
    value,
)
from worker.errors import OutOfMemoryError
from worker.measure.settings import TaskRequest
from worker.measure.task.run import run
from worker.metrics.clip import ClipScorer
from worker.models.catalogue import find_pipe, find_sched
from worker.models.task import Task
from worker.results.file import ResultsFile
from worker.search.section import Search


def test_one_configuration_out_of_memory_does_not_stop_the_next(tmp_path, monkeypatch):
    replace_accelerator(monkeypatch, "tome", TooLarge)
    path = tmp_path / "t.jsonl"
    said = []
    summary = measure(path, said.append)
    assert summary.out_of_memory == ["ToMe 0.5/1"]
    status = {row["label"]: row["status"] for row in read(path)[:-1]}
    assert status["ToMe 0.5/1"] == "out of memory"
    assert status["T-GATE 2"] == "measured"
    text = path.read_text() + "\n".join(said)
    assert "CUDA out of memory" not in text
    assert "RuntimeError" not in text


def test_what_was_made_beside_one_that_failed_counts(tmp_path, monkeypatch):
    """Of a block in which all failed its baseline's images were made, and have no row of their own."""
    replace_accelerator(monkeypatch, "tome", TooLarge)
    timing = {"repeats": 1, "warmup": 1, "block": 1, "energy": False}
    section = SECTION | {"controls": NO_CONTROLS, "timing": timing}
    summary = measure(tmp_path / "t.jsonl", section=section)
    rows = {row["label"]: row for row in read(tmp_path / "t.jsonl") if "label" in row}
    # three prompts in batches of two: an untimed one and two timed, and two to see the pipeline as it was
    assert value(rows["ToMe 0.5/1"], "images_generated") >= (1 + 2 + 2) * 2
    assert value(rows["ToMe 0.5/1"], "gpu_seconds") > 0
    made = sum(value(row, "images_generated") for row in rows.values())
    assert summary.images_generated == made


class NoRoomForCudnn(TooLarge):
    """An accelerator under which cuDNN finds no room for itself, and does not say so."""

    def install(self):
        raise RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR")


def test_an_internal_error_of_a_full_device_is_out_of_memory(tmp_path, monkeypatch):
    replace_accelerator(monkeypatch, "tome", NoRoomForCudnn)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (2**21, 2**36))
    path, said = tmp_path / "t.jsonl", []
    small = SECTION | {"controls": NO_CONTROLS, "timing": {"repeats": 1, "warmup": 0}}
    assert measure(path, said.append, section=small).out_of_memory == ["ToMe 0.5/1"]
    text = path.read_text() + "\n".join(said)
    for words in ("INTERNAL_ERROR", "CUDA out of memory", "RuntimeError"):
        assert words not in text
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (2**35, 2**36))
    with pytest.raises(RuntimeError, match="INTERNAL_ERROR"):
        measure(tmp_path / "other.jsonl", section=small)


class TooLargeToDecode(TooLarge):
    """An accelerator under which the images cannot be decoded for want of memory."""

    def prepare(self, pipe, clock):
        self.vae = pipe.vae

    def install(self):
        self.vae.decode = lambda *_arguments, **_options: TooLarge.install(self)

    def remove(self):
        del self.vae.decode


def test_half_decoded_images_leave_the_decoder_as_it_was(tmp_path, monkeypatch):
    """In half precision SDXL's pipeline decodes in single precision, and casts back afterwards."""
    replace_accelerator(monkeypatch, "tome", TooLargeToDecode)
    section = {
        "configurations": [
            {"tome": {"ratio": 0.5, "max_downsample": 2}},
            {"tgate": {"gate_step": 1}},
        ],
        "controls": NO_CONTROLS,
        "dtype": "float16",
        "timing": {"repeats": 1},
    }
    task = Task(find_pipe("TINY_SDXL"), find_sched("DDIM"), 2)
    results = ResultsFile.open(tmp_path / "r.jsonl")
    run(TaskRequest(task, Search.model_validate(section), 1, 1), results, "cpu", lambda _: None)
    status = {row["label"]: row["status"] for row in results.lines if "label" in row}
    assert status == {"baseline": "measured", "ToMe 0.5/2": "out of memory", "T-GATE 1": "measured"}


def test_a_control_out_of_memory_does_not_stop_the_next(tmp_path, monkeypatch):
    set_timesteps = DDIMScheduler.set_timesteps

    def set_few(self, steps, *arguments, **options):
        if steps == 3:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 TiB")
        set_timesteps(self, steps, *arguments, **options)

    monkeypatch.setattr(DDIMScheduler, "set_timesteps", set_few)
    section = SECTION | {"controls": NO_CONTROLS | {"fewer_steps": [3]}}
    summary = measure(tmp_path / "t.jsonl", section=section)
    assert summary.out_of_memory == ["3 steps"]
    assert summary.configurations.measured == 5


def test_scores_that_do_not_fit_end_the_attempt_in_a_sentence(tmp_path, monkeypatch):
    def embed(_self, _images):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 TiB")

    monkeypatch.setattr(ClipScorer, "embed", embed)
    small = {"configurations": [], "controls": NO_CONTROLS, "timing": {"repeats": 1, "warmup": 0}}
    with pytest.raises(OutOfMemoryError, match="the CLIP/LPIPS/FID scorer does not fit"):
        measure(tmp_path / "r.jsonl", section=small, num_samples=1)


def test_a_baseline_that_does_not_fit_ends_the_attempt(tmp_path):
    """With the real allocator's real words, which a scheduler's judgement looks for."""
    section = tmp_path / "search.yaml"
    section.write_text(json.dumps({"image_size": 40960, "timing": {"warmup": 0}}))
    path = tmp_path / "r.jsonl"
    done = subprocess.run(
        [*COMMAND, *FLAGS, "--results", str(path), "--search", str(section)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30)),
    )
    assert done.returncode == 1
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("error: the baseline does not fit into the device's memory")
    assert "OutOfMemoryError" in sentence
    assert "can't allocate memory" in sentence
    assert "Successfully completed" not in done.stdout
    assert labels(path) == [] if path.exists() else True
