"""What all tests need."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

# Tests run beside each other, one a core: torch, and what the tests start, must not take the others' cores.
# Set before anything imports torch, which reads it once.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A loaded machine takes its time for an example, and the same examples are tried on every machine.
settings.register_profile(
    "steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run also what takes minutes")
    parser.addoption(
        "--seeds", default="1", metavar="N[-M]", help="which faults tests at random go through (1)"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "fault_seed" in metafunc.fixturenames:
        first, _, last = metafunc.config.getoption("--seeds").partition("-")
        seeds = range(int(first), int(last or first) + 1)
        metafunc.parametrize("fault_seed", seeds, ids=lambda seed: f"seed {seed}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("long") is not None and not item.config.getoption("--long"):
        pytest.skip(f"takes long; run by pytest --long {item.location[0]}")


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Let processes under test be interrupted, also where the tests were started with ``&`` or nohup."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
