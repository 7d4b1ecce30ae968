"""How many elements of arrays come, lack, or are too many, by what squeue says and what happened since."""

from __future__ import annotations

import pytest

from scheduler.executors.slurm.arrays import Arrays, Batch, Element
from scheduler.executors.slurm.commands import Limits, Listed

LIMITS = Limits(array_size=1001, jobs=10_000)
ANY = 1000


def listed(indices: str | None, state: str = "PENDING", throttle: int | None = None) -> Listed:
    """Return a line about the array ``t``, whose number is 7."""
    which = None if indices is None else [int(number) for number in indices.split()]
    return Listed("t", 7, 7, which, throttle, state, "Priority")


def ten(most: int | None = None, at_once: int = 10) -> Arrays:
    """Return what is known when an array of ten elements was just submitted."""
    arrays = Arrays(most)
    arrays.submitted("t", 7, Batch(10, at_once))
    return arrays


def test_each_order_that_waits_needs_an_element() -> None:
    arrays = Arrays(None)
    assert arrays.lacking(300, LIMITS, ANY) == Batch(300, 300)
    arrays.submitted("t", 7, Batch(300, 300))
    assert arrays.lacking(300, LIMITS, ANY) is None
    for number in range(20):
        arrays.took(Element("t", number))
    assert arrays.lacking(280, LIMITS, ANY) is None
    arrays.ended(Element("t", 0))
    assert arrays.lacking(300, LIMITS, ANY) == Batch(20, 300)


@pytest.mark.parametrize(
    ("limits", "largest", "batch"),
    [
        (Limits(50, 10_000), ANY, Batch(50, 3000)),
        (Limits(1001, 500), ANY, Batch(250, 3000)),
        (LIMITS, 16, Batch(16, 3000)),
        (Limits(0, 10_000), ANY, Batch(1, None)),
        (Limits(1001, 1), ANY, None),
    ],
)
def test_no_more_is_submitted_than_slurm_takes(
    limits: Limits, largest: int, batch: Batch | None
) -> None:
    assert Arrays(None).lacking(3000, limits, largest) == batch


def test_an_element_that_ended_without_an_order_is_told_of_once() -> None:
    arrays = ten()
    arrays.took(Element("t", 0))
    gone = listed("1", "CANCELLED")
    lines = [listed("0", "RUNNING"), gone, listed("2 3 4 5 6 7 8 9")]
    assert arrays.listed(lines, {Element("t", 0)}) == [gone]
    assert arrays.coming == 8
    assert arrays.listed(lines, {Element("t", 0)}) == []


def test_elements_that_were_cancelled_in_the_queue_have_no_line_each() -> None:
    arrays = ten()
    gone = listed(None, "CANCELLED")
    assert arrays.listed([listed("0", "RUNNING"), gone], {Element("t", 0)}) == [gone] * 9
    assert arrays.coming == 0


def test_what_slurm_has_forgotten_is_lacking_and_nobodys_fault() -> None:
    arrays = ten()
    assert arrays.listed([], set()) == []
    assert arrays.lacking(10, LIMITS, ANY) == Batch(10, 10)


def test_an_element_whose_attempt_is_over_is_not_waited_for() -> None:
    """Slurm lists it as running for a moment, and in its queue once somebody has requeued it."""
    arrays = ten()
    arrays.took(Element("t", 0))
    arrays.ended(Element("t", 0))
    for state in ("COMPLETING", "PENDING"):
        arrays.listed([listed("0", state)], set())
        assert arrays.coming == 0


def test_elements_of_a_dispatcher_that_died_are_found() -> None:
    arrays = Arrays(None)
    arrays.listed([listed("0 1", "RUNNING"), listed("2 3 4")], {Element("t", 0)})
    assert arrays.coming == 4
    assert arrays.name(Element("t", 0)) == "7_0"


def test_a_job_that_is_no_array_is_an_element() -> None:
    arrays = Arrays(None)
    arrays.listed([listed(None)], set())
    assert arrays.coming == 1
    assert arrays.name(Element("t", 0)) == "7"
    assert arrays.surplus(0) == ["7"]


def test_the_last_ones_in_the_queue_are_too_many() -> None:
    arrays = ten()
    arrays.listed([listed("0", "RUNNING"), listed("1 2 3 5 6 9")], set())
    assert arrays.surplus(7) == []
    assert arrays.surplus(4) == ["7_[5-6,9]"]
    assert arrays.surplus(0) == ["7_[1-3]"], "what runs finds that there is nothing to do"


def test_no_order_is_left_to_what_is_cancelled() -> None:
    arrays = ten()
    arrays.listed([listed("0 1 2 3 4 5 6 7 8 9")], set())
    arrays.surplus(1)
    assert arrays.coming == 1
    assert arrays.lacking(3, LIMITS, ANY) == Batch(2, 3)
    assert (
        arrays.listed([listed("0"), listed("1 2 3 4 5 6 7 8"), listed("9", "CANCELLED")], set())
        == []
    )
    assert arrays.coming == 1, "of those that Slurm still lists none is counted again"


def test_no_more_run_at_once_than_may() -> None:
    """Two arrays at a time share the number; what the first leaves becomes the second's."""
    arrays = ten(most=4, at_once=4)
    assert arrays.lacking(20, LIMITS, ANY) is None
    running = {Element("t", number) for number in (7, 8, 9)}
    first = listed("7 8 9", "RUNNING")
    arrays.listed([first], running)
    assert arrays.lacking(20, LIMITS, ANY) == Batch(20, 1)
    arrays.submitted("u", 8, Batch(20, 1))
    assert arrays.throttles() == []
    arrays.ended(Element("t", 7))
    assert arrays.throttles() == [(8, 2)]
    assert arrays.throttles() == []
