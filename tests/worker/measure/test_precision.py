"""A tiny pipeline measured until its speed-ups are known: what rows say, and which of them hold."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.helpers.tiny_task import (
    NO_CONTROLS,
    TooLarge,
    labels,
    measure,
    read,
    replace_accelerator,
)
from worker.measure.kept import count_kept
from worker.measure.rounds import call, ending
from worker.metrics.host import Disturbance, HostMeter, HostReading
from worker.results.row import Row
from worker.results.statistics import speedup

MATRIX = {"pipe": "TINY_SD15", "sched": "DDIM", "steps": 2}
NUMBERS = {"num_samples": 3, "batch_size": 2}


def section(**timing: Any) -> dict[str, Any]:
    return {
        "configurations": [{"deepcache": {"cache_interval": 2}}],
        "controls": NO_CONTROLS | {"null_arm": True},
        "timing": {"warmup": 0, "repeats": 6, **timing},
    }


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Return a machine whose calls take about a second; each differs by as much as ``spread``."""
    machine = SimpleNamespace(now=0.0, spread=0.05)
    noise = random.Random(7)

    def later() -> float:
        machine.now += 1 + noise.uniform(-machine.spread, machine.spread)
        return float(machine.now)

    monkeypatch.setattr(call, "time", SimpleNamespace(perf_counter=later))
    clock = SimpleNamespace(monotonic=lambda: machine.now)
    monkeypatch.setattr(ending, "time", clock)
    return machine


@pytest.fixture
def task(tmp_path: Path, machine: SimpleNamespace) -> Iterator[Callable[..., list[str]]]:
    """Return what measures the task with a timing section and returns the log's lines.

    Before each time it is asked what is kept, which has to be what the measuring then keeps.
    """
    path = tmp_path / "r.jsonl"

    def run(**timing: Any) -> list[str]:
        said: list[str] = []
        counted = count_kept(MATRIX, NUMBERS, section(**timing), path)
        measure(path, said.append, section=section(**timing), steps=2)
        assert counted is not None
        kept, wanted = counted
        assert f"task: {wanted} configurations, {kept} of them measured before" in said
        return said

    yield run
    assert machine.now


def rows_of(folder: Path) -> list[Row]:
    return [Row.model_validate(line) for line in read(folder / "r.jsonl") if "label" in line]


def test_until_every_interval_is_as_narrow_as_asked(
    tmp_path: Path, task: Callable[..., list[str]]
) -> None:
    said = task(precision="4%", at_most="100h")
    baseline, *others = rows_of(tmp_path)
    assert baseline.value_of("precision") is None
    assert baseline.settings["timing"] == {"warmup": 0, "repeats": 6}
    rounds = len(baseline.samples.rounds)
    assert rounds > 10
    for row in others:
        assert row.settings["stopping"] == {"precision": 0.04, "at_most": 360_000.0}
        assert 0 < (row.value_of("precision") or 0) <= 0.04
        assert row.value_of("timed_batches") == rounds
        figures = row.samples
        gain = speedup(
            [second or 0 for second in figures.baseline_seconds],
            [second or 0 for second in figures.seconds],
            stopped_when_narrow=True,
        )
        assert row.estimate_of("speedup") == gain
        assert gain.relative_half_width == row.value_of("precision")
        assert row.value_of("images_scored") == 3, "prompts that came round again are not scored"
    assert "  round 6 of at least 6" in said
    assert "progress: 0 of 3 configurations, 2 of 3 images" in said
    (last,) = [line for line in said if line.startswith(f"  round {rounds}: ±")]
    assert last.endswith("%, asked ±4%")
    assert not [line for line in said if "time is spent" in line]


def test_or_until_the_time_for_it_is_spent(
    tmp_path: Path, task: Callable[..., list[str]], machine: SimpleNamespace
) -> None:
    machine.spread = 0.5
    said = task(precision="1%", at_most="1m")
    rounds = [len(row.samples.rounds) for row in rows_of(tmp_path)]
    assert rounds == [rounds[0]] * 3
    assert 6 < rounds[0] < 13, "six seconds each"
    assert any("asked ±1%; the time for it is spent" in line for line in said)
    (words,) = [line for line in said if line.startswith("DeepCache 2/0: ") and "s/image" in line]
    assert "the speed-up is known to ±" in words
    assert words.endswith("%, asked ±1%: the time is spent")
    assert (rows_of(tmp_path)[1].value_of("precision") or 0) > 0.01


def test_what_had_its_time_is_not_measured_again_unless_more_is_asked(
    tmp_path: Path, task: Callable[..., list[str]], machine: SimpleNamespace
) -> None:
    machine.spread = 0.3
    task()
    whole = (tmp_path / "r.jsonl").read_bytes()
    assert "stopping" not in json.loads(whole.splitlines()[1])["settings"]
    task(precision="90%")
    assert len(rows_of(tmp_path)) == 3, "what is precise enough by chance holds"
    said = task(precision="1%", at_most="2s")
    assert "2 are measured again, since more precision is asked for" in said
    assert labels(tmp_path / "r.jsonl")[3:] == ["baseline, other seeds", "DeepCache 2/0"]
    for same_or_less in (
        {"precision": "1%", "at_most": "2s"},
        {"precision": "2%", "at_most": "1s"},
        {},
    ):
        task(**same_or_less)
        assert len(rows_of(tmp_path)) == 5
    task(precision="1%", at_most="3s")
    assert len(rows_of(tmp_path)) == 7
    assert (tmp_path / "r.jsonl").read_bytes().startswith(whole)


def test_a_precision_of_disturbed_rounds_is_none(
    tmp_path: Path, task: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = HostReading(
        wait_share=0.5, disturbance=Disturbance("waited for a core", "0.5 s, 50% of the call")
    )
    monkeypatch.setattr(HostMeter, "stop", lambda _self, _seconds: waited)
    said = task(precision="90%", at_most="1s")
    assert any("fewer than 10 undisturbed rounds, asked ±90%" in line for line in said)
    (row,) = [line for line in said if line.startswith("DeepCache 2/0: ") and "s/image" in line]
    assert "% beside load only, asked ±90%: the time is spent" in row
    for at_most, rows in (("1s", 3), ("2s", 5)):
        task(precision="90%", at_most=at_most)
        assert len(rows_of(tmp_path)) == rows, "more time may find the machine at rest"


class TooLargeLater(TooLarge):
    """An accelerator that runs out of memory in its ninth call."""

    calls = 0

    def install(self) -> None:
        pass

    def begin(self, seed: int) -> None:
        self.calls += 1
        if self.calls == 9:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 TiB")


def test_an_arm_that_fails_midway_ends_for_itself_alone(
    tmp_path: Path, task: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_accelerator(monkeypatch, "deepcache", TooLargeLater)
    task(precision="3%")
    baseline, null, failed = rows_of(tmp_path)
    assert failed.status == "out of memory"
    assert not failed.samples.seconds
    assert (null.value_of("precision") or 1) <= 0.03
    rounds = null.samples.rounds
    assert len(rounds) == len(baseline.samples.seconds) == len(null.samples.seconds) > 9
    assert [set(calls) for calls in rounds[:9]] == [{0, 1, 2}] * 9
    assert all(sorted(calls) == [0, 1] for calls in rounds[9:])


def test_an_interruption_costs_the_block_alone(
    tmp_path: Path, task: Callable[..., list[str]]
) -> None:
    path = tmp_path / "r.jsonl"
    asked = section(repeats=2, block=1)

    def interrupt(line: str) -> None:
        if line.startswith("  round 2") and len(labels(path)) == 2:
            raise KeyboardInterrupt

    path.touch()
    with pytest.raises(KeyboardInterrupt):
        measure(path, interrupt, section=asked, steps=2)
    before = path.read_bytes()
    assert labels(path) == ["baseline", "baseline, other seeds"]
    said = task(repeats=2, block=1)
    assert "task: 3 configurations, 2 of them measured before" in said
    assert path.read_bytes().startswith(before)
    assert labels(path) == ["baseline", "baseline, other seeds", "DeepCache 2/0"]
