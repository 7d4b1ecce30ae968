"""What an event costs the core does not grow with the devices and tasks: counted in lines, not in time."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CORE = str(Path("scheduler/core"))
SIZES = (8, 160)
TASKS_EACH = 5


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import core_events

    monkeypatch.setattr(core_events, "TASKS_EACH", TASKS_EACH)
    return core_events


def lines_of_an_event(sweep):
    """Return how many lines of the core an event runs, each pass through a loop counted."""
    lines = 0

    def in_core(_frame, event, _value):
        nonlocal lines
        lines += event == "line"
        return in_core

    def on_call(frame, _event, _value):
        return in_core if CORE in frame.f_code.co_filename else None

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        sweep.run()
    finally:
        sys.settrace(before)
    return lines / sweep.events


def test_an_event_costs_the_same_on_many_devices(benchmark):
    for scenario in benchmark.SCENARIOS:
        if scenario.on_one_machine or scenario.longest_first:
            continue
        few, many = (lines_of_an_event(benchmark.Sweep(scenario, size)) for size in SIZES)
        assert many < 1.3 * few, f"{scenario.name}: {few:.1f} lines an event, then {many:.1f}"
