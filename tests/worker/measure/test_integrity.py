"""An accelerator that is not undone is noticed."""

import pytest
import torch

from tests.helpers.tiny_task import (
    NO_CONTROLS,
    SECTION,
    TooLarge,
    measure,
    read,
    replace_accelerator,
)
from worker.errors import WorkerError


@torch.no_grad()
def change_a_weight(unet):
    unet.conv_in.weight.mul_(1.001)


def leave_a_hook(unet):
    unet.mid_block.register_forward_hook(lambda *_: None)


def change_a_setting(unet):
    unet.conv_norm_out.eps = 1e3


@pytest.mark.parametrize("warmup", [0, 1])
@pytest.mark.parametrize("leave", [change_a_weight, leave_a_hook, change_a_setting])
def test_an_accelerator_that_leaves_something_behind_is_noticed(
    tmp_path, monkeypatch, leave, warmup
):
    class Leaking(TooLarge):
        def prepare(self, pipe, clock):
            self.unet = pipe.unet

        def install(self):
            leave(self.unet)

    replace_accelerator(monkeypatch, "deepcache", Leaking)
    section = SECTION | {"configurations": [{"deepcache": {"cache_interval": 2}}]}
    section |= {"controls": NO_CONTROLS, "timing": {"repeats": 1, "warmup": warmup}}
    with pytest.raises(WorkerError, match="an accelerator was not undone"):
        measure(tmp_path / "r.jsonl", section=section, num_samples=2)
    assert read(tmp_path / "r.jsonl") == []
