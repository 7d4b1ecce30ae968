"""What a name may stand for while a file is read without being run: plain values.

Constants stand for themselves (``None``, ``bool``, numbers, ``str``, ``bytes``, and tuples of
values), names of libraries for what they are. Everything that can change is an ``AbstractObject``
(objects.py). What the file's text does not tell is ``Unknown``, and stays so through every operation.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TypeAlias

from worker.judging.facts.packages import IMPORTED_PACKAGES
from worker.judging.reasons.codes import Reason

Value: TypeAlias = object
MAX_LENGTH = 100_000  # of a text, or of all that is in a tuple
MAX_KEY = 1_000  # of what is compared by its text
SLOT = 1 / 8  # what reading or writing one slot costs, in steps of the interpreter's budget


@dataclass(frozen=True)
class Unknown:
    """A value that cannot be known without running the file.

    ``key`` is set where two unknown values are still certain to be the same on one machine: the
    same model's default scheduler, the same choice by ``torch.cuda.is_available()``.
    """

    why: Reason
    key: Hashable = None


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING = _Missing()  # no value in this slot


@dataclass(frozen=True)
class Lib:
    """A name of a module that is not executed here: ``diffusers.DDIMScheduler``."""

    path: str

    @property
    def root(self) -> str:
        return self.path.partition(".")[0]

    @property
    def last(self) -> str:
        return self.path.rpartition(".")[2]

    @property
    def owner(self) -> str:
        """The last name but one: the class of a method."""
        return Lib(self.path.rpartition(".")[0]).last


# Packages whose names stand for what they are; a name of any other may be any value.
MODELLED = frozenset(
    {"diffusers", "torch", "transformers", "builtins", "typing", *IMPORTED_PACKAGES}
)


def is_symbol(value: Value) -> bool:
    """Whether a value is a class, function or constant of a package that is known."""
    return isinstance(value, Lib) and value.root in MODELLED


CONSTANTS = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis))


def is_constant(value: Value) -> bool:
    """Whether a value is wholly known and immutable."""
    if isinstance(value, tuple):
        return all(is_constant(item) for item in value)
    return isinstance(value, CONSTANTS)


def weight(value: Value, limit: int = MAX_LENGTH) -> int:
    """Return the size of a text, or of everything inside a tuple; counting stops at the limit."""
    if isinstance(value, (str, bytes)):
        return len(value)
    if not isinstance(value, (tuple, list)):
        return 1
    total = len(value)
    for item in value:
        if total > limit:
            break
        if isinstance(item, (tuple, str, bytes)):
            total += weight(item, limit - total)
    return total
