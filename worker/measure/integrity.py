"""Is the pipeline still what it was before any accelerator came to it?

An accelerator that is not undone makes every later ratio meaningless, and nothing else would show
it: the images only get a little worse, the times a little better.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from worker.errors import WorkerError
from worker.models.loading import modules_of
from worker.types import Module, Pipeline, Tensor

# kernels may add up in another order from run to run: one step of an 8-bit pixel on average
_ROUNDING = 1 / 255


class IntegrityCheck:
    """Remembers a pipeline as it is at the first check and compares it with that at the others."""

    def __init__(self) -> None:
        self._state: Mapping[str, object] = {}
        self._images: Tensor = None

    def check(self, pipeline: Pipeline, images: Tensor) -> None:
        """Compare the pipeline's modules, its weights, and images that it just made.

        Args:
            pipeline: the pipeline without any accelerator in it.
            images: what it makes of the same prompts and latents each time, a tensor of shape
                [n, 3, height, width], values from 0 to 1.

        Raises:
            WorkerError: something was left behind; no ratio from here on would mean anything.
        """
        # a NaN stays where it is from check to check; where it comes or goes something has changed
        state, images = dict(_state(pipeline)), images.float().nan_to_num(nan=2.0).cpu()
        if self._images is None:
            self._state, self._images = state, images
            return
        names = state.keys() | self._state.keys()
        changed = sorted(name for name in names if state.get(name) != self._state.get(name))
        if changed:
            raise WorkerError(
                f"{changed[0]} is not what it was at the beginning of the task: an accelerator was "
                "not undone; please report this"
            )
        apart = (images - self._images).abs().mean().item()
        if apart > _ROUNDING:
            raise WorkerError(
                f"the baseline's images changed within the task (by {apart:.3f} of the range of a "
                "pixel on average): an accelerator was not undone; please report this"
            )


def _state(pipeline: Pipeline) -> Iterator[tuple[str, object]]:
    """Yield what an accelerator could leave behind, by name: modules' attributes and all weights.

    Of an attribute the type is enough (a ``forward`` of its own, another attention processor), and
    of a dictionary (hooks) its length; of a weight, type and sum.
    """
    import torch

    tensors: dict[str, Tensor] = {}
    for name, part in modules_of(pipeline).items():
        for path, module in part.named_modules(prefix=name):
            yield path, (type(module), _attributes(module))
        tensors |= part.named_parameters(prefix=name)
        tensors |= part.named_buffers(prefix=name)
    with torch.inference_mode():
        # summed where they are, and brought over together: one wait for the device, not thousands
        sums = torch.stack([tensor.sum(dtype=torch.float64) for tensor in tensors.values()])
    for (name, tensor), total in zip(tensors.items(), sums.tolist(), strict=True):
        # as text, in which NaN equals itself
        yield f"{name} (values)", (tensor.dtype, tuple(tensor.shape), repr(total))


def _attributes(module: Module) -> dict[str, object]:
    return {
        name: (type(value), len(value) if isinstance(value, dict) else None)
        for name, value in vars(module).items()
    }
