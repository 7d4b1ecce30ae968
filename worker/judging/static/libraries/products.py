"""Configurations and callbacks: values that a library's class makes of plain arguments."""

from __future__ import annotations

from worker.judging.facts.signatures import signature
from worker.judging.reasons.codes import Why
from worker.judging.static.arguments import Arguments, without_defaults
from worker.judging.static.interpreter.interpreter import Raised
from worker.judging.static.objects import Made, Slots


def make(name: str, given: Arguments) -> Made | None:
    """Return what a class makes of these arguments; None for a class that is not known.

    Raises:
        Raised: the class takes no such argument.
    """
    known = signature("values", name)
    if known is None or len(given.positional) > len(known.order):
        return None
    arguments: Slots = given.named(known.order, {})
    unexpected = set(arguments) - set(known.order)
    if unexpected and not known.takes_more:
        raise Raised("TypeError", Why.TAKES_NO(function=name, name=min(unexpected)))
    slots = {Made.cls: name, **without_defaults(arguments, known.defaults)}
    if given.open is not None:
        slots[Made.open] = given.open
    return Made(slots)
