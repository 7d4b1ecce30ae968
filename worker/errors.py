"""The ways a task can end other than well, each with its exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class WorkerError(Exception):
    """An error whose message is a sentence for the user: what, where, what to do."""

    exit_code = 1


class ConfigurationError(WorkerError):
    """The task cannot work as it is described, however often it is tried."""

    exit_code = 2


class TryAgainLaterError(WorkerError):
    """Something outside the task failed (a model hub, the network) and may work later."""

    exit_code = 75


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

    return isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)) or (
        "DefaultCPUAllocator: can't allocate memory" in str(error)
    )
