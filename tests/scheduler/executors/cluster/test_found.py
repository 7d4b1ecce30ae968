"""What a sweep must be for a cluster, said before the cluster is asked anything."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers.sweep_runner import SweepRunner


@pytest.mark.parametrize(
    ("executor", "part"),
    [
        ({"kind": "slurm", "time": "5m", "gres": "shard:h100:1"}, "gres: shard:h100:1"),
        ({"kind": "ray", "address": "127.0.0.1:1", "gpus": 0.5}, "gpus: 0.5"),
    ],
)
def test_speed_is_not_measured_on_a_part_of_a_gpu(
    runner: SweepRunner, executor: dict[str, Any], part: str
) -> None:
    runner.write({"a": "ok", "b": "ok"}, executor=executor, worker={"timed": True})
    ended = runner.run()
    assert ended.code == 2
    assert f"executor.{part} is a part of a GPU, and a and 1 more measure speed" in ended.err
    runner.write({"a": "ok"}, executor=executor, devices={"per_task": 2})
    assert f"executor.{part} is a part of a GPU, and a has 2 whole devices" in runner.run().err
