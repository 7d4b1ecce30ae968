"""Attributes and elements: reading and writing them, on everything that has some."""

from __future__ import annotations

from worker.compare import pure
from worker.compare.arguments import Arguments
from worker.compare.machine import Abandoned, Machine, Raised
from worker.compare.values import (
    BASE,
    ITEMS,
    MISSING,
    OPEN,
    Bound,
    ClassThing,
    Component,
    DictThing,
    Function,
    Helper,
    Instance,
    Lib,
    ListThing,
    Pipeline,
    Scheduler,
    SchedulerConfig,
    Scope,
    Slots,
    Super,
    Unknown,
    Value,
    is_constant,
    is_symbol,
)

COMPONENTS = frozenset(
    [
        "unet",
        "transformer",
        "vae",
        "text_encoder",
        "text_encoder_2",
        "text_encoder_3",
        "tokenizer",
        "tokenizer_2",
        "tokenizer_3",
        "feature_extractor",
        "image_encoder",
        "controlnet",
        "safety_checker",
    ]
)
UNSEEN = frozenset({"safety_checker", "feature_extractor"})  # they never touch the denoising
PACKAGES = frozenset({"diffusers", "DeepCache", "tomesd", "tgate"})  # whose names are modelled
PIPE = "\0pipe"  # pipe.components' slot: the pipeline they belong to
OWN = "\0own "  # before the names of attributes that the file itself gave to an object


def read(machine: Machine, owner: Value, name: str) -> Value:
    """Return ``owner.name``."""
    if isinstance(owner, Unknown):
        return Unknown(owner.why)
    if isinstance(owner, Lib):
        path = f"{owner.path}.{name}"
        return machine.overridden.get(path, Lib(path))
    if isinstance(owner, (Pipeline, Component, Scheduler, SchedulerConfig, Helper)):
        return _read_library_object(machine, owner, name)
    if isinstance(owner, Instance):
        return _read_instance(machine, owner, name)
    if isinstance(owner, ClassThing):
        found = find(owner, name)
        if isinstance(found, Function) and found.kind == "class":
            return Bound(owner, found)
        return owner.name if found is MISSING and name == "__name__" else _or_unknown(found, name)
    if isinstance(owner, Super):
        return _read_super(owner, name)
    if isinstance(owner, Function):
        return owner.name if name == "__name__" else Unknown("a function's attribute")
    if owner is None:
        raise Raised("AttributeError", f"None has no attribute {name}")
    return Bound(owner, name)


def _or_unknown(found: Value, name: str) -> Value:
    return Unknown(f"the attribute {name}") if found is MISSING else found


def _read_library_object(machine: Machine, owner: Value, name: str) -> Value:
    if isinstance(owner, (Pipeline, Component)) and OWN + name in owner.slots:
        return owner.slots[OWN + name]
    if isinstance(owner, Pipeline):
        if name in COMPONENTS:
            return component(machine, owner, name)
        if name == "components":
            return DictThing({PIPE: owner, OPEN: Unknown("a pipeline's components")})
        if name in ("scheduler", "dtype", "device"):
            return owner.slots[name]
        if name == "deepcache":
            return owner.slots.get("helper", Unknown("the attribute deepcache"))
    elif isinstance(owner, Scheduler) and name == "config":
        return SchedulerConfig({key: owner.slots[key] for key in owner.slots if key != "class"})
    elif isinstance(owner, SchedulerConfig) and name in owner.slots:
        return owner.slots[name]
    elif isinstance(owner, SchedulerConfig) and name not in ("get", "copy", "items", "to_dict"):
        return Unknown("a value of the model's scheduler configuration")
    elif isinstance(owner, Helper) and name in owner.slots:
        return owner.slots[name]
    elif name == "config":
        return Unknown("the configuration of a model")
    return Bound(owner, name)


def _read_instance(machine: Machine, owner: Instance, name: str) -> Value:
    if find(owner.cls, "__getattribute__") is not MISSING:
        return Unknown(f"the attribute {name}")
    if name in owner.slots:
        return owner.slots[name]
    if name == "__class__":
        return owner.cls
    if name == "__dict__":
        return DictThing(dict(owner.slots))
    found = find(owner.cls, name)
    if isinstance(found, Function):
        if found.kind == "static":
            return found
        bound = Bound(owner.cls if found.kind == "class" else owner, found)
        return machine.call(bound, Arguments()) if found.kind == "property" else bound
    dynamic = find(owner.cls, "__getattr__") is not MISSING or has_unknown_base(owner.cls)
    dynamic = dynamic or OPEN in owner.slots
    if found is MISSING and not dynamic:
        raise Raised("AttributeError", f"{owner.cls.name} has no attribute {name}")
    return Unknown(f"the attribute {name}") if isinstance(found, Lib) else _or_unknown(found, name)


def _read_super(owner: Super, name: str) -> Value:
    for base in owner.after.bases:
        found = find(base, name) if isinstance(base, ClassThing) else MISSING
        if isinstance(found, Function):
            return Bound(owner.receiver, found)
        if found is not MISSING:
            return found
    return Lib("builtins.object." + name)


def find(cls: ClassThing, name: str, depth: int = 0) -> Value:
    """Return a class's attribute, its bases searched depth first; MISSING if there is none."""
    if name in cls.slots:
        return cls.slots[name]
    for base in cls.bases:
        if isinstance(base, ClassThing) and depth < 20:
            found = find(base, name, depth + 1)
            if found is not MISSING:
                return found
        elif isinstance(base, Lib) and base.root == "diffusers":
            return Lib(f"{base.path}.{name}")
    return MISSING


def has_unknown_base(cls: ClassThing, depth: int = 0) -> bool:
    """Whether a class inherits from something that the file does not define."""
    return any(
        (has_unknown_base(base, depth + 1) if depth < 20 else True)
        if isinstance(base, ClassThing)
        else base != Lib("builtins.object")
        for base in cls.bases
    )


def super_of(scope: Scope) -> Value:
    """Return what ``super()`` means in a method's scope."""
    inner: Scope | None = scope
    while inner is not None and inner.function is None:
        inner = inner.parent
    if inner is None or inner.function is None or inner.function.owner is None:
        return Unknown("super() outside of a method")
    return Super(inner.receiver, inner.function.owner)


def component(machine: Machine, pipe: Pipeline, name: str) -> Value:
    """Return a pipeline's part, made at its first use."""
    if name not in pipe.slots:
        machine.store.put(pipe.slots, name, Component({"of": pipe.slots["model_id"]}))
    return pipe.slots[name]


def write(machine: Machine, owner: Value, name: str, value: Value) -> None:
    """Do ``owner.name = value``."""
    store = machine.store
    if isinstance(owner, Lib) and owner.root in PACKAGES:
        raise Abandoned(f"the file changes {owner.path}.{name} itself")
    if isinstance(owner, Lib):
        store.put(machine.overridden, f"{owner.path}.{name}", value)
    elif isinstance(owner, Pipeline) and name == "scheduler":
        store.put(owner.slots, name, value)
    elif isinstance(owner, Pipeline) and name in COMPONENTS:
        store.put(owner.slots, name, value)
        replaced = owner.slots["replaced"]
        if value is not None and name not in UNSEEN and isinstance(replaced, DictThing):
            store.put(replaced.slots, name, value)
    elif isinstance(owner, (Pipeline, Component)):
        store.put(owner.slots, OWN + name, value)
    elif isinstance(owner, Instance):
        store.put(owner.slots, name, _written(owner, name, value))
    elif isinstance(owner, (Helper, ClassThing)):
        store.put(owner.slots, name, value)


def _written(owner: Instance, name: str, value: Value) -> Value:
    """Return what an attribute holds after it is set; a setter may make anything of the value."""
    found = find(owner.cls, name)
    setter = isinstance(found, Unknown) or (
        isinstance(found, Function) and found.kind == "property"
    )
    if setter or find(owner.cls, "__setattr__") is not MISSING:
        return Unknown(f"what setting {name} does")
    return value


def read_item(machine: Machine, container: Value, key: Value) -> Value:
    """Return ``container[key]``."""
    if isinstance(container, Instance):
        method = find(container.cls, "__getitem__")
        if isinstance(method, Function):
            return machine.call(Bound(container, method), Arguments([key]))
    if isinstance(container, DictThing) and PIPE in container.slots and isinstance(key, str):
        return read(machine, container.slots[PIPE], key)
    if isinstance(container, DictThing) and isinstance(key, Lib):
        return container.slots.get(key, Unknown("a dictionary entry that is not known"))
    closed = isinstance(container, DictThing) and not {OPEN, BASE} & set(container.slots)
    if (
        closed
        and is_constant(key)
        and isinstance(container, DictThing)
        and key not in container.slots
    ):
        raise Raised("KeyError", f"the key {key!r} is not in the dictionary")
    return pure.index(container, key)


def write_item(machine: Machine, container: Value, key: Value, value: Value) -> None:
    """Do ``container[key] = value``."""
    if isinstance(container, DictThing):
        if is_constant(key) or is_symbol(key):
            machine.store.put(container.slots, key, value)
        else:
            machine.taint([container], "an unknown key")
    elif isinstance(container, ListThing):
        items = container.slots[ITEMS]
        if isinstance(items, tuple) and isinstance(key, int) and -len(items) <= key < len(items):
            changed = list(items)
            changed[key] = value
            machine.spend(len(items) // 50)
            machine.store.put(container.slots, ITEMS, tuple(changed))
        else:
            machine.store.put(container.slots, ITEMS, Unknown("a list changed at an unknown place"))


def absorb(slots: Slots, value: Value) -> None:
    """Add the entries of another dictionary, as ``{**value}`` and ``dict(value)`` do."""
    if isinstance(value, (DictThing, SchedulerConfig)):
        slots.update(value.slots)
    else:
        slots[OPEN] = Unknown("a dictionary whose entries are not known")
