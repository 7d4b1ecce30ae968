"""What nodes have: GPUs of which models, parts of GPUs."""

from __future__ import annotations

import pytest

from tests.helpers.fake_nvml import FakeNvml
from tests.helpers.slurm import SlurmLab
from tests.helpers.sweep_runner import SweepRunner

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
