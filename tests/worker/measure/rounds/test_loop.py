"""Rounds of a tiny pipeline: their orders, as the rows keep them, and what is kept out of the calls."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.helpers.tiny_task import NO_CONTROLS, TooLarge, measure, read, replace_accelerator, value
from worker.measure import session
from worker.metrics.device import Meter, Reading
from worker.metrics.host import Disturbance

ONE = {"configurations": [{"deepcache": {"cache_interval": 2}}], "controls": NO_CONTROLS}
FOUR = {
    "configurations": [{"deepcache": {"cache_interval": 2}}],
    "controls": {"fewer_steps": [2], "guidance_off": [], "null_arm": True},
    "timing": {"repeats": 8, "warmup": 0},
}

FOREIGN = Reading(disturbance=Disturbance("another process used the GPU"))


def test_a_row_keeps_the_order_of_every_call(tmp_path: Path) -> None:
    measure(tmp_path / "r.jsonl", section=FOUR)
    rows = read(tmp_path / "r.jsonl")[:-1]
    for row in rows:
        samples = row["samples"]
        assert samples["arms"] == [other["label"] for other in rows]
        assert len(samples["rounds"]) == len(samples["seconds"]) == 8
        followers = Counter(pair for calls in samples["rounds"] for pair in pairwise(calls))
        assert set(followers.values()) == {2}, "two designs of four"
    assert all(row["samples"]["rounds"] == rows[0]["samples"]["rounds"] for row in rows)
    measure(tmp_path / "again.jsonl", section=FOUR)
    again = read(tmp_path / "again.jsonl")[0]["samples"]
    assert again["rounds"] == rows[0]["samples"]["rounds"], "they follow from the settings"


class DisturbedOnce(Meter):
    """A meter that sees another process during the seventh stretch: the first of a third round."""

    stretches = 0

    def stop(self) -> Reading:
        self.stretches += 1
        return FOREIGN if self.stretches == 7 else Reading()


def test_a_call_that_was_timed_again_stands_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "Meter", DisturbedOnce)
    timing = {"timing": {"repeats": 4, "warmup": 0}}
    measure(tmp_path / "r.jsonl", section=ONE | timing)
    baseline, candidate, _ = read(tmp_path / "r.jsonl")
    found = candidate["samples"]["rounds"]
    assert sorted(map(len, found)) == [2, 2, 2, 3]
    (arm,) = [a for calls in found for a, b in pairwise(calls) if a == b]
    assert value((baseline, candidate)[arm], "batches_retaken") == 1


class Cycles(TooLarge):
    """An accelerator that leaves a cycle behind in each call, and watches the collector."""

    left: ClassVar[weakref.WeakSet[Any]] = weakref.WeakSet()
    most = 0
    calling = False
    collections = 0

    def install(self) -> None:
        pass

    def begin(self, seed: int) -> None:
        node = type("Node", (), {})()
        node.itself = node
        self.left.add(node)
        Cycles.most = max(Cycles.most, len(self.left))
        Cycles.calling = True

    def remove(self) -> None:
        Cycles.calling = False

    @staticmethod
    def watch(phase: str, _info: dict[str, int]) -> None:
        Cycles.collections += Cycles.calling and phase == "start"


def test_garbage_is_collected_between_calls_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_accelerator(monkeypatch, "deepcache", Cycles)
    before = gc.get_threshold()
    gc.callbacks.append(Cycles.watch)
    gc.set_threshold(100)
    try:
        measure(tmp_path / "r.jsonl", section=ONE | {"timing": {"repeats": 10, "warmup": 0}})
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(Cycles.watch)
    assert Cycles.collections == 0
    assert 1 <= Cycles.most <= 2, "of ten calls"
    assert gc.isenabled()
