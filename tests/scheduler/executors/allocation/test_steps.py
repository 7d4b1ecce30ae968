"""What a job has of its nodes, and what each step gets of it."""

from __future__ import annotations

import pytest

from scheduler.executors.allocation.steps import NodeShare, room_for_steps, step_environment

TWO = [NodeShare("n1", 8, 2), NodeShare("n2", 6, 3)]


@pytest.mark.parametrize(
    ("gpus", "without", "room", "cores"),
    [(1, 0, 5, 2), (2, 0, 2, 6), (3, 0, 1, 6), (4, 0, 0, 1), (0, 4, 8, 1)],
)
def test_gpus_and_cores_are_shared_out(gpus: int, without: int, room: int, cores: int) -> None:
    assert room_for_steps(TWO, gpus, without) == (room, cores)


def test_what_the_whole_job_asked_for_is_asked_for_by_no_step() -> None:
    of_job = {"SLURM_JOB_ID": "7", "SLURM_MEM_PER_NODE": "64000", "SLURM_NTASKS": "8", "HOME": "/h"}
    assert step_environment(of_job) == {"SLURM_JOB_ID": "7", "HOME": "/h"}
