"""Weights on their way from host memory to a GPU."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from worker.types import Module, Opaque, Tensor

# A copy from pageable memory goes through the driver's own buffer, by one thread: 5 to 7 GB/s. Through two
# pinned buffers that several threads fill it is 20 to 26 GB/s; larger ones take longer to be had.
_BUFFER = 32 * 2**20
_FEWEST_THREADS = 4


def to_device(modules: Iterable[Module], device: str) -> None:
    """Move modules to a device, in place.

    Args:
        modules: on the CPU, or there already.
        device: a torch device.

    Raises:
        torch.OutOfMemoryError: the device is too small.
    """
    import torch

    modules = list(modules)
    target = torch.device(device)
    if target.type == "cuda" and torch.get_num_threads() >= _FEWEST_THREADS:
        copy_staged(modules, target, _BUFFER)
    for module in modules:  # whatever is left
        module.to(target)


def copy_staged(modules: Iterable[Module], device: Opaque, size: int) -> None:
    """Copy weights through two buffers: while one is filled, the other is on its way.

    Args:
        modules: their parameters and buffers get new data; what they share is shared afterwards.
        device: a ``torch.device``.
        size: bytes of a buffer.
    """
    import torch

    pinned = device.type != "cpu"
    make_event = torch.get_device_module(device).Event
    stages = itertools.cycle(
        [(torch.empty(size, dtype=torch.uint8, pin_memory=pinned), make_event()) for _ in range(2)]
    )
    buffer, on_its_way = next(stages)
    used = 0
    with torch.no_grad():
        for tensor in _on_the_cpu(modules):
            copy = torch.empty_like(tensor, device=device)
            source, goal = tensor.view(-1).view(torch.uint8), copy.view(-1).view(torch.uint8)
            done = 0
            while done < len(source):
                if used == size:
                    on_its_way.record()
                    buffer, on_its_way = next(stages)
                    on_its_way.synchronize()
                    used = 0
                count = min(size - used, len(source) - done)
                part = buffer[used : used + count]
                part.copy_(source[done : done + count])
                goal[done : done + count].copy_(part, non_blocking=True)
                used, done = used + count, done + count
            tensor.data = copy
    torch.get_device_module(device).synchronize()


def _on_the_cpu(modules: Iterable[Module]) -> Iterator[Tensor]:
    """Yield each tensor in host memory once, but those whose bytes do not lie in one piece."""
    seen = set()
    for module in modules:
        for tensor in itertools.chain(module.parameters(), module.buffers()):
            if id(tensor) in seen or tensor.device.type != "cpu" or not tensor.is_contiguous():
                continue
            seen.add(id(tensor))
            yield tensor


def make_resident(modules: Iterable[Module]) -> None:
    """Copy weights into memory of this process: those of a file are read when they are first used."""
    import torch

    with torch.no_grad():
        for tensor in _on_the_cpu(modules):
            tensor.data = tensor.clone()
