"""A few pictures of each configuration, kept beside the results, to be looked at side by side.

The first prompts' images of the timed rounds are taken, so that they cost no call, and all configurations
have pictures of the same prompts and seeds. Converting and writing happens between timed calls.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path

from worker.measure.context import EvaluationContext
from worker.measure.samples import Samples
from worker.results.row import Picture
from worker.types import Tensor


def note(
    context: EvaluationContext,
    block: Sequence[Samples],
    images: Sequence[Tensor | None],
    indices: Sequence[int],
) -> None:
    """Take what is to be kept of one round.

    Args:
        context: the task; ``context.pictures`` says of how many prompts.
        block: the samples to add to.
        images: what each of the block made, or None; shape [batch, 3, height, width], from 0 to 1.
        indices: the prompts' numbers.
    """
    for samples, made in zip(block, images, strict=True):
        # other latents give another picture, which stands beside none
        if made is None or samples.configuration.seeds:
            continue
        for image, index in zip(made, indices):  # noqa: B905  # the rest only fills up the batch
            if index < context.pictures and index not in samples.pictures:
                pixels = image.float().clamp(0, 1).permute(1, 2, 0).cpu()
                samples.pictures[index] = (pixels.numpy() * 255).round().astype("uint8")


class Pictures:
    """Where the pictures of a task are.

    Args:
        results: the results file; they lie in a folder beside it, ``TASK.images`` of ``TASK.jsonl``.
        say: called with a line for the log, once, where one cannot be written: measuring goes on.
    """

    def __init__(self, results: Path, say: Callable[[str], None]) -> None:
        self._folder = results.with_suffix(".images")
        self._say = say
        self._has_failed = False

    def keep(self, samples: Samples, context: EvaluationContext, digest: str) -> list[Picture]:
        """Write what was taken of a configuration, and return what a row says of it.

        Args:
            samples: of the configuration.
            context: the task.
            digest: of its settings.
        """
        settings = context.settings
        name = hashlib.sha256(f"{digest} {samples.configuration.key}".encode()).hexdigest()[:16]
        kept: list[Picture] = []
        for index, pixels in sorted(samples.pictures.items()):
            file = f"{name}-{index}.png"
            if self._has_failed or not self._written(file, pixels):
                break
            seed = settings.seed + settings.first_prompt + index
            prompt = context.prompts[index]
            kept.append(Picture(file=f"{self._folder.name}/{file}", prompt=prompt, seed=seed))
        return kept

    def _written(self, name: str, pixels: Tensor) -> bool:
        from PIL import Image

        data = BytesIO()
        Image.fromarray(pixels).save(data, "PNG")
        part = self._folder / f".{name}.part"
        try:
            self._folder.mkdir(exist_ok=True)
            if self._folder.is_symlink():
                raise NotADirectoryError(0, "it is a link")
            part.unlink(missing_ok=True)
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data.getvalue())
            part.replace(self._folder / name)
        except OSError as error:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            self._has_failed = True
            self._say(f"no more pictures are kept: {self._folder}: {error.strerror}")
            return False
        return True
