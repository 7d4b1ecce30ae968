"""Python's garbage collector, kept out of what is timed."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Let the collector run only where ``gc.collect()`` is called.

    Objects that exist already (torch's, the pipeline's) are frozen until the end, so that such a
    call only looks at those made since. Contexts may be nested: where the collector is off already
    nothing changes.
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
