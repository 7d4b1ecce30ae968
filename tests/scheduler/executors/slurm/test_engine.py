"""What the engine makes of squeue's answers and attempts' files, without a Slurm."""

from __future__ import annotations

from pathlib import Path

from scheduler.config.cluster.settings import SlurmSettings
from scheduler.core.events import Queued
from scheduler.executors.base import ExecutorEvent
from scheduler.executors.cluster.files import JobFiles
from scheduler.executors.slurm import commands
from scheduler.executors.slurm.arrays import Batch
from scheduler.executors.slurm.commands import Listed
from scheduler.executors.slurm.engine import Engine
from scheduler.executors.slurm.jobs import Job
from scheduler.storage.paths import SweepPaths


def test_no_order_goes_for_an_element_that_took_another_and_has_ended(tmp_path: Path) -> None:
    """It may have begun and ended since its files were last looked at."""
    paths = SweepPaths(tmp_path, "sweep")
    paths.make_folders()
    told: list[ExecutorEvent] = []
    engine = Engine(SlurmSettings(60.0), paths, "sweep", [], told.append, lambda *_: None, commands)
    orders = [JobFiles.newest(paths.jobs, token) for token in ("a", "b")]
    for files in orders:
        files.write_order({})
        engine.submit(Job(files.token, None, files))
    engine.carry_out()
    engine.arrays.submitted("t", 7, Batch(2, 2))
    assert orders[0].claim()
    orders[0].write_sign({"array": "t", "element": 0})
    engine.take_listed(
        [
            Listed("t", 7, 8, [0], None, "COMPLETED", "None"),
            Listed("t", 7, 7, [1], 2, "PENDING", "Resources"),
        ]
    )
    assert orders[1].order.exists()
    assert told == [Queued("a"), Queued("b")]
