"""The worker forked from a process that has loaded its libraries: as one that was started plainly."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.tiny_task import FLAGS, NO_CONTROLS, read

# what the loaded process does: import, tell of itself, fork a child for each task
_PARENT = """
import json, os, sys
from worker.commands import preloaded
import torch
from worker.metrics import clip
from worker.models import ahead, loading
resident = []
loaded = set(sys.modules)
print(json.dumps({
    "threads": len(os.listdir("/proc/self/task")),
    "cuda": torch.cuda.is_initialized(),
    "environment": preloaded.differing_from_import(os.environ),
}), flush=True)
for task in json.loads(sys.argv[1]):
    pid = os.fork()
    if pid == 0:
        log = os.open(task["log"], os.O_WRONLY | os.O_CREAT)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.clear()
        os.environ.update(task["environment"])
        code = 1
        try:
            if task["ahead"]:
                preloaded.prepare(task["argv"])
                resident = sorted(ahead._kept)
                # what is measured is not to be loaded again
                loading._from_pretrained = clip._create = None
            code = preloaded.main(task["argv"])
            import random
            print(json.dumps({
                "threads": torch.get_num_threads(),
                "resident": resident,
                "left": sorted(ahead._kept),
                "modules": sorted(set(sys.modules) - loaded),
                "random": [random.random(), torch.rand(1).item()],
            }), flush=True)
        finally:
            sys.stdout.flush()
            os._exit(code)
    os.waitpid(pid, 0)
print(len(os.listdir("/proc/self/task")), flush=True)
"""
SEARCH = {
    "configurations": [{"deepcache": {"cache_interval": 2}}],
    "controls": NO_CONTROLS,
    "timing": "off",
}


class Runs:
    """Where tasks run, each with a log and a results file of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        spec = folder / "spec.json"
        spec.write_text(json.dumps({"search": SEARCH}))
        self.environment = {**os.environ, "SWEEP_SPEC": str(spec), "PYTHONUNBUFFERED": "1"}

    def task(self, name: str, ahead: bool = False, **environment: str) -> dict[str, object]:
        return {
            "argv": ["search", *FLAGS, "--results", str(self.results(name))],
            "log": str(self.folder / f"{name}.log"),
            "environment": self.environment | environment,
            "ahead": ahead,
        }

    def fork(self, tasks: list[dict[str, object]]) -> tuple[dict[str, object], str]:
        """Run tasks in children of a loaded process; return what it said when it was loaded, and last."""
        without = {"MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"}
        inherited = {k: v for k, v in self.environment.items() if k not in without}
        inherited["OMP_NUM_THREADS"] = "1"
        command = [sys.executable, "-c", _PARENT, json.dumps(tasks)]
        done = subprocess.run(command, env=inherited, stdout=subprocess.PIPE, text=True, check=True)
        said = done.stdout.splitlines()
        return json.loads(said[0]), said[-1]

    def results(self, name: str) -> Path:
        return self.folder / f"{name}.jsonl"

    def log(self, name: str) -> list[str]:
        return (self.folder / f"{name}.log").read_text().splitlines()

    def told(self, name: str) -> dict[str, object]:
        return json.loads(self.log(name)[-1])

    def picture(self, name: str, file: str) -> bytes:
        return (self.folder / f"{name}.images" / Path(file).name).read_bytes()

    def found(self, name: str) -> list[object]:
        """Return all of a task's rows that no clock tells, and its pictures."""
        rows = [row for row in read(self.results(name)) if "label" in row]
        timeless = ("clip", "psnr", "ssim", "loss")
        return [
            (
                row["label"],
                row["settings"],
                row["environment"]["threads"],
                [entry for entry in row["metrics"] if entry["name"].startswith(timeless)],
                [self.picture(name, picture["file"]) for picture in row["pictures"]],
            )
            for row in rows
        ]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One plain run, and others in children of a loaded process."""
    runs = Runs(tmp_path_factory.mktemp("runs"))
    tasks = [
        runs.task("plain", OMP_NUM_THREADS="2", MKL_NUM_THREADS="2"),
        runs.task("forked", OMP_NUM_THREADS="2", MKL_NUM_THREADS="2"),
        runs.task("standby", ahead=True, OMP_NUM_THREADS="2", MKL_NUM_THREADS="2"),
        runs.task("elsewhere", HF_HOME="/nowhere", OMP_NUM_THREADS="1"),
    ]
    plain = tasks.pop(0)
    with open(plain["log"], "w") as log:
        command = [sys.executable, "-m", "worker", *plain["argv"]]
        subprocess.run(command, env=plain["environment"], stdout=log, stderr=log, check=True)
    runs.parent, runs.threads_at_the_end = runs.fork(tasks)
    return runs


def test_importing_starts_no_thread_and_uses_no_gpu(runs):
    assert runs.parent == {"threads": 1, "cuda": False, "environment": []}
    assert runs.threads_at_the_end == "1"


def test_nothing_heavy_is_left_to_import(runs):
    heavy = [
        name
        for name in runs.told("forked")["modules"]
        if name.split(".")[0] not in ("diffusers", "encodings", "torch")
        or name.startswith(("torch._inductor", "diffusers.pipelines", "diffusers.models"))
    ]
    assert heavy == []


def test_figures_and_pictures_are_those_of_a_plain_run(runs):
    assert runs.found("forked") == runs.found("plain")
    assert len(runs.found("plain")) == 2
    assert any(row[4] for row in runs.found("plain"))


def test_threads_are_those_of_the_attempt(runs):
    assert runs.told("forked")["threads"] == 2


def test_chance_is_not_shared(runs):
    first, second = runs.told("forked")["random"], runs.told("standby")["random"]
    assert first[0] != second[0]


def test_another_environment_means_a_plain_start(runs):
    assert runs.log("elsewhere")[0] == (
        "started anew: HF_HOME changed since the libraries were loaded"
    )
    assert runs.log("elsewhere")[-1] == "Successfully completed"


def test_what_was_loaded_ahead_is_used_and_gone(runs):
    assert runs.told("standby")["resident"] == ["pipeline", "scorer"]
    assert runs.told("standby")["left"] == []
    assert runs.log("standby")[-2] == "Successfully completed"
    assert runs.found("standby") == runs.found("plain")
