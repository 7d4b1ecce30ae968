"""What all tests need."""

from __future__ import annotations

import signal

import pytest
from hypothesis import HealthCheck, settings

# A loaded machine takes its time for an example, and the same examples are tried on every machine.
settings.register_profile(
    "steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Let processes under test be interrupted, also where the tests were started with ``&`` or nohup."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
