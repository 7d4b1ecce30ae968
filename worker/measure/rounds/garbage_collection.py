"""Python's garbage collector, kept out of what is timed."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Let the collector run only where it is called by name: ``gc.collect()``.

    What is here already (torch, the pipeline) is not looked at again before the end, so that such a
    call takes no longer than what was made since. Where the collector is off already nothing
    changes, so contexts may be nested.
    """
    if not gc.isenabled():
        yield
        return
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
