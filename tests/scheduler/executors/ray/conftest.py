"""A cluster for tests: a real Ray, shared by all tests of a process, in a network of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.helpers.ray_lab import RayLab, the_ray, why_no_ray
from tests.helpers.sweep_runner import SweepRunner


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[RayLab]:
    """The cluster, with nothing in use; the test and what it starts are in its network."""
    if not request.config.getoption("--long"):
        pytest.skip("takes long; run by pytest --long tests/scheduler/executors/ray")
    if (why := why_no_ray()) is not None:
        pytest.skip(why)
    lab = the_ray()
    # an attempt that nobody takes over holds what it has
    assert lab.ask("clear") == {}
    leave = lab.enter()
    yield lab
    leave()


class RaySweep:
    """A runner whose sweeps run on the cluster, unless they say otherwise."""

    def __init__(self, runner: SweepRunner, lab: RayLab) -> None:
        self.runner = runner
        self.lab = lab
        self.scratch = runner.folder / "on the nodes"
        self.scratch.mkdir()
        self.executor = {
            "kind": "ray",
            "address": lab.address,
            "lease": "5s",
            "scratch": str(self.scratch),
        }

    def write(self, script: dict[str, Any], **settings: Any) -> None:
        self.write_with({"idle_for": "0s"}, script, **settings)

    def write_with(self, devices: dict[str, Any], script: dict[str, Any], **settings: Any) -> None:
        """Write a sweep, with keys of its section devices."""
        self.runner.write(script, executor={**self.executor, **settings}, devices=devices)


@pytest.fixture
def on_ray(runner: SweepRunner, lab: RayLab) -> RaySweep:
    return RaySweep(runner, lab)
