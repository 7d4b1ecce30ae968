"""A small sweep of the worker that ships, and what it makes: the same wherever it runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from tests.helpers.sweep_runner import SweepRunner

PATIENCE = 240.0  # seconds: on a busy machine what the worker imports takes its time
TASKS = ["TINY_SD15_DDIM_3", "TINY_SD15_DDIM_4"]
PICTURES = 8  # two of the baseline and two of DeepCache in each task
SWEEP = {
    "name": "runner",
    "matrix": {"pipe": ["TINY_SD15"], "sched": ["DDIM"], "steps": [3, 4]},
    # Another number of threads sums in another order, and so to other last digits.
    "worker": {"args": {"num_samples": 2, "batch_size": 2}, "env": {"OMP_NUM_THREADS": 1}},
    "devices": {"cpu_slots": 2},
    "search": {
        "keep_images": 2,
        "configurations": [{"deepcache": {"cache_interval": 2}}],
        "controls": {"fewer_steps": [], "guidance_off": [], "null_arm": False},
        "timing": {"repeats": 1},
    },
}


@dataclass(frozen=True)
class Made:
    """What a sweep has made: its completed tasks, each with the digest of what it was to do, and pictures."""

    done: dict[str, str]
    pictures: dict[str, str]


def assert_same_as_here(runner: SweepRunner, executor: Mapping[str, Any]) -> None:
    """Run the sweep on this machine and then on a cluster; the same is completed, with the same pictures.

    Args:
        runner: its environment leads to the cluster.
        executor: the sweep's section of that name.
    """
    runner.environment["DIFFUSION_SWEEPS_CACHE"] = str(runner.folder / "models")
    runner.write_text(yaml.safe_dump({**SWEEP, "executor": dict(executor)}))
    here = _run(runner, "local")
    assert list(here.done) == TASKS
    assert len(here.pictures) == PICTURES
    runner.root.rename(runner.folder / "root of here")
    runner.root.mkdir()
    there = _run(runner, executor["kind"])
    for task in TASKS:
        assert runner.done(task)["attempts"][-1]["place"]["node"], "it ran on no node"
    assert there == here


def _run(runner: SweepRunner, executor: str) -> Made:
    running = runner.start(runner.file, "--executor", executor)
    running.wait_for(f"{len(TASKS)} of {len(TASKS)} completed", PATIENCE)
    assert running.end().code == 0
    folder = runner.paths.checkpoints
    done = sorted(path.stem for path in folder.glob("*.done"))
    pictures = sorted(folder.glob("*.images/*"))
    return Made(
        {task: runner.done(task)["digest"] for task in done},
        {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in pictures
        },
    )
