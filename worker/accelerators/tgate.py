"""T-GATE: after a gate step, reuse cross-attention and drop guidance.

Wentian Zhang, Haozhe Liu et al., "Faster Diffusion via Temporal Attention Decomposition", 2024.
Before the gate (the semantics-planning phase) self-attention may be reused between steps; at the
gate the cross-attention's outputs, averaged over the unconditional and the conditional half, are
kept; after it (the fidelity-improving phase) they stand in for cross-attention, and the
unconditional half is no longer computed. Where a pipeline computes no unconditional half, every
image's own outputs are kept.

Written from the paper: the authors' package (tgate 1.0.0) replaces the pipeline's call and never
undoes it, ignores attention processors, and without guidance averages the images of a batch with
each other. Its images are what the tests compare these with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from worker.accelerators.base import Clock, Overrides
from worker.accelerators.recipe import NoRecipe, Target
from worker.accelerators.spec import (
    REQUIRED,
    AcceleratorSpec,
    Captured,
    Context,
    Exclusion,
    Integer,
    Layer,
    Parameter,
    PublishedPackage,
    Simplified,
    StepCount,
    Values,
)
from worker.models.families.base import Architecture
from worker.types import Module, Opaque, Pipeline, Tensor

_CROSS, _SELF = "cross", "self"


class TGate:
    """T-GATE on the attention modules of a pipeline's UNet.

    Args:
        gate_step: first UNet call without cross-attention and guidance; at least 1.
        sp_interval: before the gate, compute self-attention once in so many calls.
        fi_interval: after the gate, the same.
        warm_up: compute self-attention in each of the first so many calls.

    Beside DeepCache, self-attention is also computed in every call in which the UNet runs whole:
    the deep layers run in no other, so what they kept would be old by whole cache intervals.
    """

    def __init__(self, gate_step: int, sp_interval: int, fi_interval: int, warm_up: int) -> None:
        self.gate_step = gate_step
        self.sp_interval = sp_interval
        self.fi_interval = fi_interval
        self.warm_up = warm_up
        self._clock = Clock()
        self._pipe: Pipeline = None
        self._kept: dict[int, Tensor] = {}
        self._averages = False
        self._reuses = {_CROSS: False, _SELF: False}
        self._keeps = {_CROSS: False, _SELF: False}
        self._overrides = Overrides()

    def prepare(self, pipe: Pipeline, clock: Clock) -> None:
        """Replace ``forward`` of every attention in the UNet, and announce the gate."""
        from diffusers.models.attention_processor import Attention

        self._clock, self._pipe = clock, pipe
        clock.gate = self.gate_step
        # behind the gate the text acts through the kept outputs alone; SDXL's pooled embedding is
        # the unconditional one there, as in the authors' package
        clock.gate_half = 0
        for index, module in enumerate(pipe.unet.modules()):
            if isinstance(module, Attention):
                self._gate(module, index)

    def install(self) -> None:
        """Put the replacements in."""
        self._overrides.install()

    def begin(self, seed: int) -> None:
        """Forget the last image's attention."""
        self._kept.clear()

    def step(self) -> None:
        """Decide which attention this call reuses, and which it keeps."""
        call = self._clock.call
        behind, before_gate = call >= self.gate_step, call == self.gate_step - 1
        interval = self.fi_interval if behind else self.sp_interval
        warm = behind or call > self.warm_up
        refreshed = self._clock.full is not None and call in self._clock.full
        # asked here, inside the pipeline's call, which sets what its property goes by
        self._averages = before_gate and self._pipe.do_classifier_free_guidance
        self._reuses = {
            _CROSS: behind,
            _SELF: warm and not before_gate and not refreshed and call % interval != 0,
        }
        self._keeps = {
            _CROSS: before_gate,
            _SELF: self.fi_interval > 1 if before_gate else interval > 1 and call >= self.warm_up,
        }

    def remove(self) -> None:
        """Put every ``forward`` back and let the kept outputs go."""
        self._overrides.restore()
        self._kept.clear()

    def _gate(self, attention: Module, key: int) -> None:
        original = attention.forward
        kept = self._kept

        def forward(
            hidden_states: Tensor,
            encoder_hidden_states: Tensor = None,
            *args: Opaque,
            **kwargs: Opaque,
        ) -> Opaque:
            kind = _SELF if encoder_hidden_states is None else _CROSS
            if self._reuses[kind] and key in kept:
                return kept[key]
            output = original(hidden_states, encoder_hidden_states, *args, **kwargs)
            if self._keeps[kind]:
                kept[key] = _mean_of_halves(output) if self._averages else output
            return output

        self._overrides.forward(attention, forward)


def _mean_of_halves(output: Tensor) -> Tensor:
    """Return the mean of the unconditional and the conditional half: it fits behind the gate."""
    unconditional, conditional = output.chunk(2)
    return (unconditional + conditional) / 2


UNDER_WAY, CALLED = "_judged_tgate", "_judged_tgated"
"""Attributes that the package's stand-in sets: for the length of one call, and after one."""


class _Package(PublishedPackage):
    """The authors' package: its loaders give a pipeline a ``tgate`` method."""

    def as_searched(self, parameters: dict[str, Any], calls: int, guided: bool) -> dict[str, Any]:
        """Return the parameters, unless they are of an earlier call, or the call fails with them."""
        if "left over" in parameters:
            raise ValueError("its plain call reuses what an earlier call through T-GATE left")
        apart = parameters.pop(APART, False)
        gate = parameters.get("gate_step")  # which may be anything: it is checked later
        reached = not isinstance(gate, int) or gate <= calls
        if reached and not guided and not apart:
            raise ValueError(
                "its pipeline computes no classifier-free guidance, and tgate takes the halves of its "
                "batch for guided and unguided: it averages different images, or fails; the call of "
                f"TgateSDXLLoader with {APART}=True does not"
            )
        if reached and guided and apart:
            raise ValueError(
                f"tgate fails with {APART}=True where the pipeline computes classifier-free guidance"
            )
        return parameters

    def capture(self, pipe: Pipeline, forwards: Mapping[str, Opaque]) -> Captured:
        """Read what the package's stand-in noted on the pipeline."""
        noted = vars(pipe)
        if UNDER_WAY in noted:
            return Captured(dict(noted[UNDER_WAY]))
        return Captured({"left over": True} if CALLED in noted else None)


APART = "lcm"
"""The argument of SDXL's ``tgate`` that keeps the images of a batch apart at the gate."""


def described(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call's parameters as files are told apart by them: without what is off."""
    return {
        name: value for name, value in parameters.items() if not (name == APART and value is False)
    }


DEEPCACHE_LOADER_DEFAULTS = {"cache_interval": 3, "cache_branch_id": 0}
"""What the package's loaders with DeepCache enable it with; they take these after the pipeline."""
_DEFAULTS = {"gate_step": 10, "sp_interval": 5, "fi_interval": 1, "warm_up": 2}
PACKAGE = _Package(
    "tgate",
    entry_points=("Tgate*",),
    defaults=_DEFAULTS,
    variants={
        "TgateSDXLLoader": _DEFAULTS | {APART: False},
        "Tgate*DeepCacheLoader": {
            "gate_step": 10,
            "sp_interval": 1,
            "fi_interval": 1,
            "warm_up": 0,
        },
    },
)


def _beside_tome(tgate: Values, tome: Values) -> str | None:
    if tome.get("merge_crossattn", False):
        return (
            "ToMe draws new merges at every call, so cross-attention kept by T-GATE would land on "
            "the wrong tokens: leave merge_crossattn off beside T-GATE"
        )
    if max(tgate.get("sp_interval", 1), tgate.get("fi_interval", 1)) > 1:
        return (
            "ToMe draws new merges at every call, so self-attention kept by T-GATE would land on "
            "the wrong tokens: use sp_interval 1 and fi_interval 1 beside ToMe"
        )
    return None


class _TGateSpec(AcceleratorSpec):
    """Parameters are named as in the authors' package."""

    name = "tgate"
    title = "T-GATE"
    parameters = (
        Parameter("gate_step", StepCount()),
        Parameter("sp_interval", Integer(1), default=1),
        Parameter("fi_interval", Integer(1), default=1),
        Parameter("warm_up", Integer(), default=0),
    )
    layer = Layer.ATTENTION
    listed = 2
    excludes: ClassVar[Mapping[str, Exclusion]] = {"tome": _beside_tome}
    package = PACKAGE

    def label(self, values: Values) -> str:
        words = {"sp_interval": "sp", "fi_interval": "fi", "warm_up": "warm-up"}
        changed = [
            f" {words[item.name]} {values[item.name]}"
            for item in self.parameters
            if item.default is not REQUIRED and values[item.name] != item.default
        ]
        return f"T-GATE {values['gate_step']}{''.join(changed)}"

    def make(self, values: Values) -> TGate:
        return TGate(**values)

    def alone(self, architecture: Architecture) -> Values:
        return {"gate_step": 0.4}

    def combined(self, architecture: Architecture) -> Values:
        return {"gate_step": 0.4}

    def simplify(self, values: dict[str, Any], context: Context) -> Simplified:
        calls = context.task.calls
        gate, warm_up = values["gate_step"], values["warm_up"]
        # where another method skips calls, self-attention is computed in every full one, whatever
        # the intervals say
        refreshed = context.full if context.skips else frozenset()
        planning = set(range(warm_up + 1, min(gate - 1, calls))) - refreshed
        if all(call % values["sp_interval"] == 0 for call in planning):
            values |= {"sp_interval": 1, "warm_up": 0}
        improving = set(range(gate, calls)) - refreshed
        if all(call % values["fi_interval"] == 0 for call in improving):
            values["fi_interval"] = 1
        if gate < calls:
            return values, None
        reason = f"gate_step {gate} is not before the last of {calls} UNet calls"
        if values["sp_interval"] == 1:
            return None, reason
        # at the gate itself self-attention is computed; one behind the end is like any other
        return values | {"gate_step": min(gate, calls + 1)}, reason

    def recipe(self, values: Values, target: Target) -> NoRecipe:
        return NoRecipe(
            "tgate 1.0.0 stays on the pipeline for good, fails without guidance, and knows no other "
            "method than DeepCache beside it"
        )

    def gate(self, values: Values) -> int:
        gate: int = values["gate_step"]
        return gate


SPEC = _TGateSpec()
