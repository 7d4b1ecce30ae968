"""Images that overflow, batches that something disturbed, settings that change no image."""

import pytest
import torch

from tests.helpers.tiny_task import (
    NO_CONTROLS,
    SECTION,
    TooLarge,
    measure,
    read,
    replace_accelerator,
    value,
)
from worker.errors import ConfigurationError
from worker.measure import session
from worker.metrics.device import Meter, Reading
from worker.metrics.host import Disturbance, HostMeter, HostReading

FOREIGN = Reading(disturbance=Disturbance("another process used the GPU"))


class Overflowing(TooLarge):
    """An accelerator that overflows."""

    def prepare(self, pipe, clock):
        self.unet = pipe.unet

    def install(self):
        self.hook = self.unet.register_forward_hook(lambda _module, _in, out: (out[0] * torch.nan,))

    def remove(self):
        self.hook.remove()


def test_images_with_nan_are_no_result(tmp_path, monkeypatch):
    replace_accelerator(monkeypatch, "deepcache", Overflowing)
    path = tmp_path / "t.jsonl"
    summary = measure(path)
    status = {row["label"]: row["status"] for row in read(path)[:-1]}
    assert status["DeepCache 2/0"] == "images contain NaN or Inf"
    assert status["T-GATE 2"] == "measured"
    assert summary.non_finite == ["DeepCache 2/0"]
    assert summary.best is None or summary.best.label != "DeepCache 2/0"


@pytest.mark.parametrize(
    ("dtype", "scale", "remedy"),
    [
        ("float16", 1e6, "set search.dtype to float32"),
        # where there is no wider type, none is advised
        (
            "float32",
            1e38,
            "no type is wider, so look at the model's weights, and at prediction_type",
        ),
    ],
)
def test_a_baseline_that_overflows_is_a_mistake_of_the_section(tmp_path, dtype, scale, remedy):
    words = rf"contain NaN or Inf in torch\.{dtype}: {remedy}"
    with pytest.raises(ConfigurationError, match=words):
        measure(tmp_path / "t.jsonl", section={"dtype": dtype, "guidance_scale": scale})


class DisturbedOnce(Meter):
    """A meter that sees another process during the first stretch."""

    stretches = 0

    def stop(self):
        self.stretches += 1
        return FOREIGN if self.stretches == 3 else Reading()


class DisturbedAlways(Meter):
    """A meter that sees another process all the time."""

    def stop(self):
        return FOREIGN


def test_a_disturbance_that_stays_is_waited_for_once(tmp_path, monkeypatch):
    monkeypatch.setattr(session, "Meter", DisturbedAlways)
    small = {"configurations": [], "timing": {"repeats": 3, "warmup": 0}}
    small["controls"] = {"fewer_steps": [], "guidance_off": [], "null_arm": False}
    measure(tmp_path / "r.jsonl", section=small)
    (row,) = read(tmp_path / "r.jsonl")[:-1]
    assert value(row, "timed_batches") == value(row, "batches_disturbed") == 3
    assert value(row, "batches_retaken") == 2


def test_a_disturbed_batch_is_timed_again(tmp_path, monkeypatch):
    monkeypatch.setattr(session, "Meter", DisturbedOnce)
    small = {"configurations": [], "timing": {"repeats": 2, "warmup": 1}}
    small["controls"] = NO_CONTROLS
    measure(tmp_path / "r.jsonl", section=small)
    (row,) = read(tmp_path / "r.jsonl")[:-1]
    assert value(row, "batches_retaken") == 1
    assert value(row, "timed_batches") == 2
    assert value(row, "batches_disturbed") is None


@pytest.mark.parametrize(
    "settings",
    [{"attention": "plain"}, {"channels_last": True}, {"fused_qkv": True}, {"vae_slicing": True}],
)
def test_settings_change_no_image_and_suit_every_accelerator(tmp_path, settings):
    """What is no trade-off gives the same images, but for rounding."""
    section = SECTION | {"controls": NO_CONTROLS}
    section |= {"timing": {"repeats": 1, "warmup": 0, "block": 3}}
    measure(tmp_path / "plain.jsonl", section=section, num_samples=2)
    measure(tmp_path / "set.jsonl", section=section | {"settings": settings}, num_samples=2)
    for before, after in zip(
        read(tmp_path / "plain.jsonl"), read(tmp_path / "set.jsonl"), strict=True
    ):
        if "summary" not in before:
            assert before["label"] == after["label"]
            assert before["settings"]["digest"] != after["settings"]["digest"]
            scores = [value(row, "clip_score") for row in (before, after)]
            assert scores[0] == pytest.approx(scores[1], abs=0.05)


def test_a_batch_that_waited_for_a_core_is_timed_again(tmp_path, monkeypatch):
    waited = HostReading(wait_share=0.1, disturbance=Disturbance("waited for a core", "0.1 s"))
    calls = iter([*[HostReading(wait_share=0.0)] * 3, waited])
    monkeypatch.setattr(HostMeter, "stop", lambda *_: next(calls, HostReading(wait_share=0.0)))
    small = {"configurations": [], "timing": {"repeats": 2, "warmup": 1}, "controls": NO_CONTROLS}
    measure(tmp_path / "r.jsonl", section=small)
    (row,) = read(tmp_path / "r.jsonl")[:-1]
    assert row["disturbed"] == {"waited for a core": {"retaken": 1, "kept": 0}}
    assert value(row, "batches_retaken") == 1
    assert value(row, "timed_batches") == 2
