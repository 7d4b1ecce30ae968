"""Whether an attempt is over, by what Slurm says and by its signs of life."""

from __future__ import annotations

import pytest

from scheduler.executors.slurm.fate import SETTLE, Doubt, JobState, understood


@pytest.mark.parametrize(
    ("state", "means"),
    [
        ("PENDING", JobState.QUEUED),
        ("RUNNING", JobState.LIVES),
        ("COMPLETING", JobState.LIVES),
        ("SUSPENDED", JobState.LIVES),
        ("TIMEOUT", JobState.OVER),
        ("NODE_FAIL", JobState.UNCERTAIN),
        (None, JobState.UNCERTAIN),
    ],
)
def test_a_state_of_slurms(state: str | None, means: JobState) -> None:
    assert understood(state) is means


def test_a_job_that_is_over_is_believed_when_its_files_have_settled() -> None:
    doubt = Doubt(JobState.OVER, 10.0, b"sign")
    assert not doubt.is_lost(b"sign", 10.0 + SETTLE / 2, 60.0)
    assert doubt.is_lost(b"another sign", 10.0 + SETTLE, 60.0)


def test_what_nobody_sees_is_lost_only_when_its_lease_must_be_over() -> None:
    """The job may have written its last sign just before it was read, and lives on for one lease."""
    doubt = Doubt(JobState.UNCERTAIN, 0.0, b"1")
    assert not doubt.is_lost(b"1", 119.0, 60.0)
    assert not doubt.is_lost(b"2", 121.0, 60.0), "it lives"
    assert not doubt.is_lost(b"2", 240.0, 60.0)
    assert doubt.is_lost(b"2", 241.0, 60.0)
