"""What is demanded of a program, and what is said of a file that demands nothing sensible."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.config.target import Target, read_target
from worker.errors import ConfigurationError


@pytest.mark.parametrize(
    ("content", "target"),
    [
        ("target_speedup: 1.8\nmax_loss: 0.05\n", Target(1.8, 0.05)),
        ("latency: 1.5s\n", Target(latency=1.5)),
        ("latency: 800ms\n", Target(latency=0.8)),
        ("latency: 2\n", Target(latency=2.0)),
    ],
)
def test_targets(content: str, target: Target) -> None:
    assert read_target(content.encode(), "target.yaml") == target


@pytest.mark.parametrize(
    "content",
    ["", "- 1\n", "speed: 2\n", "max_loss: 5\n", "latency: soon\n", "latency: 0\n",
     "target_speedup: true\n", "target_speedup: -1\n", "target_speedup: .inf\n", "a: [\n"],
)  # fmt: skip
def test_mistakes_in_a_target(content: str) -> None:
    with pytest.raises(ConfigurationError, match=r"target\.yaml"):
        read_target(content.encode(), "target.yaml")


def test_every_example_target_is_valid() -> None:
    cases = Path(__file__).resolve().parents[3] / "cases"
    targets = list(cases.glob("*/target.yaml"))
    assert len(targets) >= 10
    for target in targets:
        assert read_target(target.read_bytes(), str(target)) != Target()
