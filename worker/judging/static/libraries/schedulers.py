"""Noise schedulers: whose configuration they hold, and which arguments were given on top."""

from __future__ import annotations

from dataclasses import dataclass

from worker.judging.facts.methods import NEUTRAL_SCHEDULER_METHODS
from worker.judging.facts.models import canonical_id, model_of
from worker.judging.facts.signatures import Signature, scheduler_signature
from worker.judging.reasons.codes import Why
from worker.judging.static.arguments import Arguments
from worker.judging.static.interpreter.interpreter import Interpreter, Raised
from worker.judging.static.joining import key_of, same
from worker.judging.static.libraries.refusals import refuse_twice
from worker.judging.static.objects import AbstractDict, Field, Scheduler, SchedulerConfig, Slots
from worker.judging.static.operations.attributes import change
from worker.judging.static.values import (
    Unknown,
    Value,
)

NO_MODEL = "class defaults"  # the base of a scheduler that was built from no model's configuration
# Keywords of from_pretrained that say where files come from, not what the scheduler is.
_LOADING = frozenset(
    [
        "subfolder",
        "cache_dir",
        "force_download",
        "proxies",
        "local_files_only",
        "token",
        "use_auth_token",
        "revision",
        "mirror",
        "return_unused_kwargs",
        "pretrained_model_name_or_path",
        "config",
        "torch_dtype",
    ]
)


def default_of(model_id: Value) -> Scheduler:
    """Return the noise scheduler that a model's own files name."""
    model = model_of(model_id)
    name: Value = Unknown(Why.MODEL_SCHEDULER())
    if model and model.scheduler:
        name = model.scheduler
    elif isinstance(model_id, str):
        name = Unknown(Why.MODEL_SCHEDULER(), ("default scheduler", model_id))
    return Scheduler({Scheduler.cls: name, Scheduler.base: model_id})


def build(name: str, method: str, given: Arguments) -> Value:
    """Return what ``Name(…)``, ``Name.from_config(…)`` or ``Name.from_pretrained(…)`` makes."""
    slots: Slots = {Scheduler.cls: name}
    known = scheduler_signature(name)
    if method == "":
        if known is not None:
            given = _accepted(name, known, given)
        slots[AbstractDict.base] = NO_MODEL
        _add_arguments(slots, given)
    elif method == "from_config":
        _add_config(slots, given.get("config", 0, Unknown(Why.MISSING_CONFIGURATION())))
        _add_arguments(slots, given)
    elif method in ("from_pretrained", "load_config"):
        slots[AbstractDict.base] = _place_of(given)
        _add_arguments(slots, given)
        if method == "load_config":
            del slots[Scheduler.cls]
            return SchedulerConfig(slots)
    else:
        return Unknown(Why.RESULT(function=f"{name}.{method}"))
    if known is not None:
        # An argument that the class does not take is kept in its configuration, without effect.
        for key in [key for key in slots if key not in known.order and not isinstance(key, Field)]:
            del slots[key]
    return Scheduler(slots)


def call_method(
    interpreter: Interpreter, scheduler: Scheduler, method: str, given: Arguments
) -> Value:
    """Call a method of a noise scheduler."""
    if method == "from_config" and isinstance(scheduler.cls, str):
        return build(scheduler.cls, method, given)
    if method not in NEUTRAL_SCHEDULER_METHODS:
        keywords = [item for pair in given.keywords.items() for item in pair]
        change(interpreter, scheduler, method, *given.positional, *keywords)
    return Unknown(Why.SCHEDULER_RESULT(method=method))


def _add_arguments(slots: Slots, given: Arguments) -> None:
    for key, value in given.keywords.items():
        if key not in _LOADING:
            slots[key] = value
    if given.spread and Scheduler.base in given.spread:
        slots[Scheduler.base] = given.spread[Scheduler.base]
    if given.open is not None:
        slots[AbstractDict.open] = given.open


def _add_config(slots: Slots, config: Value) -> None:
    if isinstance(config, (SchedulerConfig, AbstractDict)):
        slots.update({AbstractDict.base: NO_MODEL} | config.slots)
    elif isinstance(config, Scheduler):  # its configuration is wanted
        raise Raised("OSError", Why.REFUSES(cls="from_config", name="config"))
    else:
        why = config.why if isinstance(config, Unknown) else Why.FOREIGN_CONFIGURATION()
        slots[AbstractDict.base] = Unknown(why)


def _accepted(name: str, known: Signature, given: Arguments) -> Arguments:
    """Return the arguments of a class under their names.

    Raises:
        Raised: the class certainly does not take one of them.
    """
    if len(given.positional) > len(known.order):
        raise Raised("TypeError", Why.TOO_MANY_ARGUMENTS(function=name))
    refuse_twice(known.order, given)
    base = (given.spread or {}).get(Scheduler.base, NO_MODEL)  # whose was written out by **
    model = model_of(base)
    config = model.config if model is not None else None
    unexpected = {*given.keywords, *(config or ())} - set(known.order)
    unexpected = {key for key in unexpected if not key.startswith("_")}
    if unexpected and not known.takes_more:
        raise Raised("TypeError", Why.TAKES_NO(function=name, name=min(unexpected)))
    may_be_refused = config is None and base != NO_MODEL
    more = Unknown(Why.MODEL_SCHEDULER_CONFIGURATION()) if may_be_refused else given.open
    return Arguments([], given.named(known.order, {}), more, given.spread)


def _place_of(given: Arguments) -> Value:
    """Return the model in whose folder of schedulers a configuration lies, or its own place.

    Raises:
        Raised: a model that is known has no such configuration where it is looked for.
    """
    place = given.get("pretrained_model_name_or_path", 0)
    subfolder = given.get("subfolder", 1)
    if not isinstance(place, str) or subfolder == "scheduler":
        return place
    if isinstance(subfolder, str):
        return f"{place}/{subfolder}"
    if isinstance(subfolder, Unknown):
        return Unknown(subfolder.why)
    if model_of(place) is not None:
        raise Raised("OSError", Why.NO_CONFIGURATION(name=place))
    inside = place.rstrip("/")
    if inside.endswith("/scheduler"):
        return inside.removesuffix("/scheduler")
    return Unknown(Why.MODEL_SCHEDULER_CONFIGURATION(), ("scheduler", inside))


def findings(scheduler: Value, model_id: Value) -> tuple[Value, Value]:
    """Return the fields ``scheduler`` and ``scheduler_args`` of a pipeline of this model.

    The second holds only what differs from the model's own configuration where that is known, and
    under ``config`` whose configuration it is if not this model's.
    """
    if not isinstance(scheduler, Scheduler):
        why = scheduler if isinstance(scheduler, Unknown) else Unknown(Why.NOT_A_SCHEDULER())
        return why, why
    if isinstance(scheduler.open, Unknown):
        return scheduler.cls, scheduler.open
    if isinstance(scheduler.base, Unknown):
        return scheduler.cls, Unknown(scheduler.base.why, scheduler.base.key)
    usual = _Usual.of(scheduler)
    owner = _owner(scheduler, model_id, usual)
    arguments = _differing_arguments(scheduler, owner, usual)
    config = _foreign_configuration(owner, model_id)
    if config is not None:
        arguments["config"] = config
    if not usual.complete:
        arguments[AbstractDict.open] = _unknown_rest(scheduler, owner)
    return scheduler.cls, AbstractDict(arguments)


@dataclass(frozen=True)
class _Usual:
    """What holds where a file gives no argument, and whether that is known of every argument."""

    values: dict[str, object]
    complete: bool

    @classmethod
    def of(cls, scheduler: Scheduler) -> _Usual:
        """Return the class's defaults, with the values of the model whose configuration it is."""
        name, model = scheduler.cls, model_of(scheduler.base)
        own = scheduler_signature(name)
        config = model.config if model else None
        values = {**(own.defaults if own else {}), **(config or {})}
        known_base = config is not None or scheduler.base == NO_MODEL
        return cls(values, own is not None and known_base)


def _owner(scheduler: Scheduler, model_id: Value, usual: _Usual) -> Value:
    """Return whose configuration a scheduler has: a model's id, or NO_MODEL.

    Arguments given to a class may add up to this model's own configuration, written out.
    """
    if scheduler.base != NO_MODEL:
        return scheduler.base
    model = model_of(model_id)
    if model is None or model.config is None:
        return Unknown(Why.CLASS_DEFAULTS(), NO_MODEL)
    written_out = bool(usual.values) and all(
        same(_number(scheduler.slots.get(key, usual.values[key])), _number(value))
        for key, value in model.config.items()
        if key in usual.values
    )
    return model_id if written_out else NO_MODEL


def _differing_arguments(scheduler: Scheduler, owner: Value, usual: _Usual) -> Slots:
    """Return the arguments that differ from the owner's configuration, all where it is not known."""
    arguments = scheduler.entries
    if usual.complete:
        arguments = {
            key: value
            for key, value in arguments.items()
            if key not in usual.values or not same(_number(value), _number(usual.values[key]))
        }
    own = model_of(owner) if scheduler.base == NO_MODEL else None
    written_out = own.config if own is not None else None
    if written_out is not None:  # the arguments are the configuration
        arguments = {key: value for key, value in arguments.items() if key not in written_out}
    return arguments


def _foreign_configuration(owner: Value, model_id: Value) -> str | Unknown | None:
    """Return whose configuration it is if it is not, or may not be, this model's; else None."""
    if isinstance(owner, str) and isinstance(model_id, str):
        return owner if canonical_id(owner) != canonical_id(model_id) else None
    if same(owner, model_id):
        return None
    place = owner if isinstance(owner, Unknown) else model_id
    return place if isinstance(place, Unknown) else Unknown(Why.MODEL_ID())


def _unknown_rest(scheduler: Scheduler, owner: Value) -> Unknown:
    """Return what stands for the arguments that only the model's own files tell."""
    whose = ("scheduler configuration", key_of(scheduler.cls), key_of(owner))
    return Unknown(Why.MODEL_SCHEDULER_CONFIGURATION(), None if None in whose else whose)


def spacing(name: Value, arguments: Value, model_id: Value) -> Value:
    """Return how a noise scheduler spaces its timesteps, from what ``findings`` told of it."""
    if not isinstance(arguments, AbstractDict):
        return arguments
    model = model_of(arguments.slots.get("config", model_id))
    own = scheduler_signature(name)
    unknown = Unknown(Why.MODEL_SCHEDULER_CONFIGURATION())
    config = model.config if model else None
    usual = {} if own is None or config is None else {**own.defaults, **config}
    return arguments.slots.get("timestep_spacing", usual.get("timestep_spacing", unknown))


def _number(value: Value) -> Value:
    """Numbers compare by value here: 1 given for 1.0 is the same argument."""
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
