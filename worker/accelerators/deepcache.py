"""DeepCache: reuse the deep features of the UNet between steps.

Xinyin Ma et al., "DeepCache: Accelerating Diffusion Models for Free", CVPR 2024. On a *full* call
the UNet runs whole, and the feature that enters the up path at the chosen branch is kept. On the
calls between, only the layers above the branch run.

Written from the paper: the package's helper (DeepCache 0.1.1) finds the step by the timestep's
value, which is wrong for schedulers that repeat one, keeps the output of every block alive, and
lacks the paper's non-uniform schedule. The branches are numbered as in the package, whose images
the tests compare with these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from worker.accelerators.base import Clock, Overrides
from worker.accelerators.recipe import NoRecipe, Recipe, Target, keywords
from worker.accelerators.spec import (
    AcceleratorSpec,
    Captured,
    Conditions,
    Context,
    Integer,
    Layer,
    Number,
    Parameter,
    PublishedPackage,
    Simplified,
    Values,
)
from worker.models.families.base import Architecture
from worker.types import Module, Opaque, Pipeline, Tensor

_POWER = 1.2
_LAYERS = 3  # of a down block, as branches are numbered: two resnets and the downsampler


def full_calls(
    calls: int,
    cache_interval: int,
    gate: int | None = None,
    center: int | None = None,
    power: float = _POWER,
) -> frozenset[int]:
    """Return the indices of the UNet calls that run whole.

    Args:
        calls: UNet calls that one image takes.
        cache_interval: one call in so many is full.
        gate: the call at which the batch is halved. The feature kept before it does not fit after
            it, and T-GATE needs every attention at the call before it: both are full, and the
            uniform schedule counts on from the gate.
        center: around which call the paper's non-uniform schedule is bent; without it the schedule
            is uniform.
        power: how strongly it is bent.

    Raises:
        ValueError: no non-uniform schedule has so many full calls.
    """
    # a gate behind the last call is never reached, so nothing is done for it
    reached = gate if gate is not None and gate < calls else None
    if center is not None:
        chosen = _bent(calls, -(-calls // cache_interval), center, power)
    else:
        start = reached or 0
        chosen = set(range(0, start, cache_interval)) | set(range(start, calls, cache_interval))
    if reached is not None:
        chosen |= {call for call in (reached - 1, reached) if call >= 0}
    return frozenset(chosen)


def _bent(calls: int, count: int, center: int, power: float) -> set[int]:
    """Return the ``count`` full calls of the non-uniform schedule (section 3.3 of the paper).

    Points that lie evenly between the ``power``-th roots of the first and the last call, counted
    from the center, raised to that power again. As in the authors' released pipelines
    (``sample_from_quad_center``, in the wheel of DeepCache 0.1.1), whose published numbers these
    are, a negative number's root is its principal one, which is complex; and the power is lowered
    until the points are so many different calls.

    Raises:
        ValueError: they never are.
    """
    while power > 1:
        low, high = complex(-center) ** (1 / power), complex(calls - center) ** (1 / power)
        points = (low + (high - low) * n / count for n in range(count + 1))
        inner = sorted({int((point**power).real) for point in points})[1:-1]
        chosen = {0, *(call + center for call in inner)}
        if len(chosen) == count:
            return chosen
        power -= 0.02
    raise ValueError(
        f"no non-uniform schedule around UNet call {center} has {count} full calls of {calls}: "
        "choose a smaller center or another interval"
    )


class DeepCache:
    """DeepCache on the UNet of a Stable Diffusion pipeline."""

    def __init__(
        self,
        cache_interval: int,
        cache_branch_id: int = 0,
        center: int | None = None,
        power: float = _POWER,
    ) -> None:
        self.cache_interval = cache_interval
        self.block, self.layer = divmod(cache_branch_id, _LAYERS)
        self.center = center
        self.power = power
        self._overrides = Overrides()
        self._feature: Tensor = None
        self._full: frozenset[int] = frozenset()
        self._clock = Clock()
        self._skipping = False
        self._resnets = 2

    def prepare(self, pipe: Pipeline, clock: Clock) -> None:
        """Replace ``forward`` in the blocks and layers that a call between full ones leaves out."""
        self._clock = clock
        unet = pipe.unet
        depth = len(unet.down_blocks)
        self._resnets = len(unet.down_blocks[self.block].resnets)
        for block in unet.down_blocks[self.block + 1 :]:
            self._pass_by_down_block(block)
        self._pass_by(unet.mid_block)
        for block in unet.up_blocks[: depth - 1 - self.block]:
            self._pass_by(block)
        self._cut_down_block(unet.down_blocks[self.block])
        self._cut_up_block(unet.up_blocks[depth - 1 - self.block])

    def install(self) -> None:
        """Put the replacements in."""
        self._overrides.install()

    def begin(self, seed: int) -> None:
        """Forget the last image's feature and lay out the schedule for the next image."""
        self._feature = None
        self._full = full_calls(
            self._clock.calls, self.cache_interval, self._clock.gate, self.center, self.power
        )
        self._clock.full = self._full if len(self._full) < self._clock.calls else None

    def step(self) -> None:
        """Decide whether this call is full."""
        self._skipping = self._clock.call not in self._full

    def remove(self) -> None:
        """Put every ``forward`` back and let the feature go."""
        self._overrides.restore()
        self._feature = None

    def _pass_by(self, module: Module) -> None:
        """Let a block below the branch hand on its input: nothing reads it."""
        original = module.forward

        def forward(hidden_states: Tensor, *args: Opaque, **kwargs: Opaque) -> Opaque:
            if self._skipping:
                return hidden_states
            return original(hidden_states, *args, **kwargs)

        self._overrides.forward(module, forward)

    def _pass_by_down_block(self, block: Module) -> None:
        """Do the same for a down block, which also returns one residual for each of its layers."""
        original = block.forward
        residuals = len(block.resnets) + len(block.downsamplers or ())

        def forward(hidden_states: Tensor, *args: Opaque, **kwargs: Opaque) -> Opaque:
            if self._skipping:
                return hidden_states, (hidden_states,) * residuals
            return original(hidden_states, *args, **kwargs)

        self._overrides.forward(block, forward)

    def _cut_down_block(self, block: Module) -> None:
        """Leave out the branch's down layers from the branch on.

        Their output has the right height and width and no channels, so that the concatenations on
        the way cost nothing.
        """
        attentions = getattr(block, "attentions", None) or ()
        for module in block.resnets[self.layer :]:
            self._replace(module, lambda hidden_states: hidden_states[:, :0])
        for module in attentions[self.layer :]:
            self._replace(module, lambda hidden_states: (hidden_states[:, :0],))
        for module in block.downsamplers or ():
            self._replace(module, lambda hidden_states: hidden_states[:, :0])

    def _cut_up_block(self, block: Module) -> None:
        """Start the branch's up block at the branch, with the kept feature."""
        attentions = getattr(block, "attentions", None) or ()
        left_out = len(block.resnets) - 1 - self.layer
        if left_out <= 0:
            self._feed_block(block, lambda hidden_states, _residuals: self._kept(hidden_states))
            return
        self._feed_block(block, lambda _hidden_states, residuals: residuals[-1][:, :0])
        for module in block.resnets[: left_out - 1 if not attentions else left_out]:
            self._replace(module, lambda hidden_states: hidden_states[:, :0])
        for module in attentions[: left_out - 1]:
            self._replace(module, lambda hidden_states: (hidden_states[:, :0],))
        last = attentions[left_out - 1] if attentions else block.resnets[left_out - 1]
        self._keep_output(last)

    def _replace(self, module: Module, placeholder: Callable[[Tensor], Opaque]) -> None:
        original = module.forward

        def forward(hidden_states: Tensor, *args: Opaque, **kwargs: Opaque) -> Opaque:
            if self._skipping:
                return placeholder(hidden_states)
            return original(hidden_states, *args, **kwargs)

        self._overrides.forward(module, forward)

    def _keep_output(self, module: Module) -> None:
        original = module.forward

        def forward(*args: Opaque, **kwargs: Opaque) -> Opaque:
            if not self._skipping:
                self._feature = original(*args, **kwargs)
            return self._feature

        self._overrides.forward(module, forward)

    def _feed_block(self, block: Module, entry: Callable[[Tensor, Opaque], Tensor]) -> None:
        """Choose what enters an up block: ``entry(hidden states, residuals)`` when skipping."""
        original = block.forward

        def forward(
            hidden_states: Tensor, res_hidden_states_tuple: Tensor, *args: Opaque, **kwargs: Opaque
        ) -> Opaque:
            if self._skipping:
                hidden_states = entry(hidden_states, res_hidden_states_tuple)
            else:
                self._entered(hidden_states)
            return original(hidden_states, res_hidden_states_tuple, *args, **kwargs)

        self._overrides.forward(block, forward)

    def _kept(self, _hidden_states: Tensor) -> Opaque:
        return self._feature

    def _entered(self, hidden_states: Tensor) -> None:
        # the last layer of a block is a branch of its own: what is kept there is the block's input
        if self.layer >= self._resnets:
            self._feature = hidden_states


def branches(architecture: Architecture) -> int:
    """Return how many branches a UNet has.

    As the package numbers them: a down block with fewer layers has the same numbers, the last of
    which then are one branch (``same_branch``).
    """
    return _LAYERS * architecture.blocks


def same_branch(architecture: Architecture, branch: int) -> int:
    """Return the lowest number of the branch that has this number."""
    block, layer = divmod(branch, _LAYERS)
    return _LAYERS * block + min(layer, architecture.layers)


class _Package(PublishedPackage):
    """The authors' package; its helper wraps ``forward`` in every block and layer."""

    def as_searched(self, parameters: dict[str, Any], calls: int, guided: bool) -> dict[str, Any]:
        """Return the parameters without ``skip_mode``, of which the helper has one only."""
        if parameters.pop("skip_mode", "uniform") != "uniform":
            raise ValueError("DeepCache's helper has no other skip_mode than uniform")
        return parameters

    def capture(self, pipe: Pipeline, forwards: Mapping[str, Opaque]) -> Captured:
        """Find the helper in what its wrappers close over."""
        helpers = {path: _helper(forward) for path, forward in forwards.items()}
        explained = frozenset(path for path, helper in helpers.items() if helper is not None)
        found = list(
            {id(helpers[path]): helpers[path] for path in forwards if path in explained}.values()
        )
        if not found:
            return Captured()
        twice = ("unet: wrapped by more than one DeepCache",) if len(found) > 1 else ()
        return Captured(_parameters(found[-1]), explained, twice)


def _helper(forward: Opaque) -> Opaque:
    """Return the helper whose wrapper a function is, None if it is another function."""
    import inspect

    try:
        inner = inspect.getclosurevars(forward).nonlocals
    except TypeError:
        return None
    helper = inner.get("self")
    return helper if isinstance(getattr(helper, "cached_output", None), dict) else None


def _parameters(helper: Opaque) -> dict[str, Any]:
    params = getattr(helper, "params", None)
    if params is None:
        return {"broken": "set_params missing"}
    return {
        "cache_interval": params["cache_interval"],
        "cache_branch_id": _LAYERS * params["cache_block_id"] + params["cache_layer_id"],
        "skip_mode": params["skip_mode"],
    }


class _DeepCacheSpec(AcceleratorSpec):
    """``center`` and ``power`` choose the paper's non-uniform schedule."""

    name = "deepcache"
    title = "DeepCache"
    parameters = (
        Parameter("cache_interval", Integer(1)),
        Parameter("cache_branch_id", Integer(), default=0),
        Parameter("center", Integer(), default=None),
        Parameter("power", Number(above=1, most=4), default=None),
    )
    layer = Layer.BLOCKS
    listed = 0
    combinations = (("tgate",), ("tome",), ("tome", "tgate"))
    package = _Package(
        "DeepCache",
        entry_points=("DeepCacheSDHelper",),
        defaults={"cache_interval": 1, "cache_branch_id": 0, "skip_mode": "uniform"},
    )

    def label(self, values: Values) -> str:
        text = f"DeepCache {values['cache_interval']}/{values['cache_branch_id']}"
        if "center" not in values:
            return text
        bent = f" power {values['power']}" if "power" in values else ""
        return f"{text} non-uniform around {values['center']}{bent}"

    def make(self, values: Values) -> DeepCache:
        return DeepCache(**values)

    def alone(self, architecture: Architecture) -> Values:
        return {"cache_interval": [2, 3, 5]}

    def combined(self, architecture: Architecture) -> Values:
        return {"cache_interval": 3}

    def incompatibility(self, values: Values, conditions: Conditions) -> str | None:
        branch, architecture = values.get("cache_branch_id", 0), conditions.architecture
        if branch >= branches(architecture):
            return (
                f"cache_branch_id {branch} does not exist: a UNet of the {architecture.name} "
                f"architecture has branches 0 to {branches(architecture) - 1}"
            )
        center, task = values.get("center"), conditions.task
        if center is None or task is None:
            return None
        if center >= task.calls:
            return f"center {center} is not one of the {task.calls} UNet calls"
        try:
            self.full_calls(values, task.calls, conditions.gate)
        except ValueError as error:
            return str(error)
        return None

    def simplify(self, values: dict[str, Any], context: Context) -> Simplified:
        task = context.task
        if values["cache_interval"] == 1:
            return None, "with cache_interval 1 DeepCache reuses nothing"
        if not context.skips:
            return None, f"each of the {task.calls} UNet calls is full, so DeepCache reuses nothing"
        because = []
        if "power" in values and "center" not in values:
            del values["power"]
            because.append("power only bends the non-uniform schedule, which center chooses")
        if values["cache_interval"] > task.calls:
            values["cache_interval"] = task.calls
            because.append(f"only the first of {task.calls} UNet calls is full either way")
        branch = values["cache_branch_id"]
        same = same_branch(task.pipe.architecture, branch)
        if same != branch:
            values["cache_branch_id"] = same
            because.append(
                f"a block of {task.pipe.name} has fewer layers, so {branch} is branch {same}"
            )
        return values, "; ".join(because) or None

    def effect(self, values: Values, context: Context) -> Values:
        full = self.full_calls(values, context.task.calls, context.gate)
        return {"branch": values["cache_branch_id"], "full": sorted(full)}

    def recipe(self, values: Values, target: Target) -> Recipe | NoRecipe:
        if "center" in values:
            return NoRecipe("DeepCache 0.1.1 has only the uniform schedule")
        if target.repeats_timesteps:
            return NoRecipe(
                "DeepCache 0.1.1 tells steps by the value of their timestep, which "
                f"{target.sched.name} may repeat"
            )
        return Recipe(
            ["from DeepCache import DeepCacheSDHelper"],
            [
                "helper = DeepCacheSDHelper(pipe=pipe)",
                f"helper.set_params({keywords(values)})",
                "helper.enable()",
            ],
        )

    def full_calls(self, values: Values, calls: int, gate: int | None) -> frozenset[int]:
        schedule = {key: values[key] for key in ("center", "power") if key in values}
        return full_calls(calls, values["cache_interval"], gate, **schedule)


SPEC = _DeepCacheSpec()
