"""Weights on their way to a device: staged through two buffers they arrive as they were."""

import torch

from worker.models.transfer import copy_staged, make_resident


def modules():
    """Return two modules that share a weight, of which one does not lie in one piece."""
    torch.manual_seed(0)
    first = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3), torch.nn.BatchNorm2d(5)).half()
    second = torch.nn.Linear(300, 7)
    second.extra = first[0].weight
    first[0].bias.data = torch.randn(5, 2).half().t()[0]
    return first, second


def test_staged_weights_are_the_same():
    before = [module.state_dict() for module in modules()]
    moved = modules()
    places = [tensor.data_ptr() for tensor in moved[1].parameters()]
    copy_staged(moved, torch.device("cpu"), 64)
    for module, state in zip(moved, before, strict=True):
        for name, tensor in module.state_dict().items():
            assert tensor.dtype == state[name].dtype
            assert torch.equal(tensor, state[name]), name
    assert moved[1].extra is moved[0][0].weight
    assert [tensor.data_ptr() for tensor in moved[1].parameters()] != places
    assert torch.isfinite(moved[1](torch.ones(1, 300)).sum().detach())


def test_weights_of_a_file_become_resident(tmp_path):
    file = tmp_path / "weights"
    file.write_bytes(bytes(4096))
    module = torch.nn.Linear(32, 32, bias=False)
    module.weight.data = torch.from_file(str(file), size=1024).view(32, 32)
    make_resident([module])
    file.write_bytes(b"\1" * 4096)
    assert not module.weight.any()
