"""The ``search:`` section of a sweep file: what to try, on what, and how to measure it.

Validated by pydantic; nothing here imports torch.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar, Union, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails
from typing_extensions import Self

from worker.errors import nearest

T = TypeVar("T")
OneOrMany = Union[T, Annotated[list[T], Field(min_length=1)]]  # noqa: UP007  # a generic alias
"""One value, or a list of values to try each."""

Whole = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
# what follows from it (the seeds of other prompts and of the null arm) has to fit into 64 bits too
LARGEST_SEED = 2**62
MOST_IMAGES = 10**6
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
Steps = Union[Positive, Annotated[float, Field(gt=0, lt=1)]]  # noqa: UP007
"""A number of steps, or a fraction of the task's steps."""


class Section(BaseModel):
    """A part of the section: unknown keys are errors, nothing changes after reading."""

    # YAML has words for what is no number (.nan, .inf), and JSON, which results are kept in, none
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _whole(value: object) -> object:
    """Let only whole numbers pass: to a choice of numbers ``true`` and ``1.0`` would be 1."""
    if isinstance(value, (bool, float)):
        raise ValueError(f"expected a whole number, found {value!r}")  # noqa: TRY004  # pydantic's
    return value


class DeepCacheGrid(Section):
    """Parameters of DeepCache; ``center`` and ``power`` choose the paper's non-uniform schedule."""

    cache_interval: OneOrMany[Positive]
    cache_branch_id: OneOrMany[Whole] = 0
    center: OneOrMany[Whole] | None = None
    power: OneOrMany[Annotated[float, Field(gt=1, le=4)]] | None = None


class ToMeGrid(Section):
    """Parameters of ToMe, named as in tomesd. Above 0.75 its ratio is silently capped."""

    ratio: OneOrMany[Annotated[float, Field(ge=0, le=0.75)]]
    max_downsample: OneOrMany[Annotated[Literal[1, 2, 4, 8], BeforeValidator(_whole)]] = 1
    sx: OneOrMany[Positive] = 2
    sy: OneOrMany[Positive] = 2
    use_rand: OneOrMany[bool] = True
    merge_attn: OneOrMany[bool] = True
    merge_crossattn: OneOrMany[bool] = False
    merge_mlp: OneOrMany[bool] = False


class TGateGrid(Section):
    """Parameters of T-GATE, named as in tgate."""

    gate_step: OneOrMany[Steps]
    sp_interval: OneOrMany[Positive] = 1
    fi_interval: OneOrMany[Positive] = 1
    warm_up: OneOrMany[Whole] = 0


class ConfigurationGrid(Section):
    """Accelerators that act together; every list in it is an axis."""

    deepcache: DeepCacheGrid | None = None
    tome: ToMeGrid | None = None
    tgate: TGateGrid | None = None


class Controls(Section):
    """What every accelerator has to beat, and how much chance alone does."""

    fewer_steps: list[Steps] = [0.5, 0.3]
    guidance_off: list[Steps] = [0.4]
    null_arm: bool = True


class Clip(Section):
    """The scorer, as open_clip names it; ``local-dir:FOLDER`` is a model of your own."""

    model: Annotated[str, Field(min_length=1)]
    pretrained: str = ""

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if self.pretrained and self.model.startswith(("local-dir:", "built:", "package:")):
            raise ValueError(
                f"the weights of {self.model} lie in its own folder: leave pretrained out"
            )
        return self


class Timing(Section):
    """How configurations are timed.

    Attributes:
        warmup: untimed runs of each configuration before the timed ones.
        repeats: timed batches of each configuration at least.
        block: so many configurations share one interleaved pass of the baseline.
    """

    warmup: Whole = 1
    repeats: Positive = 10
    block: Positive = 3


class PipelineSettings(Section):
    """What is no trade-off: applied to the baseline and to every configuration alike.

    Attributes:
        attention: torch's fused attention, or the plain formula.
        channels_last: keep the UNet's and the VAE's weights in that memory format.
        fused_qkv: compute query, key and value in one product; needs fused attention.
        compile: compile the UNet as a whole, once for each configuration.
        vae_slicing: decode one image at a time.
    """

    attention: Literal["fused", "plain"] = "fused"
    channels_last: bool = False
    fused_qkv: bool = False
    compile: bool = False
    vae_slicing: bool = False

    @model_validator(mode="after")
    def _can_stand_together(self) -> Self:
        if self.attention == "plain" and self.fused_qkv:
            raise ValueError("fused_qkv brings fused attention along: set attention to fused")
        return self


class Stability(Section):
    """The frontier measured again under other conditions, to see how far its figures hold.

    Attributes:
        num_samples: images for each of the conditions.
        batch_sizes: images made at once.
        seeds: of the first image.
        prompts: ``short`` (four words) and ``long`` (more than CLIP's 77 tokens).
    """

    num_samples: Positive = 8
    batch_sizes: list[Positive] = [1, 4, 8]
    seeds: list[Seed] = [1000, 2000, 3000]
    prompts: list[Literal["short", "long"]] = ["short", "long"]


class Search(Section):
    """The whole section; everything has a default."""

    configurations: list[ConfigurationGrid] | None = None
    controls: Controls = Controls()
    captions: Annotated[str, Field(min_length=1)] | None = None
    clip: Clip | None = None
    lpips: Annotated[str, Field(min_length=1)] | None = None
    fid: Annotated[str, Field(min_length=1)] | None = None
    models: dict[str, Annotated[str, Field(min_length=1)]] = {}
    weights: Literal["pretrained", "random"] = "pretrained"
    image_size: Annotated[int, Field(ge=8, le=65536, multiple_of=8)] | None = None
    guidance_scale: Annotated[float, Field(ge=0)] | None = None
    dtype: Literal["float32", "float16", "bfloat16"] | None = None
    settings: PipelineSettings = PipelineSettings()
    timing: Timing = Timing()
    stability: Stability | None = None
    max_loss: Annotated[float, Field(gt=0, lt=1)] = 0.05


def read_search(section: object) -> tuple[Search | None, list[tuple[str, str]]]:
    """Read the section; return it, or None and every problem as (key, sentence)."""
    try:
        return Search.model_validate({} if section is None else section), []
    except ValidationError as error:
        problems: dict[str, list[str]] = {}
        for detail in error.errors(include_url=False, include_context=False):
            path = _keys(detail)
            single = isinstance(detail["input"], list) and len(path) < len(detail["loc"])
            if single and detail["type"] != "too_short":
                continue  # a list is no single value: what is wrong inside it is said elsewhere
            sentences = problems.setdefault(".".join(["search", *map(str, path)]), [])
            sentences.append(_sentence(detail, path))
        return None, [(key, " or ".join(dict.fromkeys(said))) for key, said in problems.items()]


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
