"""What a pipeline's call does: the configuration as it is then, and the call's arguments."""

from __future__ import annotations

from worker.judging.facts.call_arguments import (
    CALL_DEFAULTS,
    DECODED,
    LEGACY_CALLBACK,
    LORA_SCALE,
    NEUTRAL_CALL,
    SAME_AS,
    SIZED,
    SIZES,
    empty_is_none,
)
from worker.judging.facts.models import model_of
from worker.judging.facts.parts import COMPONENTS
from worker.judging.facts.signatures import Signature, call_of
from worker.judging.reasons.codes import Why
from worker.judging.static.arguments import Arguments, is_default
from worker.judging.static.interpreter.interpreter import Interpreter
from worker.judging.static.joining import Spend, clone, key_of, same
from worker.judging.static.libraries import accelerators, products, refusals, schedulers
from worker.judging.static.libraries.contexts import ambient_settings
from worker.judging.static.libraries.loading import replaced_parts
from worker.judging.static.objects import (
    AbstractDict,
    AbstractList,
    Call,
    Component,
    Field,
    Pipeline,
    Slots,
)
from worker.judging.static.operations import constants
from worker.judging.static.values import (
    MISSING,
    Lib,
    Unknown,
    Value,
    is_symbol,
)

# What a part may have of its own, and the pipeline's field that it then differs from.
_PART_SETTINGS: dict[Field[Value], Field[Value] | None] = {
    Component.compile: None,
    Component.weights: None,
    Component.cache: None,
    Component.layout: None,
    Component.fused: None,
    Component.freeu: None,
    Component.dtype: Pipeline.dtype,
    Component.device: Pipeline.device,
}


def call_pipeline(
    interpreter: Interpreter,
    pipe: Pipeline | Unknown,
    given: Arguments,
    *,
    through_tgate: bool = False,
) -> Value:
    """Record a pipeline's call: the configuration as it is now, and the call's arguments."""
    if isinstance(pipe, Unknown):
        slots = _unknown_pipeline(pipe)
        values = _call_values(interpreter, pipe, given)
        arguments = _Given(values, given.open, interpreter.spend)
        slots.update(_call_fields(pipe, pipe, arguments))
    else:
        interpreter.spend(constants.size(pipe.settings) + constants.size(pipe.replaced))
        refusals.refuse_scheduler(pipe.scheduler)
        if not through_tgate and _signature(pipe.cls) is not _ANY:
            refusals.refuse_call(pipe.cls, _signature(pipe.cls), given)
        slots = pipeline_fields(pipe)
        slots["settings"] = _with_ambient(interpreter, pipe, slots["settings"])
        values = _call_values(interpreter, pipe.cls, given)
        tgate: dict[str, Value] | None = None
        if through_tgate:
            tgate = accelerators.tgate_arguments(pipe.tgate, values)
            interpreter.store.assign(pipe, Pipeline.tgated, True)
        slots["accelerators"] = _with_fed(accelerators.findings(interpreter, pipe, tgate), values)
        arguments = _Given(values, given.open, interpreter.spend)
        slots.update(_call_fields(pipe.cls, pipe.model_id, arguments))
    interpreter.record_call(Call(slots))
    return products.output(interpreter, dict(slots))


def _with_fed(own: Value, values: Slots) -> Value:
    """Return a call's accelerators with those of the calls whose outputs it is given."""
    fed = products.fed_accelerators(values)
    return AbstractDict({**own.slots, **fed}) if fed and isinstance(own, AbstractDict) else own


def pipeline_fields(pipe: Pipeline) -> Slots:
    """Return the fields that a pipeline has before it is called."""
    name, scheduler_arguments = schedulers.findings(pipe.scheduler, pipe.model_id)
    return {
        "pipeline": pipe.cls,
        "model_id": pipe.model_id,
        "scheduler": name,
        "scheduler_args": scheduler_arguments,
        "dtype": pipe.dtype,
        "device": pipe.device,
        "components": replaced_parts(pipe),
        "settings": _settings(pipe),
    }


def _settings(pipe: Pipeline) -> Value:
    """Return what was set on a pipeline, and what was done to each of its parts."""
    if not isinstance(pipe.settings, AbstractDict):
        return pipe.settings
    found: Slots = dict(pipe.settings.slots)
    if isinstance(pipe.options, AbstractDict):
        found |= pipe.options.slots
    for name in sorted(COMPONENTS & pipe.slots.keys()):
        part = pipe.slots[name]
        if isinstance(part, Unknown) and not _is_replaced(pipe, name):
            found[name] = part
        if not isinstance(part, Component):
            continue
        if Component.changed in part.slots:
            found[name] = part.changed
        for own, usual in _PART_SETTINGS.items():
            present = MISSING if usual is None else pipe.slots[usual]
            if own in part.slots and not same(part.slots[own], present):
                found[f"{name} {own.name}"] = part.slots[own]
    return AbstractDict(found)


def _is_replaced(pipe: Pipeline, name: str) -> bool:
    return not isinstance(pipe.replaced, AbstractDict) or name in pipe.replaced.slots


def _with_ambient(interpreter: Interpreter, pipe: Pipeline, settings: Value) -> Value:
    """Return a pipeline's settings with what holds around its call."""
    if not isinstance(settings, AbstractDict):
        return settings
    return AbstractDict({**settings.slots, **ambient_settings(interpreter, pipe)})


def _unknown_pipeline(pipe: Unknown) -> Slots:
    names = ("pipeline", "model_id", "scheduler", "scheduler_args", "accelerators")
    more = ("dtype", "device", "components", "settings")
    return dict.fromkeys((*names, *more), Unknown(pipe.why))


def _call_values(interpreter: Interpreter, cls: Value, given: Arguments) -> dict[str, Value]:
    """Return a call's arguments under their names."""
    named = given.named(_signature(cls).order, {})
    values = {name: products.as_of_now(interpreter, value) for name, value in named.items()}
    if "inference_step" in values and "num_inference_steps" not in values:
        interpreter.note(Why.STEPS_IGNORED())
        values["num_inference_steps"] = values.pop("inference_step")
    return values


_ANY = Signature(("prompt",), CALL_DEFAULTS, takes_more=False)


def _signature(cls: Value) -> Signature:
    return (call_of(cls) if isinstance(cls, str) else None) or _ANY


class _Given:
    """A call's arguments by name, taken one after the other.

    ``missing`` is set where there may be more of them.
    """

    def __init__(self, values: dict[str, Value], missing: Unknown | None, spend: Spend) -> None:
        self.values = values
        self._missing = missing
        self._spend = spend

    def take(self, name: str, default: Value) -> Value:
        """Take an argument out and return it; the default where none was given, or None."""
        value = clone(self.values.pop(name, None), self._spend)
        if isinstance(value, Lib) and not is_symbol(value):
            return Unknown(Why.SET_ELSEWHERE(name=value.path))
        return (self._missing or default) if value is None else value

    def drop(self, name: str, default: Value) -> None:
        """Leave an argument out that only says what holds anyway."""
        if name in self.values and is_default(self.values[name], default):
            del self.values[name]

    def options(self, signature: Signature) -> Value:
        """Return what is left over, as far as it changes anything."""
        if self._missing is not None:
            return self._missing
        known = signature.defaults
        return AbstractDict(
            {
                name: clone(value, self._spend)
                for name, value in self.values.items()
                if name not in NEUTRAL_CALL
                and not (signature.takes_more and name not in (*signature.order, LEGACY_CALLBACK))
                and not (name in known and is_default(value, known[name]))
                and not (name == "output_type" and value in DECODED)
                and not (name == LORA_SCALE and _is_whole(value))
            }
        )


def _is_whole(value: Value) -> bool:
    """Whether the weight given for adapters is the one that they have anyway."""
    return isinstance(value, AbstractDict) and (
        not value.slots or (value.slots.keys() == {"scale"} and is_default(value.slots["scale"], 1))
    )


def _call_fields(cls: Value, model_id: Value, given: _Given) -> Slots:
    """Return the fields that a call's arguments give."""
    signature, model = _signature(cls), model_of(model_id)
    size = _image_size(model_id)
    steps = _steps(given, _default_of(signature, cls, "num_inference_steps"))
    for name, other in SAME_AS.items():
        given.drop(name, given.values.get(other))
    prompt = _single(given.take("prompt", _embedded(given, "prompt_embeds")))
    batch = _batch(prompt, given.values)
    negative = given.take("negative_prompt", _embedded(given, "negative_prompt_embeds"))
    if batch == 1:
        negative = _single(negative)
    if negative == "" and empty_is_none(cls, model):
        negative = None
    height, width = given.take("height", size), given.take("width", size)
    if cls in SIZED:
        for name in SIZES:
            given.drop(name, (height, width))
    return {
        "steps": steps,
        "guidance": given.take("guidance_scale", _default_of(signature, cls, "guidance_scale")),
        "height": height,
        "width": width,
        "batch": batch,
        "images_per_prompt": given.take("num_images_per_prompt", 1),
        "prompt": prompt,
        "negative_prompt": negative,
        "call_options": given.options(signature),
    }


def _default_of(signature: Signature, cls: Value, name: str) -> Value:
    """Return what a pipeline class takes where a parameter is not given."""
    if name in signature.defaults:
        return signature.defaults[name]
    key = (name, cls) if isinstance(cls, str) else None
    return Unknown(Why.PIPELINE_DEFAULT(name=name), key)


def _embedded(given: _Given, name: str) -> Value:
    """Return what stands for a prompt that is not given as text."""
    embeddings = given.values.get(name)
    if embeddings is None:
        return None
    return Unknown(Why.PROMPT_EMBEDDINGS(), key_of(embeddings))


def _single(prompt: Value) -> Value:
    """Return the prompt alone where one stands in a list: the images are the same."""
    items = prompt.items if isinstance(prompt, AbstractList) else ()
    return items[0] if isinstance(items, tuple) and len(items) == 1 else prompt


def _image_size(model_id: Value) -> Value:
    model = model_of(model_id)
    if model and model.size:
        return model.size
    whose = key_of(model_id)
    return Unknown(Why.MODEL_IMAGE_SIZE(), None if whose is None else ("size", whose))


def _steps(given: _Given, default: Value) -> Value:
    """Return the number of steps; a schedule written out in full has as many as it is long."""
    steps = given.take("num_inference_steps", default)
    for name in ("timesteps", "sigmas"):
        schedule = given.values.get(name)
        if isinstance(schedule, AbstractList) and isinstance(schedule.items, tuple):
            steps = len(schedule.items)
    if isinstance(steps, float) and steps.is_integer():
        return Unknown(Why.FRACTIONAL_STEPS(), ("steps", steps))
    return steps


def _batch(prompt: Value, others: dict[str, Value]) -> Value:
    """Return the number of prompts in a call."""
    items = prompt.items if isinstance(prompt, AbstractList) else prompt
    if isinstance(items, tuple):
        return len(items)
    if isinstance(prompt, AbstractList):
        return Unknown(Why.PROMPT_LIST())
    if isinstance(prompt, str):
        return 1
    if isinstance(prompt, Unknown):
        return Unknown(prompt.why, prompt.key)
    return Unknown(Why.PROMPT_EMBEDDINGS()) if "prompt_embeds" in others else 1
