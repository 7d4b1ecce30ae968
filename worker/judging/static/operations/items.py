"""Elements of containers: reading, writing and deleting them."""

from __future__ import annotations

from worker.judging.facts.torch_state import COUNTING
from worker.judging.reasons.codes import Why
from worker.judging.static.arguments import Arguments
from worker.judging.static.interpreter.effects import may_call, taint
from worker.judging.static.interpreter.interpreter import Interpreter, Raised
from worker.judging.static.libraries import products
from worker.judging.static.objects import (
    AbstractClass,
    AbstractDict,
    AbstractList,
    Computed,
    Instance,
    Lazy,
    Part,
    SchedulerConfig,
    Slots,
)
from worker.judging.static.operations import constants
from worker.judging.static.operations.attributes import ELEMENT, change, read
from worker.judging.static.operations.instances import call_special
from worker.judging.static.operations.iteration import collect, named_items
from worker.judging.static.scopes import Bound, Function
from worker.judging.static.values import MISSING, Lib, Unknown, Value, is_constant, is_symbol


def read_item(interpreter: Interpreter, container: Value, key: Value) -> Value:
    """Return ``container[key]``."""
    interpreter.spend(constants.size(key))
    if isinstance(key, Instance):
        may_call(interpreter, [key], Why.UNKNOWN_KEY())
    if isinstance(container, Instance) and container.cls.is_named_tuple:
        container = named_items(container)
    special = call_special(interpreter, container, "__getitem__", key)
    if special is not MISSING:
        return special
    if isinstance(container, AbstractClass):
        return _parametrized(interpreter, container, key)
    if isinstance(container, Lib) and container.root in ("typing", "builtins", "collections"):
        return container  # list[int] is a list
    if isinstance(container, Computed):
        return products.element_of(interpreter, container, key)
    if container == Lib("sys.modules") and isinstance(key, str):
        return Lib(key)
    if isinstance(container, AbstractDict) and container.parts_of and isinstance(key, str):
        return read(interpreter, container.parts_of, key)
    if isinstance(container, AbstractDict) and isinstance(key, Lib):
        return container.slots.get(key, Unknown(Why.DICT_ENTRY()))
    if isinstance(container, AbstractDict) and container.is_closed and is_constant(key):
        if key in container.slots:
            return container.slots[key]
        raise Raised("KeyError", Why.NO_SUCH_KEY(key=key))
    return constants.index(container, key)


def _parametrized(interpreter: Interpreter, cls: AbstractClass, key: Value) -> Value:
    """Return ``Class[key]``: a member of an enumeration, or the generic class itself."""
    if cls.is_enum and isinstance(key, str):
        member = cls.slots.get(key, MISSING)
        if not isinstance(member, Instance):
            raise Raised("KeyError", Why.NO_SUCH_KEY(key=key))
        return member
    found = cls.find("__class_getitem__")
    if isinstance(found, Function):
        return interpreter.call(Bound(cls, found), Arguments([key]))
    generic = any(base in (Lib("typing.Generic"), Lib("typing.Protocol")) for base in cls.lineage)
    return cls if generic else Unknown(Why.UNKNOWN_ELEMENT())


def write_item(interpreter: Interpreter, container: Value, key: Value, value: Value) -> None:
    """Do ``container[key] = value``."""
    interpreter.spend(constants.size(key))
    if call_special(interpreter, container, "__setitem__", key, value) is not MISSING:
        return
    if container == Lib("os.environ") and isinstance(key, str) and key.startswith(COUNTING):
        interpreter.store.put(interpreter.ambient, key, value)
    elif isinstance(container, SchedulerConfig) and container.of is not None:
        change(interpreter, container.of, "config", key, value)
    elif isinstance(container, (AbstractDict, SchedulerConfig)):
        if is_constant(key) or is_symbol(key):
            interpreter.store.put(container.slots, key, value)
        else:
            taint(interpreter, [container], Why.UNKNOWN_KEY())
    elif isinstance(container, AbstractList):
        if isinstance(value, Lazy):
            collect(interpreter, value)
        items = container.items
        if isinstance(items, tuple) and isinstance(key, int) and -len(items) <= key < len(items):
            changed = list(items)
            changed[key] = value
            interpreter.spend(len(items) // 50)
            interpreter.store.assign(container, AbstractList.items, tuple(changed))
        else:
            interpreter.store.assign(
                container, AbstractList.items, Unknown(Why.LIST_CHANGED_SOMEWHERE())
            )
    else:
        change(interpreter, container, ELEMENT, key, value)


def delete_item(interpreter: Interpreter, container: Value, key: Value) -> None:
    """Do ``del container[key]``."""
    if call_special(interpreter, container, "__delitem__", key) is not MISSING:
        return
    if isinstance(container, AbstractDict) and is_constant(key):
        if key in container.slots:
            interpreter.store.drop(container.slots, key)
        elif AbstractDict.open not in container.slots:
            raise Raised("KeyError", Why.NO_SUCH_KEY(key=key))
    elif isinstance(container, AbstractList):
        interpreter.store.assign(
            container, AbstractList.items, Unknown(Why.LIST_CHANGED(method="del"))
        )
    else:
        change(interpreter, container, ELEMENT, key)


def absorb(slots: Slots, value: Value) -> None:
    """Add the entries of another dictionary, as ``{**value}`` and ``dict(value)`` do."""
    if isinstance(value, (AbstractDict, SchedulerConfig)):
        slots.update(value.slots)
    else:
        unknown = Unknown(Why.DICT_ENTRIES())
        slots[AbstractDict.open] = value.inner() if isinstance(value, Part) else unknown
