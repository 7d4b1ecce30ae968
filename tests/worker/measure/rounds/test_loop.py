"""Rounds of a tiny pipeline: their orders, as the rows keep them, and what is kept out of the calls."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest

from tests.helpers.tiny_task import NO_CONTROLS, TooLarge, measure, read, replace_accelerator, value
from worker.measure import session
from worker.measure.context import EvaluationContext
from worker.measure.rounds import loop
from worker.measure.rounds.call import Batch
from worker.measure.samples import Samples
from worker.metrics.device import Meter, Reading
from worker.metrics.host import HostReading
from worker.search.configuration import BASELINE

ONE = {"configurations": [{"deepcache": {"cache_interval": 2}}], "controls": NO_CONTROLS}
FOUR = {
    "configurations": [{"deepcache": {"cache_interval": 2}}],
    "controls": {"fewer_steps": [2], "guidance_off": [], "null_arm": True},
    "timing": {"repeats": 8, "warmup": 0},
}


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
        return Reading(spoiled="another process used the GPU" if self.stretches == 7 else None)


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


def test_a_batch_that_took_far_longer_is_timed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker was stopped by a signal, say, which no counter tells."""
    monkeypatch.setattr(loop, "_FAR_LONGER", 3.0)
    seconds = iter([1.0, 9.0, 1.2, 1.1, 2.9, 12.0, 1.3])
    quiet = HostReading(wait_share=0.0)
    monkeypatch.setattr(
        loop, "generate", lambda *_: Batch(None, next(seconds), Reading(), quiet, None)
    )
    samples = Samples(BASELINE)
    for _ in range(6):
        loop._timed(cast("EvaluationContext", None), samples, [0])
    # of the first ones nobody knows which is right
    assert samples.seconds == [1.0, 9.0, 1.2, 1.1, 2.9, 1.3]
    assert samples.retaken == ["took far longer than usual (10 times)"]
    assert samples.spoiled == [None] * 6
