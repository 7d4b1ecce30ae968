"""Rounds that something disturbed are left out for a better figure, not for a nicer one."""

from pathlib import Path

import pytest


@pytest.fixture
def disturbed_rounds(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import disturbed_rounds

    return disturbed_rounds


@pytest.mark.parametrize(
    ("slower", "share"), [((1.6, 1.6), 0.3), ((1.6, 1.2), 0.3), ((1.2, 1.6), 0.8)]
)
def test_undisturbed_rounds_are_closer_to_the_truth(disturbed_rounds, slower, share):
    every, clean, left = disturbed_rounds.errors(0.2, 0.5, slower)
    assert left > 10
    assert clean < share * every
