"""A task on a tiny pipeline, run in this process, and what it wrote."""

import json
import sys

import torch

from worker.accelerators.registry import specs
from worker.measure.settings import TaskRequest
from worker.measure.task.run import run
from worker.models.catalogue import find_pipe, find_sched
from worker.models.task import Task
from worker.results.file import ResultsFile
from worker.search.section import Search

SECTION = {
    "configurations": [
        {"deepcache": {"cache_interval": 2}},
        {"tome": {"ratio": 0.5}},
        {"tgate": {"gate_step": 2}},
    ],
    "controls": {"fewer_steps": [2], "guidance_off": [0.5], "null_arm": True},
    "timing": {"repeats": 2, "block": 2, "warmup": 1},
}

NO_CONTROLS = {"fewer_steps": [], "guidance_off": [], "null_arm": False}

COMMAND = [sys.executable, "-m", "worker", "search"]

FLAGS = ["--pipe", "TINY_SD15", "--sched", "DDIM", "--steps", "4"]
FLAGS += ["--num-samples", "3", "--batch-size", "2"]


def request(section=SECTION, num_samples=3, batch_size=2, steps=4):
    task = Task(find_pipe("TINY_SD15"), find_sched("DDIM"), steps)
    return TaskRequest(task, Search.model_validate(section), num_samples, batch_size)


def measure(path, say=lambda _line: None, **changes):
    return run(request(**changes), ResultsFile.open(path), "cpu", say)


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def value(line, name):
    """Return the metric of that name on a line of a results file, or None."""
    return next((entry["value"] for entry in line["metrics"] if entry["name"] == name), None)


def labels(path):
    return [row["label"] for row in read(path) if "label" in row]


class TooLarge:
    """An accelerator that needs more memory than there is."""

    def __init__(self, **_parameters):
        pass

    def prepare(self, pipe, clock):
        pass

    def install(self):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 TiB")

    def begin(self, seed):
        pass

    def step(self):
        pass

    def remove(self):
        pass


def replace_accelerator(monkeypatch, name, made):
    monkeypatch.setattr(specs()[name], "make", lambda values: made(**values))
