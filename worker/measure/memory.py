"""How much of the device's memory one call of a pipeline takes, and what has to fit into it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

from worker.errors import OutOfMemoryError, is_out_of_memory
from worker.models.loading import modules_of
from worker.types import Pipeline


class Memory:
    """What a call takes of a GPU's memory: the pipeline's weights and what it allocates.

    The scorer, and all else that lies on the device beside the pipeline, is not counted. Make it
    once for a pipeline: to ask one for its device and its weights takes longer than a small step.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._device = pipeline.device
        self._on_gpu = self._device.type == "cuda"
        self._weights = _weights(pipeline)
        self._beside = 0

    def start(self) -> None:
        """Wait for the device and begin to watch."""
        import torch

        self.wait()
        if self._on_gpu:
            torch.cuda.reset_peak_memory_stats(self._device)
            self._beside = torch.cuda.memory_allocated(self._device) - self._weights

    def wait(self) -> None:
        """Wait until the device has finished; a CPU has when a call returns."""
        import torch

        if self._on_gpu:
            torch.cuda.synchronize(self._device)

    def peak(self) -> int | None:
        """Return the most bytes that were taken at a time; None on a CPU."""
        import torch

        if not self._on_gpu:
            return None
        return int(torch.cuda.max_memory_allocated(self._device)) - self._beside


@contextmanager
def must_fit(what: str) -> Iterator[None]:
    """Do what nothing goes without.

    Args:
        what: its name, with which the error begins.

    Raises:
        OutOfMemoryError: it does not fit.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(what, error) from error


def _weights(pipeline: Pipeline) -> int:
    """Return the bytes of a pipeline's weights."""
    return sum(
        tensor.nbytes
        for module in modules_of(pipeline).values()
        for tensor in itertools.chain(module.parameters(), module.buffers())
    )
