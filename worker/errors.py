"""The ways a task can end other than well, each with its exit code."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

# what torch, CUDA's libraries and a compiler that wraps their errors say when memory runs out
_OUT_OF_MEMORY = re.compile(
    r"CUDA out of memory|\bCUDA\]?(?: driver)?(?: error)?(?: \d+)?: out of memory"
    r"|CUDA_ERROR_OUT_OF_MEMORY|cudaErrorMemoryAllocation|\bcuda\w+ failed: out of memory"
    r"|CU[A-Z]+_(?:STATUS_)?ALLOC(?:ATION)?_FAILED"
    r"|DefaultCPUAllocator: (?:can't allocate|not enough) memory"
)
# what they say of any trouble, and also when they cannot allocate what they need for themselves
_PERHAPS_OUT_OF_MEMORY = re.compile(
    r"CU[A-Z]+_(?:STATUS_)?(?:INTERNAL_ERROR|NOT_INITIALIZED|EXECUTION_FAILED"
    r"|INSUFFICIENT_RESOURCES|INITIALIZATION_FAILED|SETUP_FAILED)"
    r"|[Uu]nable to find an engine"
)
# on an H100 these came with 2 to 30 MiB free, and none at all with 200 free before the call
_NEARLY_FULL = 256 * 2**20


class WorkerError(Exception):
    """An error whose message is a sentence for the user: what, where, what to do."""

    exit_code = 1


class ConfigurationError(WorkerError):
    """The task cannot work as it is described, however often it is tried."""

    exit_code = 2


class PipelineFailsError(ConfigurationError):
    """A pipeline makes no image that is worth anything, however often it is tried.

    Attributes:
        reason: why, without advice, which depends on where the pipeline comes from.
    """

    def __init__(self, sentence: str, reason: str) -> None:
        super().__init__(sentence)
        self.reason = reason


class TryAgainLaterError(WorkerError):
    """Something outside the task failed (a model hub, the network) and may work later."""

    exit_code = 75


class UnknownFigureError(Exception):
    """A figure of a measurement cannot be had, and the measurement goes on without it.

    The message is the reason, as it stands in a row under ``absent``.
    """


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
    lines = [line.strip() for line in str(error).strip().split("\n") if line.strip()] or [""]
    # a heading is no reason
    line = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    line = line.removesuffix(".")
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
    """Say whether an error means that the device's memory did not suffice.

    Some of CUDA's libraries call that an internal error. Only the memory that is free now tells it
    from a fault: ask before anything is given back.
    """
    import torch

    if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)):
        return True
    text = str(error)
    if _OUT_OF_MEMORY.search(text):
        return True
    return bool(_PERHAPS_OUT_OF_MEMORY.search(text)) and _is_nearly_full()


def _is_nearly_full() -> bool:
    """Say whether the device in use has hardly any memory free, whoever holds it."""
    import torch

    try:
        free, _ = torch.cuda.mem_get_info()
    except (RuntimeError, AssertionError) as error:
        # even to ask takes a context, which a full device has no room for; or there is no GPU
        return bool(_OUT_OF_MEMORY.search(str(error)))
    return bool(free < _NEARLY_FULL)
