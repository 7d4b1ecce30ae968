"""What nodes have: GPUs of which models, and what is installed there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers.fake_nvml import FakeNvml
from tests.helpers.slurm import SlurmLab
from tests.helpers.sweep_runner import REPOSITORY, SweepRunner

SLURM = {"kind": "slurm", "time": "5m", "lease": "10s"}


@pytest.fixture
def sweep(runner: SweepRunner, lab: SlurmLab) -> SweepRunner:
    """A runner whose sweeps run on the cluster."""
    runner.environment |= lab.environment
    return runner


def test_a_sweep_over_gpus_of_several_models_is_told_so(
    sweep: SweepRunner, fake_nvml: FakeNvml
) -> None:
    """By what the nodes' driver calls them: Slurm calls all of them gpu."""
    sweep.environment |= fake_nvml.environment({})
    sweep.write({"a": "ok", "b": "ok"}, executor=SLURM, devices={"idle_for": "0s"})
    fake_nvml.gpus(4, name="GPU X")
    assert "models" not in sweep.run(sweep.file, "--only", "a").out
    fake_nvml.gpus(4, name="GPU Y")
    ended = sweep.run()
    said = "tasks ran on devices of 2 models: GPU X (1), GPU Y (1); their times do not compare"
    assert said in ended.out
    assert said in sweep.run("status", sweep.file).out


@pytest.fixture
def hide(lab: SlurmLab) -> Iterator[Callable[[Path], None]]:
    """Hides a folder from the first node, which Slurm prefers."""

    def begin(folder: Path) -> None:
        lab.nodes[0].end()
        lab.nodes[0].start_without(folder)
        lab.mend()

    yield begin
    lab.nodes[0].end()
    lab.mend()


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("project", "node n1 is not used: the folder of this project is not there"),
        ("diffusers", r"node n1 is not used: diffusers .*, not 99\.0 there; install"),
    ],
)
def test_a_node_that_lacks_something_is_told_of_and_left_alone(
    sweep: SweepRunner, hide: Callable[[Path], None], tmp_path: Path, what: str, says: str
) -> None:
    newer = tmp_path / "newer" / "diffusers-99.0.dist-info"
    newer.mkdir(parents=True)
    (newer / "METADATA").write_text("Metadata-Version: 2.1\nName: diffusers\nVersion: 99.0\n")
    sweep.environment["PYTHONPATH"] += f":{newer.parent}"
    hide(REPOSITORY / "scheduler" if what == "project" else newer.parent)
    tasks = [f"t{number}" for number in range(6)]
    sweep.write(dict.fromkeys(tasks, "ok"), executor=SLURM, devices={"idle_for": "0s"})
    running = sweep.start()
    running.wait_for(says)
    assert running.end().code == 0
    for task in tasks:
        [attempt] = sweep.done(task)["attempts"]
        assert attempt["place"]["node"] == "n2"
    assert not list(sweep.paths.jobs.iterdir())
