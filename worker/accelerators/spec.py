"""The contract of a method's declaration: all that the rest of the worker knows of the method.

Each method's file ends with ``SPEC = …``, an instance of a subclass of ``AcceleratorSpec``. Settings,
plan, labels, rows and the judge read it and name no method themselves. Nothing here, and nothing in
a method's file at import, needs torch: ``worker plan`` and ``worker check`` answer without it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from worker.accelerators.base import Accelerator
from worker.accelerators.recipe import NoRecipe, Recipe, Target
from worker.models.families.base import Architecture
from worker.models.task import Task
from worker.types import Opaque, Pipeline

if TYPE_CHECKING:  # pydantic takes longer to load than most commands run
    from worker.config.settings import PipelineSettings

Values = Mapping[str, Any]
"""A method's parameters by name, as a configuration holds them."""
Role = Literal["baseline", "control", "candidate"]
Simplified = tuple[dict[str, Any] | None, str | None]
"""The parameters that do the same, or None where nothing is done, and what was made simpler."""
Exclusion = Callable[[Values, Values], str | None]
"""Takes a method's own values and the other's; returns why both cannot act together, or None."""

REQUIRED: Any = ...


class Layer(IntEnum):
    """What of a pipeline a method changes; methods are installed from the inside out."""

    MODULE_CLASSES = 0
    """The classes of modules inside the denoiser's blocks."""
    ATTENTION = 1
    """The attention modules in these blocks."""
    GUIDANCE = 2
    """The pipeline's call: guidance, the size of the batch."""
    BLOCKS = 3
    """The blocks of the denoiser, with all that is inside them."""


@dataclass(frozen=True)
class Integer:
    """A whole number from ``least`` on."""

    least: int = 0


@dataclass(frozen=True)
class Number:
    """A number up to ``most``: from ``least`` on, or above ``above``."""

    most: float
    least: float | None = None
    above: float | None = None


@dataclass(frozen=True)
class Choice:
    """One of some whole numbers."""

    among: tuple[int, ...]


@dataclass(frozen=True)
class Flag:
    """On or off."""


@dataclass(frozen=True)
class StepCount:
    """A number of steps from 1 on, or a fraction of the task's; a configuration has UNet calls."""


Kind: TypeAlias = "Integer | Number | Choice | Flag | StepCount"


@dataclass(frozen=True)
class Parameter:
    """One parameter of a method, as a search section gives it."""

    name: str
    kind: Kind
    """What one value may be, with its range."""
    default: Any = REQUIRED
    """None: it may be left out, and then is in no configuration."""
    implied: bool = False
    """Whether configurations, and so labels and rows, leave it out where it has its default."""


@dataclass(frozen=True)
class Control:
    """Makes a method a control: measured in every sweep, beside no other method."""

    key: str
    """Under which ``search.controls`` lists values of the parameter."""
    parameter: str
    default: tuple[Any, ...]
    """Values where a search section lists none."""


@dataclass(frozen=True)
class Conditions:
    """What a method's parameters are checked against."""

    architecture: Architecture
    settings: PipelineSettings
    task: Task | None = None
    """None where steps and image size are not known yet."""
    gate: int | None = None
    """The UNet call from which on a method of the configuration drops guidance."""


@dataclass(frozen=True)
class Context:
    """What decides beside a method's own parameters what they do."""

    task: Task
    guided: bool
    """Whether the pipeline uses classifier-free guidance."""
    gate: int | None
    """The UNet call from which on a method of the configuration drops guidance."""
    full: frozenset[int]
    """The UNet calls in which the denoiser runs whole."""

    @property
    def skips(self) -> bool:
        """Whether there is a UNet call in which the denoiser does not run whole."""
        return len(self.full) < self.task.calls


@dataclass(frozen=True)
class Captured:
    """What a published package has done to a pipeline."""

    parameters: dict[str, Any] | None = None
    """The method's parameters; ``{"broken": why}`` where it cannot work; None: it is not there."""
    explained: frozenset[str] = frozenset()
    """The modules whose replaced ``forward`` is the package's."""
    unknown: tuple[str, ...] = ()
    """Anything about it that cannot be described."""


@dataclass(frozen=True)
class PublishedPackage:
    """The method's published package, as files that are judged use it."""

    name: str
    """As it is imported."""
    entry_points: tuple[str, ...]
    """Names in it that the judge knows; ``*`` stands for anything."""
    defaults: Mapping[str, object]
    """The package's parameters, in their positional order, with its own defaults."""
    variants: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """Entry points (``*`` as above) with other defaults."""

    def knows(self, name: str) -> bool:
        """Say whether a name is one of the package's entry points."""
        return any(fnmatchcase(name, pattern) for pattern in self.entry_points)

    def defaults_of(self, entry_point: str) -> Mapping[str, object]:
        """Return the parameters and defaults of what was called."""
        found = (
            defaults
            for pattern, defaults in self.variants.items()
            if fnmatchcase(entry_point, pattern)
        )
        return next(found, self.defaults)

    def as_searched(self, parameters: dict[str, Any], calls: int, guided: bool) -> dict[str, Any]:
        """Return the package's parameters as a search section would give them.

        Args:
            parameters: as the package takes them.
            calls: UNet calls that one image takes.
            guided: whether the pipeline computes classifier-free guidance.

        Raises:
            ValueError: no search section can; the message says why.
        """
        return parameters

    def capture(self, pipe: Pipeline, forwards: Mapping[str, Opaque]) -> Captured:
        """Return what the package has done to a pipeline.

        Args:
            pipe: the pipeline that a judged program built.
            forwards: path in the UNet to the function that stands in for the module's ``forward``.
        """
        return Captured()


class AcceleratorSpec(ABC):
    """What one method declares. Override what does not hold for it; the defaults suit most."""

    name: ClassVar[str]
    """In sweep files and rows."""
    title: ClassVar[str]
    """In labels and messages."""
    parameters: ClassVar[tuple[Parameter, ...]]
    layer: ClassVar[Layer]
    listed: ClassVar[int] = 100
    """Where it stands in labels, rows and plans; methods of the same number go by name."""
    control: ClassVar[Control | None] = None
    """None: it is a candidate."""
    denoisers: ClassVar[frozenset[str]] = frozenset({"unet"})
    """The parts of pipelines that it knows how to change, as families name their denoiser."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Distributions that have to be installed; rows tell their versions."""
    excludes: ClassVar[Mapping[str, Exclusion]] = MappingProxyType({})
    """Names of other methods beside which it may be impossible. One of the two declares it; it
    holds whichever is named first."""
    combinations: ClassVar[tuple[tuple[str, ...], ...]] = ()
    """Other methods with which it is tried where a search section names no configurations."""
    package: ClassVar[PublishedPackage | None] = None
    same_effect: ClassVar[str] = (
        "the same calls of the UNet are full and the same tokens are merged"
    )
    """What can be said of configurations that differ only in name: those of equal ``effect``."""

    @property
    def role(self) -> Role:
        """Whether a configuration with this method is a candidate or a control."""
        return "candidate" if self.control is None else "control"

    @abstractmethod
    def label(self, values: Values) -> str:
        """Return a short name, different for configurations that differ."""

    @abstractmethod
    def make(self, values: Values) -> Accelerator:
        """Return the method with all of its parameters, to be put on a pipeline."""

    def alone(self, architecture: Architecture) -> Values | None:
        """Return the values, or lists of them, that are tried where nothing is asked for."""
        return None

    def combined(self, architecture: Architecture) -> Values:
        """Return the values that are tried beside other methods where nothing is asked for."""
        return {}

    def incompatibility(self, values: Values, conditions: Conditions) -> str | None:
        """Return why these values cannot be right under these conditions, or None."""
        return None

    def simplify(self, values: dict[str, Any], context: Context) -> Simplified:
        """Return the simplest values that do the same. None for values: nothing is done at all."""
        return values, None

    def effect(self, values: Values, context: Context) -> Values:
        """Return plain data that is equal for values that do the same."""
        return values

    def gate(self, values: Values) -> int | None:
        """Return the UNet call from which on it drops guidance and halves the batch, if any."""
        return None

    def full_calls(self, values: Values, calls: int, gate: int | None) -> frozenset[int] | None:
        """Return the UNet calls in which the denoiser runs whole. None: it does in all of them.

        Args:
            values: the method's parameters.
            calls: UNet calls that one image takes.
            gate: the call from which on another method drops guidance.
        """
        return None

    def recipe(self, values: Values, target: Target) -> Recipe | NoRecipe:
        """Return how the published package does the same, or why it cannot.

        Args:
            values: the method's parameters, complete.
            target: the pipeline.
        """
        return NoRecipe(f"no published package makes the images of {self.title}")

    def complete(self, values: Values) -> dict[str, Any]:
        """Return the values with the defaults of those that are left out."""
        defaults = {
            parameter.name: parameter.default
            for parameter in self.parameters
            if parameter.default is not REQUIRED and parameter.default is not None
        }
        return defaults | dict(values)

    def reduced(self, values: Values) -> dict[str, Any]:
        """Return the values without those that go without saying."""
        implied = {item.name: item.default for item in self.parameters if item.implied}
        return {
            name: value
            for name, value in values.items()
            if not (name in implied and implied[name] == value)
        }

    def in_calls(self, values: Values, task: Task) -> dict[str, Any]:
        """Return the values of a search section with every amount of steps in UNet calls."""
        counted = {item.name for item in self.parameters if isinstance(item.kind, StepCount)}
        return {
            name: task.at(value) if name in counted else value for name, value in values.items()
        }
