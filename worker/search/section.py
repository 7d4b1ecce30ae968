"""The ``search:`` section of a sweep file: what to try, on what, and how to measure it.

What can stand under ``configurations`` and ``controls`` follows from the methods' declarations.
Validated by pydantic; nothing here imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    WrapValidator,
    create_model,
    field_serializer,
    model_validator,
)
from pydantic_core import ErrorDetails
from typing_extensions import Self

from worker.accelerators.registry import specs
from worker.accelerators.spec import (
    AcceleratorSpec,
    Choice,
    Flag,
    Integer,
    Kind,
    Number,
    Parameter,
    StepCount,
)
from worker.config.settings import (
    Clip,
    OneOrMany,
    PipelineSettings,
    Section,
    Stability,
    Steps,
    Timing,
    time_to_measure,
    timing_section,
)
from worker.config.span import Span, as_written, span_or
from worker.errors import nearest
from worker.models.families.base import Pipe

# characters of a sentence about a value
_LONGEST = 400


def _annotation(kind: Kind) -> Any:
    """Return the type of one value as pydantic reads it."""
    if isinstance(kind, Integer):
        return Annotated[int, Field(ge=kind.least)]
    if isinstance(kind, Number):
        return Annotated[float, Field(ge=kind.least, gt=kind.above, le=kind.most)]
    if isinstance(kind, Choice):
        return Annotated[Literal[kind.among], BeforeValidator(_whole_number)]
    return bool if isinstance(kind, Flag) else Steps


def _whole_number(value: object) -> object:
    """Let only whole numbers pass: to a choice of numbers ``true`` and ``1.0`` would be 1."""
    if isinstance(value, (bool, float)):
        raise ValueError(f"expected a whole number, found {value!r}")  # noqa: TRY004  # pydantic's
    return value


def _field(parameter: Parameter) -> tuple[Any, Any]:
    """Return a parameter's annotation and default, as pydantic's ``create_model`` takes them."""
    generic: Any = OneOrMany
    one = _annotation(parameter.kind)
    values = generic[one]
    if isinstance(parameter.kind, (Integer, Number, StepCount)):
        read_end = TypeAdapter(one, config={"strict": True}).validate_python
        values = Annotated[values, WrapValidator(span_or(read_end)), PlainSerializer(as_written)]
    return (values | None if parameter.default is None else values), parameter.default


def _grid(spec: AcceleratorSpec) -> type[Section]:
    """Return the section of one method: each parameter one value, or a list to try each."""
    fields: dict[str, Any] = {item.name: _field(item) for item in spec.parameters}
    return create_model(f"{spec.name}_grid", __base__=Section, **fields)


def _configuration_grid() -> type[Section]:
    """Return the section of methods that act together; every list in it is an axis."""
    candidates = (spec for spec in specs().values() if spec.role == "candidate")
    fields: dict[str, Any] = {spec.name: (_grid(spec) | None, None) for spec in candidates}
    return create_model("ConfigurationGrid", __base__=Section, **fields)


def _controls() -> type[Section]:
    """Return the section of what every method has to beat, and how much chance alone does."""
    fields: dict[str, Any] = {"fewer_steps": (list[Steps], [0.5, 0.3])}
    for spec in specs().values():
        if spec.control is not None:
            kinds = {parameter.name: parameter.kind for parameter in spec.parameters}
            generic: Any = list
            values = generic[_annotation(kinds[spec.control.parameter])]
            fields[spec.control.key] = (values, list(spec.control.default))
    fields["null_arm"] = (bool, True)
    return create_model("Controls", __base__=Section, **fields)


if TYPE_CHECKING:  # the fields are known at run time only
    ConfigurationGrid: TypeAlias = Section
    Controls: TypeAlias = Section
else:
    ConfigurationGrid = _configuration_grid()
    Controls = _controls()


Wants = Literal["frontier", "fastest", "target"]


class Search(Section):
    """The whole section; everything has a default."""

    configurations: list[ConfigurationGrid] | None = None
    controls: Controls = Controls()
    captions: Annotated[str, Field(min_length=1)] | None = None
    clip: Clip | None = None
    lpips: Annotated[str, Field(min_length=1)] | None = None
    fid: Annotated[str, Field(min_length=1)] | None = None
    models: dict[str, Annotated[str, Field(min_length=1)]] = {}  # noqa: RUF012  # pydantic copies it
    weights: Literal["pretrained", "random"] = "pretrained"
    image_size: Annotated[int, Field(ge=8, le=65536, multiple_of=8)] | None = None
    guidance_scale: Annotated[float, Field(ge=0)] | None = None
    dtype: Literal["float32", "float16", "bfloat16"] | None = None
    settings: PipelineSettings = PipelineSettings()
    timing: Annotated[Timing, BeforeValidator(timing_section)] = Timing()
    stability: Stability | None = None
    keep_images: Annotated[int, Field(ge=0, le=64)] = 2
    max_loss: Annotated[float, Field(gt=0, lt=1)] = 0.05
    strategy: Literal["grid", "adaptive"] = "grid"
    proposals: Annotated[int, Field(ge=1, le=100_000)] | None = None
    target_speedup: Annotated[float, Field(gt=1)] | None = None
    budget: Annotated[float, BeforeValidator(time_to_measure)] | None = None

    @model_validator(mode="after")
    def _strategy_fits(self) -> Self:
        adaptive = self.strategy == "adaptive"
        for name in ("target_speedup", "budget"):
            if not adaptive and getattr(self, name) is not None:
                raise ValueError(
                    f"{name} ends an adaptive search: set strategy: adaptive, or leave it out"
                )
        if not adaptive and self.proposals is not None:
            raise ValueError("proposals are an adaptive search's: set strategy: adaptive")
        if not adaptive and (key := self._range()) is not None:
            raise ValueError(
                f"configurations.{key} is a range, of which an adaptive search proposes values: set "
                "strategy: adaptive, or name the values"
            )
        if adaptive and self.timing.is_off:
            raise ValueError("strategy: adaptive goes by speed, which timing: off does not measure")
        if adaptive and self.weights == "random":
            raise ValueError(
                "strategy: adaptive compares images, which mean nothing with weights: random"
            )
        if adaptive and self.stability is not None:
            raise ValueError(
                "stability measures a grid's frontier again, and strategy: adaptive confirms what it "
                "chose instead: leave stability out, or set strategy: grid"
            )
        if adaptive and self.configurations == []:
            raise ValueError("strategy: adaptive has nothing to choose from: name configurations")
        return self

    def _range(self) -> str | None:
        """Return the key of the first range under ``configurations``, None where there is none."""
        found = (
            f"{number}.{name}.{key}"
            for number, grid in enumerate(self.configurations or ())
            for name, section in grid
            if section is not None
            for key, values in section
            if isinstance(values, Span)
        )
        return next(found, None)

    @property
    def wants(self) -> Wants:
        """What an adaptive search is to find."""
        if self.target_speedup is not None:
            return "target"
        return "fastest" if "max_loss" in self.model_fields_set else "frontier"

    @field_serializer("budget", when_used="json")
    def _as_duration(self, seconds: float | None) -> str | None:
        return None if seconds is None else f"{seconds:.12g}s"

    @field_serializer("timing", mode="wrap")
    def _as_written(self, timing: Timing, write: SerializerFunctionWrapHandler) -> object:
        return "off" if timing.is_off else write(timing)

    def source_of(self, pipe: Pipe) -> str:
        """Return where a pipe's weights come from, if they are not random."""
        return self.models.get(pipe.name, pipe.source)


def read_search(section: object) -> tuple[Search | None, list[tuple[str, str]]]:
    """Read the section; return it, or None and every problem as (key, sentence)."""
    try:
        return Search.model_validate({} if section is None else section), []
    except ValidationError as error:
        problems: dict[str, list[str]] = {}  # pydantic copies it
        for detail in error.errors(include_url=False, include_context=False):
            path = _keys(detail)
            single = isinstance(detail["input"], list) and len(path) < len(detail["loc"])
            if single and detail["type"] != "too_short":
                continue  # a list is no single value: what is wrong inside it is said elsewhere
            sentences = problems.setdefault(".".join(["search", *map(str, path)]), [])
            sentences.append(_sentence(detail, path))
        joined = {key: " or ".join(dict.fromkeys(said)) for key, said in problems.items()}
        return None, [(key, _shortened(sentence)) for key, sentence in joined.items()]


def _shortened(sentence: str) -> str:
    """Return a sentence that fits on a screen, whatever value it quotes."""
    return sentence if len(sentence) <= _LONGEST else f"{sentence[:_LONGEST]}…"


def _keys(detail: ErrorDetails) -> list[str | int]:
    """Return where in the file it is: pydantic's names for the members of a union are left out."""
    path: list[str | int] = []
    for part in detail["loc"]:
        unknown = detail["type"] == "extra_forbidden" and part == detail["loc"][-1]
        if isinstance(part, int) or unknown or path == ["models"] or part in _fields(path):
            path.append(part)
    return path


def _sentence(detail: ErrorDetails, path: list[str | int]) -> str:
    if detail["type"] == "extra_forbidden":
        return f"unknown key; {nearest(str(path[-1]), _fields(path[:-1]))}"
    if detail["type"] == "missing":
        return "this key is required"
    if detail["type"] == "value_error":
        return detail["msg"].removeprefix("Value error, ")
    if detail["type"] in {"model_type", "dict_type"}:
        return f"expected keys with values, found {detail['input']!r}"
    return f"{detail['msg'][0].lower()}{detail['msg'][1:]}, found {detail['input']!r}"


def _fields(path: list[str | int]) -> list[str]:
    """Return the keys that may stand at that place of the section."""
    section: type[BaseModel] = Search
    for part in path:
        if isinstance(part, str) and part in section.model_fields:
            section = _nested(section.model_fields[part].annotation) or section
    return list(section.model_fields)


def _nested(annotation: object) -> type[BaseModel] | None:
    """Return the section that a field's annotation holds, if it holds one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _nested(part))), None)
