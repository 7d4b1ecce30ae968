"""What can change: objects with slots, so that one log can undo and join every change.

A slot's key is a name of the file (an attribute, an entry's key) or a ``Field`` of the object's class.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeGuard, TypeVar, overload

from worker.judging.reasons.codes import Why
from worker.judging.static.bases import PLAIN_BASES
from worker.judging.static.values import CONSTANTS, MISSING, Lib, Unknown, Value, is_symbol

Slots: TypeAlias = "dict[Any, Value]"  # keys are constants and symbols of the file, and Fields
T = TypeVar("T")


@dataclass(frozen=True)
class Part(Unknown):
    """Something inside an object of a library: what is done to it may change that object.

    ``name`` is the attribute that was read last, ``own`` says that the owner itself has it;
    ``root`` is the owner's attribute by which it was reached, where only one leads there.
    """

    owner: AbstractObject = field(kw_only=True, compare=False)
    name: str = field(default="", kw_only=True)
    own: bool = field(default=False, kw_only=True)
    root: str = field(default="", kw_only=True, compare=False)

    def inner(self, name: str = "") -> Part:
        """Return what is found inside of it, or what one of its methods returns.

        From ``__dict__`` and the like any attribute can be reached: such a name is kept.
        """
        kept = self.name if self.name.startswith("_") else name
        return Part(self.why, owner=self.owner, name=kept, root=self.root)


@dataclass(frozen=True)
class Computed(Part):
    """What a function, a method or a pipeline made of values: alike where these are alike.

    ``key`` is set where all of them are known; ``owner`` is a ``Product``, which tells whether it was
    changed since.
    """

    function: str = field(kw_only=True)
    arguments: tuple[Value, ...] = field(kw_only=True, compare=False)
    depth: int = field(default=1, kw_only=True, compare=False)

    def inner(self, name: str = "") -> Part:
        return Part(self.why, owner=self.owner, name=name)


def element(of: Unknown) -> Unknown:
    """Return an element of something that is not known; two of them need not be the same."""
    return of.inner() if isinstance(of, Part) else Unknown(of.why)


class Field(Generic[T]):
    """A slot that this code names, not the file: read as an attribute, written through the store.

    The field itself is the key of the slot, so that nothing in a file can be taken for it.
    """

    def __init__(self, default: T) -> None:
        self.default = default

    def __set_name__(self, owner: type[AbstractObject], name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name

    @overload
    def __get__(self, owner: None, kind: type[AbstractObject]) -> Field[T]: ...

    @overload
    def __get__(self, owner: AbstractObject, kind: type[AbstractObject]) -> T: ...

    def __get__(self, owner: AbstractObject | None, kind: type[AbstractObject]) -> Field[T] | T:
        # What a slot holds was put there as this field's value.
        return self if owner is None else owner.slots.get(self, self.default)  # type: ignore[return-value]


@dataclass(frozen=True)
class Inherited(Unknown):
    """What a class has of a base that is not in the file, if it has it at all."""


class AbstractObject:
    """Something that can change. Its identity is the Python object's."""

    __slots__ = ("slots",)

    # Why there may be entries, or attributes, that nobody knows of.
    open: Field[Value] = Field(MISSING)

    def __init__(self, slots: Slots | None = None) -> None:
        self.slots: Slots = {} if slots is None else slots

    def like(self, slots: Slots) -> AbstractObject:
        """Return an object of the same kind with other slots."""
        return type(self)(slots)


class AbstractList(AbstractObject):
    """A list (or a set, or a deque: nothing here needs the difference)."""

    __slots__ = ()

    items: Field[tuple[Value, ...] | Unknown] = Field(())

    @staticmethod
    def of(items: tuple[Value, ...] | Unknown) -> AbstractList:
        return AbstractList({AbstractList.items: items})


class Lazy(AbstractObject):
    """An iterator, a generator or a coroutine: what it does waits until its items are asked for."""

    __slots__ = ("produce",)

    # How many items were taken out; None: all, Unknown: nobody knows.
    taken: Field[Value] = Field(0)

    def __init__(
        self, slots: Slots, produce: Callable[[Callable[[Value], None]], Unknown | None]
    ) -> None:
        super().__init__(slots)
        # Gives every item to a function, and returns why they are not known if they are not.
        self.produce = produce

    def like(self, slots: Slots) -> AbstractObject:
        return Lazy(slots, self.produce)


class CommandLine(AbstractObject):
    """An ``argparse.ArgumentParser``, or a group of its arguments."""

    __slots__ = ()

    # The calls that declared arguments and defaults.
    declared: Field[Value] = Field(())


class ExitStack(AbstractObject):
    """A ``contextlib.ExitStack``."""

    __slots__ = ()

    # What is to be left, in the order in which it was entered.
    entered: Field[Value] = Field(())


class _Entries(AbstractObject):
    """Something whose other slots are entries under their keys."""

    __slots__ = ()

    # Whose configuration holds where no entry is: a model's, or NO_MODEL.
    base: Field[Value] = Field(MISSING)

    @property
    def is_closed(self) -> bool:
        """Whether there are no other entries than those in the slots."""
        return AbstractObject.open not in self.slots and _Entries.base not in self.slots

    @property
    def entries(self) -> Slots:
        """The entries alone."""
        return {key: value for key, value in self.slots.items() if not isinstance(key, Field)}


class AbstractDict(_Entries):
    """A dictionary."""

    __slots__ = ()

    # Of ``pipe.components``: the pipeline whose parts these are.
    parts_of: Field[Value] = Field(None)


class Pipeline(AbstractObject):
    """A diffusers pipeline; its other slots are its parts, and attributes that the file added."""

    __slots__ = ()

    cls: Field[Value] = Field(None)
    model_id: Field[Value] = Field(None)
    scheduler: Field[Value] = Field(None)
    dtype: Field[Value] = Field(None)
    device: Field[Value] = Field(None)
    # The parts that the file put in, by name, and what it called that may change the result.
    replaced: Field[Value] = Field(None)
    settings: Field[Value] = Field(None)
    # The arguments with which this pipeline was made of another's parts; these share ``settings``.
    options: Field[Value] = Field(None)
    # The class of the T-GATE loader, and whether pipe.tgate() was called.
    tgate: Field[Value] = Field(None)
    tgated: Field[Value] = Field(False)
    # What T-GATE's loader keeps as ``pipe.deepcache``.
    helper: Field[Value] = Field(MISSING)
    # The class of the file that it is an object of, if there is one.
    subclass: Field[Value] = Field(None)


class Component(AbstractObject):
    """A part of a pipeline, or a model loaded by itself: what was patched, is recorded on it."""

    __slots__ = ()

    of: Field[Value] = Field(None)
    # What else chose what was loaded: a subfolder, a quantisation.
    options: Field[Value] = Field(None)
    # The name that it has in the pipeline that it was loaded with.
    role: Field[Value] = Field(None)
    # The settings of the pipeline that it was loaded with: what was done there holds for it too.
    home: Field[Value] = Field(None)
    # What was done to it that may change what it computes.
    changed: Field[Value] = Field(None)
    compile: Field[Value] = Field(None)
    # The state that was loaded into it, the cache that it was given, and whether it knows of that.
    weights: Field[Value] = Field(None)
    cache: Field[Value] = Field(None)
    knows_cache: Field[Value] = Field(False)
    layout: Field[Value] = Field(None)
    fused: Field[Value] = Field(None)
    freeu: Field[Value] = Field(None)
    dtype: Field[Value] = Field(None)
    device: Field[Value] = Field(None)
    # The helper that is enabled on it, and the parameters of tomesd's patch.
    deepcache: Field[Value] = Field(None)
    tome: Field[Value] = Field(None)


class Product(AbstractObject):
    """Stands for something computed, and for whether it, or what it was made of, was changed."""

    __slots__ = ("from_pipeline", "parents")

    from_pipeline: bool
    changed: Field[Value] = Field(MISSING)

    def __init__(
        self, slots: Slots, parents: tuple[Product, ...] = (), *, from_pipeline: bool = False
    ) -> None:
        super().__init__(slots)
        self.parents = parents
        self.from_pipeline = from_pipeline or any(item.from_pipeline for item in parents)

    def like(self, slots: Slots) -> AbstractObject:
        return Product(slots, self.parents, from_pipeline=self.from_pipeline)


class Made(_Entries):
    """A configuration or callback made of plain arguments, which are its other slots."""

    __slots__ = ()

    cls: Field[Value] = Field(None)


class Scheduler(_Entries):
    """A noise scheduler; its other slots are its arguments under their names."""

    __slots__ = ()

    cls: Field[Value] = Field(None)


class SchedulerConfig(_Entries):
    """A noise scheduler's configuration: its arguments, without the class."""

    __slots__ = ("of",)

    def __init__(self, slots: Slots, of: Scheduler | None = None) -> None:
        super().__init__(slots)
        # Whose it is: what changes the one changes the other.
        self.of = of

    def like(self, slots: Slots) -> AbstractObject:
        return SchedulerConfig(slots, self.of)


class Helper(AbstractObject):
    """A DeepCacheSDHelper; its other slots, ``pipe`` and ``params``, are the file's to set too."""

    __slots__ = ()

    # Whether it is enabled although it was already.
    twice: Field[Value] = Field(False)


class Call(AbstractObject):
    """What the file's latest pipeline call did: one slot per name of FIELDS."""

    __slots__ = ()


def is_pipeline_class(value: Value) -> TypeGuard[Lib]:
    """Whether a value is a pipeline class of diffusers."""
    return isinstance(value, Lib) and value.root == "diffusers" and value.last.endswith("Pipeline")


def is_abstract(value: Value) -> bool:
    """Whether a value is a method that a class has to override."""
    return getattr(value, "is_abstract", False)


class AbstractClass(AbstractObject):
    """A class that the file defines; its slots are its namespace."""

    __slots__ = ("fields", "is_data", "is_frozen", "lineage", "name")

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
        # Of a data class: whether its fields cannot be set.
        self.is_frozen = False

    @property
    def is_enum(self) -> bool:
        """Whether its members are the same only as themselves."""
        return any(isinstance(base, Lib) and base.last.endswith("Enum") for base in self.lineage)

    @property
    def is_named_tuple(self) -> bool:
        """Whether its objects are tuples of their fields."""
        return any(isinstance(base, Lib) and base.last == "NamedTuple" for base in self.lineage)

    def abstract_method(self) -> str | None:
        """Return a method that it leaves abstract, so that there can be no objects of it."""
        if Lib("abc.ABC") not in self.lineage:
            return None
        own = [base for base in (self, *self.lineage) if isinstance(base, AbstractClass)]
        names = dict.fromkeys(name for base in own for name in base.slots)
        return next((name for name in names if is_abstract(self.find(name))), None)

    def keeps(self, name: str) -> bool:
        """Whether an attribute of its objects certainly cannot be set."""
        own = [base for base in (self, *self.lineage) if isinstance(base, AbstractClass)]
        frozen = any(base.is_frozen for base in own)
        return frozen or (self.is_named_tuple and name in self.all_fields())

    def all_fields(self) -> list[str]:
        """Return the fields of a data class, those of its bases first."""
        own = [base for base in (self, *self.lineage) if isinstance(base, AbstractClass)]
        return list(dict.fromkeys(name for base in reversed(own) for name in base.fields))

    @property
    def pipeline_base(self) -> Lib | None:
        """The pipeline class of diffusers that it inherits from."""
        return next((base for base in self.lineage if is_pipeline_class(base)), None)

    def find(self, name: str, after: AbstractClass | None = None) -> Value:
        """Return an attribute, its own or inherited; MISSING if there is none.

        Args:
            name: the attribute.
            after: search only what comes behind this class, as ``super()`` does.
        """
        order = (self, *self.lineage)
        start = order.index(after) + 1 if after in order else 0
        for base in order[start:]:
            if isinstance(base, AbstractClass):
                if name in base.slots:
                    return base.slots[name]
            elif is_pipeline_class(base):
                return Lib(f"{base.path}.{name}")
            elif base not in PLAIN_BASES:
                return Inherited(Why.BASE_EFFECT(cls=self.name))
        return MISSING

    def may_have(self, *names: str) -> bool:
        """Whether the class has one of these attributes, or inherits one, or may."""
        return any(self.find(name) is not MISSING for name in names)


class Instance(AbstractObject):
    """An object of a class that the file defines; its slots are its attributes."""

    __slots__ = ("cls",)

    def __init__(self, slots: Slots, cls: AbstractClass) -> None:
        super().__init__(slots)
        self.cls = cls

    def like(self, slots: Slots) -> AbstractObject:
        return Instance(slots, self.cls)


def truth(value: Value) -> bool | Unknown:
    """Return whether a value counts as true, or why that is not known."""
    if isinstance(value, Unknown):
        return value
    if isinstance(value, AbstractList):
        return value.items if isinstance(value.items, Unknown) else bool(value.items)
    if isinstance(value, AbstractDict):
        entries = len(value.slots) - (value.open is not MISSING) - (value.base is not MISSING)
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
