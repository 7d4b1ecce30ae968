"""Every change to a slot, logged: undone for the other branch, then joined."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from worker.judging.static.joining import Spend, join
from worker.judging.static.objects import AbstractObject, Field, Slots, T
from worker.judging.static.scopes import Names
from worker.judging.static.values import (
    MISSING,
    SLOT,
    Unknown,
    Value,
)

Change: TypeAlias = "tuple[Slots, Hashable, Value]"
Location: TypeAlias = "tuple[int, Hashable]"
# The slots object stands in the entry too, so that its id cannot be given to another meanwhile.
Delta: TypeAlias = "dict[Location, tuple[Slots, Hashable, Value]]"


# How a block or a path ends.
Ending: TypeAlias = Literal["next", "return", "break", "continue"]
JUMPS: frozenset[Ending] = frozenset({"return", "break", "continue"})


@dataclass
class Pending:
    """A path that left its block early (return, break, continue) and waits to be joined."""

    kind: Ending
    mark: int
    delta: Delta
    value: Value
    why: Unknown


class Store:
    """The log of all slots' changes."""

    def __init__(self, spend: Spend) -> None:
        self.log: list[Change] = []
        self.pending: list[Pending] = []
        self.spend = spend

    def mark(self) -> int:
        return len(self.log)

    def put(self, slots: Slots, key: Hashable, value: Value) -> None:
        """Set one slot."""
        self.log.append((slots, key, slots.get(key, MISSING)))
        slots[key] = value

    def assign(self, owner: AbstractObject, field: Field[T], value: T | Unknown) -> None:
        """Set one field of an object."""
        self.put(owner.slots, field, value)

    def drop(self, slots: Slots, key: Hashable) -> None:
        """Empty one slot."""
        if key in slots:
            self.log.append((slots, key, slots[key]))
            del slots[key]

    def set(self, slots: Slots, key: Hashable, value: Value) -> None:
        if value is MISSING:
            self.drop(slots, key)
        else:
            self.put(slots, key, value)

    def rollback(self, mark: int, pending_from: int) -> Delta:
        """Undo everything since ``mark`` and return it; paths waiting since then stay valid."""
        for waiting in self.pending[pending_from:]:
            if waiting.mark > mark:
                self.spend(SLOT * len(waiting.delta))
                waiting.delta = self._since(mark, waiting.mark) | waiting.delta
                waiting.mark = mark
        delta = self._since(mark, len(self.log))
        for slots, key, old in reversed(self.log[mark:]):
            if old is MISSING:
                slots.pop(key, None)
            else:
                slots[key] = old
        del self.log[mark:]
        return delta

    def apply(self, delta: Delta) -> None:
        """Make the changes that a rollback returned."""
        self.spend(SLOT * len(delta))
        for slots, key, value in delta.values():
            self.set(slots, key, value)

    def merge(self, mark: int, delta: Delta, why: Unknown) -> bool:
        """Join the present state with the one that ``delta`` makes of the state at ``mark``.

        Returns whether the present state changed by it.
        """
        before = self._values_at(mark)
        self.spend(SLOT * (len(before) + len(delta)))
        changed = False
        for location in [*delta, *(key for key in before if key not in delta)]:
            slots, key, other = delta.get(location) or before[location]
            present = slots.get(key, MISSING)
            if isinstance(slots, Names) and MISSING in (present, other):
                joined = other if present is MISSING else present
            else:
                joined = join(present, other, why, self.spend)
            if joined is not present:
                self.set(slots, key, joined)
                changed = True
        return changed

    def _values_at(self, mark: int) -> Delta:
        """Return the value at ``mark`` of every slot changed since."""
        values: Delta = {}
        self.spend(SLOT * (len(self.log) - mark))
        for slots, key, old in self.log[mark:]:
            values.setdefault((id(slots), key), (slots, key, old))
        return values

    def _since(self, mark: int, until: int) -> Delta:
        """Return the value at ``until`` of every slot changed between ``mark`` and ``until``."""
        later = self._values_at(until)
        self.spend(SLOT * (until - mark))
        changes: Delta = {}
        for slots, key, _ in self.log[mark:until]:
            location = (id(slots), key)
            if location not in changes:
                changes[location] = later.get(location, (slots, key, slots.get(key, MISSING)))
        return changes
