"""When the host sets the pace, by the device's time beside wall time."""

import json

import pytest

from worker.results import device_time
from worker.results.device_time import (
    AWAITED,
    FIGURES,
    TURNED_OFF,
    DeviceTimes,
    added_to,
    is_awaited,
    is_host_bound,
)
from worker.results.row import MEASURED, OUT_OF_MEMORY, Figures, Row, metric, read_rows
from worker.results.summary import in_words, summarise


def row(seconds=(1.0,) * 8, speedup=(2.0, 1.96, 2.04), role="candidate", status=MEASURED):
    value, low, high = speedup
    return Row(
        role=role,
        label="DeepCache 3/0",
        configuration={"accelerators": {}},
        status=status,
        metrics=[metric("speedup", value, "×", "higher", low=low, high=high)],
        samples=Figures(seconds=list(seconds)),
        absent=dict.fromkeys(FIGURES, AWAITED) | {"fid": "search.fid names no weights"},
        settings={"digest": "0123"},
        environment={},
    )


def test_the_devices_time_is_the_median_of_the_profiled_calls():
    found = added_to(row(), [0.5, 0.7, 0.51], [1.0, 1.02, 1.5], None)
    assert found.value_of("device_seconds") == 0.51
    assert found.value_of("device_busy_share") == pytest.approx(0.51)
    assert found.value_of("speedup_device") == pytest.approx(2.0)
    assert found.samples.device_seconds == [0.5, 0.7, 0.51]
    assert found.samples.baseline_device_seconds == [1.0, 1.02, 1.5]
    assert found.absent == {"fid": "search.fid names no weights"}
    assert not is_awaited(found)
    assert read_rows([json.loads(json.dumps(found.as_json()))]) == ([found], 0)


def test_slow_calls_do_not_make_the_device_look_idle():
    disturbed = added_to(row(seconds=[1.0] * 4 + [1.8] * 4), [0.95] * 3, [1.9] * 3, None)
    assert disturbed.value_of("device_busy_share") == pytest.approx(0.95)


def test_the_baseline_has_no_speedup():
    found = added_to(row(role="baseline"), [0.5] * 3, [0.5] * 3, None)
    assert found.value_of("device_seconds") == 0.5
    assert found.metric("speedup_device") is None
    assert found.samples.baseline_device_seconds == []


def test_what_is_not_known_has_its_reason():
    found = added_to(row(), [], [1.0] * 3, "torch's profiler saw no kernel")
    assert {found.absent[name] for name in FIGURES} == {"torch's profiler saw no kernel"}
    assert not is_awaited(found)
    assert is_host_bound(found) is None
    assert "not known: torch's profiler saw no kernel" in device_time.in_words(found)


@pytest.mark.parametrize(
    ("device", "baseline", "speedup", "host_bound"),
    [
        # the device computes nearly all the time, and the two speed-ups agree
        (0.97, 1.94, (2.0, 1.96, 2.04), False),
        # it waits for half of the time: another host would be faster
        (0.5, 1.0, (2.0, 1.96, 2.04), True),
        (0.89, 1.78, (2.0, 1.96, 2.04), True),
        # it is busy, but was not under the baseline: the gain is partly the host's
        (0.97, 1.7, (2.0, 1.96, 2.04), True),
        (0.91, 2.0, (2.0, 1.96, 2.04), True),
        # a wide interval holds both; a narrow one may be missed by what device time is good for
        (0.91, 2.0, (2.0, 1.7, 2.3), False),
        (0.97, 1.95, (2.0, 1.999, 2.001), False),
        # of few pairs nothing is known of the wall time's speed-up
        (0.97, 1.2, (2.0, None, None), False),
    ],
)
def test_host_bound(device, baseline, speedup, host_bound):
    found = added_to(row(speedup=speedup), [device] * 3, [baseline] * 3, None)
    assert is_host_bound(found) is host_bound
    assert ("host-bound" in device_time.in_words(found)) is host_bound


def test_only_what_was_measured_awaits_its_device_time():
    assert is_awaited(row())
    turned_off = dict.fromkeys(FIGURES, TURNED_OFF)
    assert is_awaited(row().model_copy(update={"absent": turned_off})), "it may be on today"
    assert not is_awaited(row(status=OUT_OF_MEMORY))
    assert not is_awaited(row().model_copy(update={"absent": {}})), "a row of an older version"


def labelled(label, *times, **changes):
    return added_to(row(**changes), *times, None).model_copy(update={"label": label})


BASELINE = labelled("baseline", [0.5] * 3, [0.5] * 3, role="baseline")
FAST = labelled("fast", [0.3] * 3, [0.75] * 3)
BUSY = labelled("busy", [0.97] * 3, [1.94] * 3)


def test_a_summary_names_what_is_host_bound():
    plain = summarise([BASELINE, FAST, BUSY], 0.05).as_json()
    assert plain["host_bound"] == ["baseline", "fast"]
    assert plain["speedup_device"] == {"fast": pytest.approx(2.5), "busy": pytest.approx(2.0)}
    assert "host-bound: baseline, fast" in plain["conclusion"]
    assert "host-bound: baseline, fast" in in_words(summarise([BASELINE, FAST, BUSY], 0.05))


def test_of_the_best_the_conclusion_tells_the_devices_speedup():
    assert DeviceTimes.of([BASELINE, FAST]).in_words("fast") == (
        "host-bound: by the device's time 2.50×"
    )
    assert DeviceTimes.of([BASELINE, FAST]).in_words("baseline") == "host-bound: baseline, fast"
    many = DeviceTimes.of([BASELINE, *[FAST] * 5])
    assert many.in_words(None) == "host-bound: baseline, fast, fast and 3 more"


def test_a_summary_without_device_time_says_nothing_of_it():
    assert DeviceTimes.of([row()]) is None
    assert "host_bound" not in summarise([row()], 0.05).as_json()
    busy = labelled("baseline", [0.97] * 3, [0.97] * 3, role="baseline")
    assert "host-bound" not in summarise([busy, BUSY], 0.05).conclusion()
