"""What a name may stand for while a file is read without being run.

Constants stand for themselves (``None``, ``bool``, numbers, ``str``, ``bytes``, and tuples of
values). Everything that can change is a ``AbstractObject`` with slots, so that one journal can undo and
join every change. What the file's text does not tell is ``Unknown``, and stays so through every
operation.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from worker.judging.library_facts import IMPORTED_PACKAGES
from worker.judging.reasons.codes import Reason, Why

Value: TypeAlias = object
Slots: TypeAlias = "dict[Any, Value]"  # keys are constants, or the markers below


@dataclass(frozen=True)
class Unknown:
    """A value that cannot be known without running the file.

    ``key`` is set where two unknown values are still certain to be the same on one machine: the
    same model's default scheduler, the same choice by ``torch.cuda.is_available()``.
    """

    why: Reason
    key: Hashable = None


@dataclass(frozen=True)
class Part(Unknown):
    """Something inside an object of a library: what is done to it may change that object.

    ``name`` is the attribute that was read last, ``own`` says that the owner itself has it.
    """

    owner: AbstractObject = field(kw_only=True, compare=False)
    name: str = field(default="", kw_only=True)
    own: bool = field(default=False, kw_only=True)

    def inner(self, name: str = "") -> Part:
        """Return what is found inside of it, or what one of its methods returns.

        From ``__dict__`` and the like any attribute can be reached: such a name is kept.
        """
        kept = self.name if self.name.startswith("_") else name
        return Part(self.why, owner=self.owner, name=kept)


def element(of: Unknown) -> Unknown:
    """Return an element of something that is not known; two of them need not be the same."""
    return of.inner() if isinstance(of, Part) else Unknown(of.why)


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING = _Missing()  # no value in this slot
OPEN = "\0open"  # a dictionary's slot that says: there may be entries nobody knows of
BASE = "\0base"  # a configuration's slot: whose values hold where no entry is
MAX_LENGTH = 100_000  # of a text, or of all that is in a tuple
MAX_KEY = 1_000  # of what is compared by its text
SLOT = 1 / 8  # what reading or writing one slot costs, in steps of the reader's budget
ITEMS = "items"  # a list's one slot: the tuple of its values, or Unknown


class Names(dict[Any, Value]):
    """The slots of a scope. A name bound on one path only is taken as bound: else it would fail."""


class AbstractObject:
    """Something that can change. Its identity is the Python object's."""

    def __init__(self, slots: Slots | None = None) -> None:
        self.slots: Slots = {} if slots is None else slots

    def like(self, slots: Slots) -> AbstractObject:
        """Return an object of the same kind with other slots."""
        return type(self)(slots)


class AbstractList(AbstractObject):
    """A list (or a set, or a deque: nothing here needs the difference)."""

    @staticmethod
    def of(items: tuple[Value, ...] | Unknown) -> AbstractList:
        return AbstractList({ITEMS: items})


class AbstractDict(AbstractObject):
    """A dictionary; its slots are its entries, and OPEN or BASE."""


class Pipeline(AbstractObject):
    """A diffusers pipeline: class, model_id, scheduler, dtype, device, components, settings."""


class Component(AbstractObject):
    """A part of a pipeline, or a model loaded by itself: what was patched, is recorded on it."""


class Scheduler(AbstractObject):
    """A noise scheduler: class, BASE (whose configuration), and its arguments under their names."""


class SchedulerConfig(AbstractObject):
    """A noise scheduler's configuration: BASE and arguments, without the class."""

    def __init__(self, slots: Slots, of: Scheduler | None = None) -> None:
        super().__init__(slots)
        self.of = of  # whose it is: what changes the one changes the other

    def like(self, slots: Slots) -> AbstractObject:
        return SchedulerConfig(slots, self.of)


class Helper(AbstractObject):
    """A DeepCacheSDHelper: its pipe and its params."""


class Call(AbstractObject):
    """What the file's latest pipeline call did: one slot per field."""


class AbstractClass(AbstractObject):
    """A class that the file defines; its slots are its namespace."""

    def __init__(
        self, slots: Slots, name: str = "", lineage: tuple[Value, ...] = (), is_data: bool = False
    ) -> None:
        super().__init__(slots)
        self.name = name
        # What it inherits from, in the order in which Python searches it.
        self.lineage = lineage
        self.is_data = is_data
        # The names that its body annotates: a data class's fields.
        self.fields: tuple[str, ...] = ()

    @property
    def is_enum(self) -> bool:
        """Whether its members are the same only as themselves."""
        return any(isinstance(base, Lib) and base.last.endswith("Enum") for base in self.lineage)

    @property
    def has_unknown_base(self) -> bool:
        """Whether it inherits from something that the file does not define."""
        return any(
            not isinstance(base, AbstractClass) and base != Lib("builtins.object")
            for base in self.lineage
        )

    def may_have(self, *names: str) -> bool:
        """Whether the class has one of these attributes, or inherits one, or may."""
        own = (base for base in (self, *self.lineage) if isinstance(base, AbstractClass))
        return self.has_unknown_base or any(name in base.slots for base in own for name in names)


class Instance(AbstractObject):
    """An object of a class that the file defines; its slots are its attributes."""

    def __init__(self, slots: Slots, cls: AbstractClass) -> None:
        super().__init__(slots)
        self.cls = cls

    def like(self, slots: Slots) -> AbstractObject:
        return Instance(slots, self.cls)


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


@dataclass(eq=False)
class Scope:
    """Names, and the scope in which a name not found here is looked up."""

    names: Names = field(default_factory=Names)
    parent: Scope | None = None
    is_class: bool = False
    # By global and nonlocal.
    redirected: dict[str, Scope] = field(default_factory=dict)
    # Modules imported with *.
    stars: list[str] = field(default_factory=list)
    # A class body's annotated names, in order.
    annotated: tuple[str, ...] = ()
    function: Function | None = None
    # The object that the running method belongs to.
    receiver: Value = None


@dataclass(frozen=True, eq=False)
class Function:
    """A function or lambda of the file, with its defaults as they were when it was defined."""

    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    scope: Scope
    defaults: tuple[Value, ...] = ()
    keyword_defaults: tuple[Value, ...] = ()  # MISSING: has none
    kind: str = "function"  # or static, class, property, manager
    owner: AbstractClass | None = None

    @property
    def name(self) -> str:
        return getattr(self.node, "name", "<lambda>")


@dataclass(frozen=True, eq=False)
class Bound:
    """A method taken from a value: ``pipe.to``, ``helper.enable``, ``names.append``."""

    receiver: Value
    method: str | Function


@dataclass(frozen=True, eq=False)
class Partial:
    """``functools.partial``: a callable with arguments already given."""

    function: Value
    positional: tuple[Value, ...]
    keywords: tuple[tuple[str, Value], ...]


@dataclass(frozen=True, eq=False)
class Super:
    """``super()`` inside a method."""

    receiver: Value
    after: AbstractClass


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


def same(left: Value, right: Value) -> bool:
    """Whether two values are certainly the same (``True`` and ``1`` are not)."""
    if left is right:
        return True
    if isinstance(left, tuple) and isinstance(right, tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, Unknown) and isinstance(right, Unknown):
        return left.key is not None and left.key == right.key
    if isinstance(left, (Lib, *CONSTANTS)):
        return type(left) is type(right) and left == right
    return False


Spend: TypeAlias = "Callable[[float], None]"  # counts work, and raises when there was too much


def join(
    left: Value,
    right: Value,
    why: Unknown,
    spend: Spend,
    joined: dict[tuple[int, int], Value] | None = None,
) -> Value:
    """Return what is known of a value that is ``left`` on one path and ``right`` on the other."""
    if same(left, right):
        return left
    joined = {} if joined is None else joined  # each pair once: what is joined may hold itself
    pair = (id(left), id(right))
    if pair in joined:
        return joined[pair]
    if (
        isinstance(left, AbstractObject)
        and isinstance(right, AbstractObject)
        and _alike(left, right)
    ):
        slots: Slots = type(left.slots)()
        result = joined[pair] = left.like(slots)
        spend(1 + SLOT * (len(left.slots) + len(right.slots)))
        for key in left.slots | right.slots:
            one, other = left.slots.get(key, MISSING), right.slots.get(key, MISSING)
            slots[key] = join(one, other, why, spend, joined)
        return result
    part = next((side for side in (left, right) if isinstance(side, Part)), None)
    if part is not None:
        return part.inner()
    choice: Hashable = None
    if why.key is not None and (left_key := key_of(left)) and (right_key := key_of(right)):
        choice = digest(why.key, left_key, right_key)
    return Unknown(left.why if isinstance(left, Unknown) else why.why, choice)


def _alike(left: AbstractObject, right: AbstractObject) -> bool:
    """Whether two things are of one kind, so that they can be joined slot by slot."""
    if isinstance(left, AbstractClass):
        return False
    return type(left) is type(right) and getattr(left, "cls", None) is getattr(right, "cls", None)


def key_of(value: Value) -> Hashable:
    """Return what two values have in common that are certainly the same, None if nothing has."""
    if isinstance(value, Unknown):
        return value.key
    if weight(value, MAX_KEY) > MAX_KEY or not (is_constant(value) or isinstance(value, Lib)):
        return None
    return (type(value).__name__, repr(value))


def digest(*keys: Hashable) -> str:
    """Return one key for several, never larger however often keys are made of keys."""
    return hashlib.sha256(repr(keys).encode()).hexdigest()


def shallow(value: Value) -> Value:
    """Return a copy of the outermost object alone."""
    if not isinstance(value, AbstractObject) or isinstance(value, AbstractClass):
        return value
    return value.like(type(value.slots)(value.slots))


def clone(value: Value, spend: Spend, made: dict[int, Value] | None = None) -> Value:
    """Return a copy that later changes do not reach."""
    made = {} if made is None else made
    if id(value) in made:
        return made[id(value)]
    if isinstance(value, tuple):
        spend(SLOT * len(value))
        return tuple(clone(item, spend, made) for item in value)
    if not isinstance(value, AbstractObject) or isinstance(value, AbstractClass):
        return value
    slots: Slots = type(value.slots)()
    result = made[id(value)] = value.like(slots)
    spend(1 + SLOT * len(value.slots))
    for key, item in value.slots.items():
        slots[key] = clone(item, spend, made)
    return result


def truth(value: Value) -> bool | Unknown:
    """Return whether a value counts as true, or why that is not known."""
    if isinstance(value, Unknown):
        return value
    if isinstance(value, AbstractList):
        items = value.slots[ITEMS]
        return items if isinstance(items, Unknown) else bool(items)
    if isinstance(value, AbstractDict):
        entries = len(value.slots) - (OPEN in value.slots) - (BASE in value.slots)
        if not entries and value.slots:
            return Unknown(Why.DICT_ENTRIES())
        return entries > 0
    if isinstance(value, (tuple, *CONSTANTS)):
        return bool(value)
    if isinstance(value, Lib) and "." in value.path and not is_symbol(value):
        return Unknown(Why.VALUE_SET_ELSEWHERE(name=value.path))  # config.USE_TOME
    if isinstance(value, Lib) and value.root == "torch" and not value.last[:1].isupper():
        return Unknown(Why.VALUE_OF_TORCH(name=value.path))  # torch.version.cuda
    if isinstance(value, Instance) and value.cls.may_have("__bool__", "__len__"):
        return Unknown(Why.OBJECT_TRUTH(cls=value.cls.name))
    return True


def reachable(values: list[Value]) -> list[AbstractObject]:
    """Return the things that a function given these values could change."""
    seen: dict[int, AbstractObject] = {}
    waiting = list(values)
    while waiting and len(seen) < 500:
        value = waiting.pop()
        if id(value) in seen:
            continue
        if isinstance(value, tuple):
            waiting.extend(value)
        elif isinstance(
            value, (Pipeline, Component, Helper, Scheduler, Instance, AbstractDict, AbstractList)
        ):
            seen[id(value)] = value
            waiting.extend(value.slots.values())
        elif isinstance(value, Bound):
            waiting.append(value.receiver)
        elif isinstance(value, Part):
            waiting.append(value.owner)
        elif isinstance(value, SchedulerConfig):
            waiting.append(value.of)
    return list(seen.values())
