"""The parts of a ``search:`` section that say on what and how to measure, and kinds of numbers.

Validated by pydantic; nothing here imports torch.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar, Union

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_serializer,
    model_validator,
)
from typing_extensions import Self

from worker.config.numbers import LARGEST_SEED, MOST_IMAGES, duration, percentage

T = TypeVar("T")
OneOrMany = Union[T, Annotated[list[T], Field(min_length=1)]]  # noqa: UP007  # a generic alias
"""One value, or a list of values to try each."""

# no more than a task may have images: a typing error is told at once, and not by a task without end
Whole = Annotated[int, Field(ge=0, le=MOST_IMAGES)]
Positive = Annotated[int, Field(ge=1, le=MOST_IMAGES)]
# what follows from it (the seeds of other prompts and of the null arm) has to fit into 64 bits too
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
Steps = Union[Positive, Annotated[float, Field(gt=0, lt=1)]]  # noqa: UP007
"""A number of steps, or a fraction of the task's steps."""


class Section(BaseModel):
    """A part of the section: unknown keys are errors, nothing changes after reading."""

    # YAML has words for what is no number (.nan, .inf), and JSON, which results are kept in, none
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


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


# the seconds for which a precision is pursued where nothing else is said
_AT_MOST = 600.0


def time_to_measure(value: object) -> float:
    """Read for how long something may be measured, and return the seconds.

    Raises:
        ValueError: it is no duration, or none that anybody means.
    """
    seconds = duration(value)
    if not 0.001 <= seconds <= 10_000 * 86_400:
        raise ValueError(f"expected from 1ms to 10000d, found {value!r}")
    return seconds


class Timing(Section):
    """How configurations are timed.

    Attributes:
        warmup: untimed runs of each configuration before the timed ones.
        repeats: timed rounds at least, each a batch of each configuration.
        precision: rounds go on until every speed-up's interval is this narrow (half of its width as
            a share of the speed-up); null for no more rounds than have to be.
        at_most: seconds after which no further round begins, whatever the precision; null for
            ten minutes.
        block: how many configurations take turns with one baseline.
        energy: after the timed batches, two seconds of calls that tell the energy of an image.
        device_time: at the task's end, profiled calls that tell how long the device computes.
    """

    warmup: Whole = 1
    repeats: Positive = 10
    precision: Annotated[float, BeforeValidator(percentage)] | None = None
    at_most: Annotated[float, BeforeValidator(time_to_measure)] | None = None
    block: Positive = 3
    energy: bool = True
    device_time: bool = True

    @model_validator(mode="after")
    def _has_something_to_end(self) -> Self:
        if self.precision is None and self.at_most is not None:
            raise ValueError("at_most ends what precision begins: name a precision too, such as 2%")
        return self

    @field_serializer("at_most", when_used="json")
    def _as_duration(self, seconds: float | None) -> str | None:
        return None if seconds is None else f"{seconds:.12g}s"

    @property
    def longest(self) -> float:
        """Seconds after which no further round begins."""
        return _AT_MOST if self.at_most is None else self.at_most

    @property
    def is_off(self) -> bool:
        """Whether no speed is measured: images are made and scored, each once."""
        return False

    @property
    def stopping(self) -> dict[str, float]:
        """What ends the rounds beside their number, as it stands in a row; empty for nothing."""
        if self.precision is None:
            return {}
        return {"precision": self.precision, "at_most": self.longest}


class NoTiming(Timing):
    """``timing: off``: each configuration makes its images once, and only they are looked at."""

    warmup: Whole = 0
    repeats: Positive = 1
    # the baseline is made again for each, and only for its images
    block: Positive = 8
    energy: bool = False
    device_time: bool = False

    @property
    def is_off(self) -> bool:
        return True


def timing_section(value: object) -> object:
    """Return what ``off`` stands for, or the value as it is.

    Raises:
        ValueError: it is another text.
    """
    if isinstance(value, str) and value != "off":
        raise ValueError(f"expected keys with values, or off, found {value!r}")
    return NoTiming() if value == "off" else value


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
