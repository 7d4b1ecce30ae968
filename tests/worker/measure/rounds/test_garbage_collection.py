"""Collections happen between calls, and the collector is afterwards as it was."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from worker.measure.rounds.garbage_collection import no_garbage_collection


class Node:
    """Something that can hold itself."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def collector_on() -> Iterator[None]:
    assert gc.isenabled()
    yield
    gc.enable()


def test_cycles_stay_until_they_are_collected_by_name() -> None:
    with no_garbage_collection():
        assert not gc.isenabled()
        node = Node()
        there = weakref.ref(node)
        del node
        junk = [[] for _ in range(100_000)]  # as many as would start the youngest generation often
        assert there() is not None
        gc.collect()
        assert there() is None
        assert len(junk) == 100_000
    assert gc.isenabled()


def test_after_it_all_is_looked_at_again() -> None:
    node = Node()
    there = weakref.ref(node)
    with no_garbage_collection():
        del node
        gc.collect()
        assert there() is not None, "it was here before, and is not looked at"
    gc.collect()
    assert there() is None
    assert gc.isenabled()


def test_an_error_leaves_the_collector_on() -> None:
    with pytest.raises(KeyboardInterrupt), no_garbage_collection():
        raise KeyboardInterrupt
    assert gc.isenabled()


def test_contexts_may_be_nested() -> None:
    with no_garbage_collection():
        with no_garbage_collection():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    with no_garbage_collection():
        pass
    assert not gc.isenabled()
