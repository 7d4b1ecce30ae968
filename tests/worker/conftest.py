"""Tiny pipelines of the real architectures, built once for all tests."""

import math
import os
from collections.abc import Callable, Iterator

import pytest

from worker.metrics.host import HostMeter, HostReading
from worker.models.catalogue import find_pipe, find_sched


@pytest.fixture(scope="session", autouse=True)
def model_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what is built out of the user's own cache, and share it among all processes of the run."""
    before = os.environ.get("DIFFUSION_SWEEPS_CACHE")
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    os.environ.setdefault("DIFFUSION_SWEEPS_CACHE", str(shared / "models"))
    yield
    if before is None:
        del os.environ["DIFFUSION_SWEEPS_CACHE"]


@pytest.fixture(autouse=True)
def quiet_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure as if alone: whatever else runs beside the tests would have batches timed again."""
    monkeypatch.setattr(HostMeter, "stop", lambda _self, _seconds: HostReading(wait_share=0.0))
    monkeypatch.setattr("worker.measure.rounds.retaking._FAR_LONGER", math.inf)


@pytest.fixture(scope="session")
def load() -> Callable:
    """Return a function that loads a tiny pipeline, once for each name."""
    import torch

    from worker.models.loading import load_pipeline, set_sched

    torch.set_num_threads(1)
    loaded = {}

    def load_tiny(name: str, sched: str = "DDIM"):
        pipe = find_pipe(name)
        if name not in loaded:
            loaded[name] = load_pipeline(
                pipe,
                find_sched(sched),
                source=pipe.source,
                weights="pretrained",
                device="cpu",
                dtype=torch.float32,
            )
        set_sched(loaded[name], find_sched(sched))
        return loaded[name]

    return load_tiny
