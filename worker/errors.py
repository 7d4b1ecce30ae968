"""The ways a task can end other than well, each with its exit code."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

# what torch, cuBLAS, cuDNN and a compiler that wraps their errors say when memory runs out
_OUT_OF_MEMORY = re.compile(
    r"CUDA out of memory|CUDA error: out of memory|CUDA_ERROR_OUT_OF_MEMORY"
    r"|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED"
    r"|DefaultCPUAllocator: (?:can't allocate|not enough) memory"
)


class WorkerError(Exception):
    """An error whose message is a sentence for the user: what, where, what to do."""

    exit_code = 1


class ConfigurationError(WorkerError):
    """The task cannot work as it is described, however often it is tried."""

    exit_code = 2


class TryAgainLaterError(WorkerError):
    """Something outside the task failed (a model hub, the network) and may work later."""

    exit_code = 75


class OutOfMemoryError(WorkerError):
    """The device's memory does not suffice for what nothing goes without.

    The sentence holds the library's own words and this class's name, by which a scheduler tells
    the kind of the failure.
    """

    def __init__(self, what: str, error: BaseException) -> None:
        reason = first_line(error)
        super().__init__(
            f"{what} does not fit into the device's memory; a smaller batch_size or image_size may "
            f"(OutOfMemoryError: {reason})"
        )


def first_line(error: BaseException) -> str:
    """Return what a library's error says, without the pages that some put behind it."""
    line = str(error).strip().split("\n")[0]
    # a missing key says its name and no more
    return (
        f"{type(error).__name__} {line}".strip()
        if isinstance(error, KeyError) or not line
        else line
    )


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``known`` as the end of a sentence, its entry nearest to ``word`` first.

    >>> nearest("DDMI", ["PNDM", "DDIM"])
    'did you mean DDIM? Known: DDIM, PNDM'
    """
    names = sorted(known)
    folded = {name.casefold(): name for name in names}
    close = difflib.get_close_matches(word.casefold(), folded, n=1, cutoff=0.5)
    guess = f"did you mean {folded[close[0]]}? " if close else ""
    return f"{guess}Known: {', '.join(names)}"


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that the device's memory did not suffice."""
    import torch

    return isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)) or bool(
        _OUT_OF_MEMORY.search(str(error))
    )
