"""Calls that a pipeline certainly refuses: arguments that it does not take, or checks and rejects.

Each follows ``check_inputs`` and the first lines of the calls in diffusers. What is not certain is
let pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from worker.judging.facts.call_arguments import LEGACY_CALLBACK, NEUTRAL_CALL, types_must_agree
from worker.judging.facts.signatures import Signature
from worker.judging.reasons.codes import Why
from worker.judging.static.arguments import Arguments
from worker.judging.static.interpreter.interpreter import Raised
from worker.judging.static.objects import AbstractDict, AbstractList
from worker.judging.static.values import Lib, Value, is_constant

# The families whose calls check a prompt alike.
_FAMILIES = ("StableDiffusion", "Flux", "PixArt", "LatentConsistency")
# Those that divide the size by eight without rounding.
_EIGHTHS = frozenset({"StableDiffusionPipeline", "StableDiffusionXLPipeline"})


def refuse_scheduler(scheduler: Value) -> None:
    """Raise if what stands for the noise scheduler is a class, or nothing that could be one."""
    is_class = isinstance(scheduler, Lib) and scheduler.root == "diffusers"
    if is_class or is_constant(scheduler):
        raise Raised("TypeError", Why.NOT_A_SCHEDULER())


def refuse_twice(order: Sequence[str], given: Arguments) -> None:
    """Raise if an argument is given both by its place and by its name."""
    twice = given.keywords.keys() & set(order[: len(given.positional)])
    if twice:
        raise Raised("TypeError", Why.GIVEN_TWICE(name=min(twice)))


def refuse_call(cls: Value, signature: Signature, given: Arguments) -> None:
    """Raise if a pipeline of this class certainly refuses these arguments."""
    if len(given.positional) > len(signature.order):
        raise Raised("TypeError", Why.TOO_MANY_ARGUMENTS(function=cls))
    refuse_twice(signature.order, given)
    unexpected = given.keywords.keys() - set(signature.order) - NEUTRAL_CALL - {LEGACY_CALLBACK}
    if unexpected and not signature.takes_more:
        raise Raised("TypeError", Why.TAKES_NO(function=cls, name=min(unexpected)))
    if given.open is not None or not isinstance(cls, str) or not cls.startswith(_FAMILIES):
        return
    values = {**signature.defaults, **given.named(signature.order, {})}
    for name, is_wrong in _CHECKS.items():
        if name in signature.order and is_wrong(cls, values):
            raise Raised("ValueError", Why.REFUSES(cls=cls, name=name))


def _prompt(cls: str, values: dict[str, Value]) -> bool:
    prompt, embeddings = values.get("prompt"), values.get("prompt_embeds")
    if "prompt_embeds" not in values or "prompt" not in values:
        return False
    if (prompt is None) == (embeddings is None):
        return True
    other = isinstance(prompt, AbstractDict) or (is_constant(prompt) and prompt is not None)
    return other and not isinstance(prompt, str)


def _negative(cls: str, values: dict[str, Value]) -> bool:
    prompt, negative = values.get("prompt"), values.get("negative_prompt")
    guidance = values.get("guidance_scale")
    if not types_must_agree(cls) or not isinstance(guidance, (int, float)) or guidance <= 1:
        return False
    lists = [isinstance(item, AbstractList) for item in (prompt, negative)]
    texts = [isinstance(item, str) for item in (prompt, negative)]
    return (lists[0] and texts[1]) or (texts[0] and lists[1])


def _strength(cls: str, values: dict[str, Value]) -> bool:
    strength = values.get("strength")
    return isinstance(strength, (int, float)) and not 0 <= strength <= 1


def _size(name: str) -> Callable[[str, dict[str, Value]], bool]:
    def is_wrong(cls: str, values: dict[str, Value]) -> bool:
        size = values.get(name)
        return isinstance(size, str) or (
            cls in _EIGHTHS and isinstance(size, (int, float)) and size % 8 != 0
        )

    return is_wrong


def _no_text(name: str) -> Callable[[str, dict[str, Value]], bool]:
    return lambda cls, values: isinstance(values.get(name), str)


def _generators(cls: str, values: dict[str, Value]) -> bool:
    """Whether there is another number of random generators than of images."""
    generators, each = values.get("generator"), values.get("num_images_per_prompt", 1)
    if isinstance(generators, (int, str)):
        return True
    prompts = values.get("prompt")
    if not isinstance(generators, AbstractList) or not isinstance(generators.items, tuple):
        return False
    items = prompts.items if isinstance(prompts, AbstractList) else (prompts,)
    if not isinstance(items, tuple) or not all(isinstance(item, str) for item in items):
        return False
    if not cls.startswith("StableDiffusion") or not isinstance(each, int):
        return False
    return len(generators.items) != len(items) * each


_CHECKS: dict[str, Callable[[str, dict[str, Value]], bool]] = {
    "prompt": _prompt,
    "negative_prompt": _negative,
    "strength": _strength,
    "height": _size("height"),
    "width": _size("width"),
    "num_inference_steps": _no_text("num_inference_steps"),
    "guidance_scale": _no_text("guidance_scale"),
    "generator": _generators,
}
