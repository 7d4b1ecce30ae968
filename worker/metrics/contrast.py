"""Whether images show anything: how far each is from one colour, and from the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from worker.types import Tensor

# Root mean square, of values from 0 to 1: what rounding to 8 bits can make of one colour, or of the
# same picture. Dark scenes, line drawings and a line of text on white have several times as much.
_ROUNDING = 1 / 255


@dataclass
class Contrast:
    """What the images of one configuration show, noted as they are made, each prompt's once."""

    count: int = 0
    """Images seen."""
    blank: int = 0
    """Those of one colour."""
    colour: tuple[int, ...] | None = None
    """Red, green and blue from 0 to 255 of the first that is of one colour."""
    _prompts: set[int] = field(default_factory=set)
    _first: Tensor | None = None
    _differ: bool = False

    def add(self, images: Tensor, prompts: Sequence[int]) -> None:
        """Look at images.

        Args:
            images: a tensor of shape [n, 3, height, width], values from 0 to 1.
            prompts: the number of each image's prompt; one that was seen before is passed over.
        """
        for place, prompt in enumerate(prompts):
            if prompt not in self._prompts:
                self._prompts.add(prompt)
                self._look_at(images[place].float())

    def has_seen(self, prompts: Sequence[int]) -> bool:
        """Say whether the images of all these prompts were looked at."""
        return self._prompts.issuperset(prompts)

    @property
    def is_missing(self) -> bool:
        """Whether all images seen are of one colour."""
        return 0 < self.count == self.blank

    @property
    def are_alike(self) -> bool:
        """Whether all images seen that are not of one colour, two or more, are the same picture."""
        return self.count - self.blank > 1 and not self._differ

    def _look_at(self, image: Tensor) -> None:
        self.count += 1
        if _is_blank(image):
            self.blank += 1
            if self.colour is None:
                means = image.mean(dim=(1, 2)).tolist()
                self.colour = tuple(round(255 * value) for value in means)
        elif self._first is None:
            # a copy: the batch is to be freed
            self._first = image.clone()
        elif not self._differ and bool((image - self._first).square().mean().sqrt() > _ROUNDING):
            self._differ = True
            self._first = image[:, :0]


def _is_blank(image: Tensor) -> bool:
    """Say whether an image of shape [3, height, width] is of one colour, but for rounding."""
    deviation = image.flatten(1).std(dim=1, correction=0)
    return bool((deviation <= _ROUNDING).all())
