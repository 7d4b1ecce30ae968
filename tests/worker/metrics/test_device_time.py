"""What a profile of one call says of the device: when it computes, and what the profile lacks."""

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from worker.errors import UnknownFigureError
from worker.metrics import device_time
from worker.metrics.device_time import Event, busy_seconds, device_seconds, what_is_lost

MS = 1_000_000


def kernel(start, end, correlation=0, name="void gemm<128, 64>(float*)"):
    """Return a kernel; times in milliseconds."""
    return Event(name, on_device=True, start=start * MS, end=end * MS, correlation=correlation)


def launch(correlation, name="cudaLaunchKernel"):
    return Event(name, on_device=False, start=0, end=MS, correlation=correlation)


@pytest.mark.parametrize(
    ("events", "milliseconds"),
    [
        ([], 0),
        ([kernel(0, 10), kernel(20, 25)], 15),
        # two streams at once, one within the other, one right behind the other; in no order
        ([kernel(5, 15), kernel(0, 10), kernel(6, 9), kernel(15, 16)], 16),
        ([kernel(0, 10), kernel(0, 10)], 10),
        # work within the device counts, and copies from the host do not
        ([kernel(0, 1, name="Memcpy DtoD (Device -> Device)")], 1),
        ([kernel(0, 1, name="Memset (Device)")], 1),
        ([kernel(0, 9, name="Memcpy HtoD (Pageable -> Device)"), kernel(9, 10)], 1),
        ([kernel(0, 9, name="Memcpy DtoH (Device -> Pinned)"), kernel(9, 10)], 1),
        ([kernel(0, 9, name="Context Sync"), kernel(9, 10)], 1),
        ([launch(1), kernel(9, 10)], 1),
    ],
)
def test_a_moment_counts_once_if_anything_computes(events, milliseconds):
    assert busy_seconds(events) == pytest.approx(milliseconds / 1000)


WHOLE = [kernel(10 * n, 10 * n + 9, correlation=n) for n in range(100)]


@pytest.mark.parametrize(
    ("events", "seconds", "lacks"),
    [
        (WHOLE, 1.0, None),
        (WHOLE + [launch(n) for n in range(100)], 1.05, None),
        # the host needs a moment before the first kernel
        (WHOLE, 1.09, None),
        ([], 1.0, "saw no kernel"),
        ([launch(1), kernel(0, 900, name="Memcpy HtoD (Pageable -> Device)")], 1.0, "saw no"),
        # the first are dated before the session
        (WHOLE[3:] + [launch(n) for n in range(100)], 1.0, "lost 3 of 100 kernels"),
        # a launch of a graph has many kernels, and a build may number launches by themselves
        ([*WHOLE, launch(500, "cudaGraphLaunch")], 1.0, None),
        (WHOLE + [launch(1000 + n) for n in range(100)], 1.0, None),
        # the buffers were full before the end, or the two clocks count in different units
        (WHOLE[:50], 1.0, "saw 0.50 s of kernels in a call of 1.00 s"),
        (WHOLE, 0.4, "saw 1.00 s of kernels in a call of 0.40 s"),
    ],
)
def test_a_profile_that_lacks_something_is_seen(events, seconds, lacks):
    lost = what_is_lost(events, seconds)
    assert lost is None if lacks is None else lost.startswith(lacks)


@pytest.fixture
def profiles(monkeypatch):
    """Return a function that sets the profiles which follow each other, and what they waited."""
    waited = []

    def set_profiles(*profiles):
        left = list(profiles)

        def profiled(call, seconds_before):
            waited.append(seconds_before)
            return left.pop(0), call()

        monkeypatch.setattr(device_time, "_profiled", profiled)
        return waited

    return set_profiles


def test_a_profile_that_lacks_something_is_taken_again_with_more_time_before(profiles):
    waited = profiles(WHOLE[50:], [], WHOLE)
    assert device_seconds(lambda: 1.0) == pytest.approx(0.9)
    assert waited == sorted(set(waited))
    assert len(waited) == 3


def test_a_profile_that_always_lacks_something_is_no_figure(profiles):
    profiles(*[WHOLE[50:]] * 5)
    with pytest.raises(UnknownFigureError, match=r"torch's profiler saw 0\.50 s of kernels"):
        device_seconds(lambda: 1.0)


def test_events_are_read_as_torch_gives_them():
    profiler = profile(activities=[ProfilerActivity.CPU])
    with profiler, torch.profiler.record_function("a range"):
        torch.ones(8, 8) @ torch.ones(8, 8)
    events = [device_time._event(item) for item in profiler.profiler.kineto_results.events()]
    product = next(event for event in events if event.name == "aten::mm")
    whole = next(event for event in events if event.name == "a range")
    assert whole.start <= product.start < product.end <= whole.end
    assert not product.on_device
    assert product.correlation > 0


def test_a_cpu_has_no_device_time():
    assert "a CPU" in device_time.why_not("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_torch_without_a_gpu_cannot_profile_one():
    assert "cannot profile" in device_time.why_not("cuda:0")
