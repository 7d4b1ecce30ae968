"""How well images fit their own captions and those of others, from the scorer's embeddings."""

from __future__ import annotations

from collections.abc import Sequence

from worker.types import Tensor

# captions nearer to each other than this cosine ask for nearly the same picture
_NEAR_DUPLICATES = 0.95
# more pictures tell nothing new, and their square is to be kept
_MOST = 256


class CaptionMatch:
    """The scores of a study's images against each other's captions, collected as they are made.

    Args:
        captions: the scorer's embedding of each prompt, unit vectors of shape [prompts, width].
    """

    def __init__(self, captions: Tensor) -> None:
        self._prompts = _apart(captions[:_MOST])
        self._captions = captions[self._prompts]
        self._rows: dict[int, list[float]] = {}
        self._looked = 0
        self.captions = len(captions)
        """Captions of the study."""

    @property
    def distinct(self) -> int:
        """Captions that are no near duplicates of each other, among those that are looked at."""
        return len(self._prompts)

    @property
    def images(self) -> int:
        """Images whose scores are known."""
        return len(self._rows)

    def add(self, embedded: Tensor, prompts: Sequence[int]) -> None:
        """Score images against all distinct captions; one that was added before is passed over.

        Args:
            embedded: the scorer's embedding of each image, unit vectors of shape [n, width].
            prompts: the number of each image's prompt.
        """
        numbers = {prompt: number for number, prompt in enumerate(self._prompts)}
        new = [
            (place, numbers[prompt])
            for place, prompt in enumerate(prompts)
            if prompt in numbers and numbers[prompt] not in self._rows
        ]
        if new:
            scores = 100 * embedded[[place for place, _ in new]] @ self._captions.T
            for (_, number), row in zip(new, scores.tolist(), strict=True):
                self._rows[number] = row

    def is_due(self, fewest: int, *, last: bool) -> bool:
        """Say whether to look now, and take it as done: so many images, at each doubling, at the last.

        Args:
            fewest: images at the first look.
            last: whether no more images follow.
        """
        due = self.images >= max(fewest, 2 * self._looked)
        if due or (last and self._looked < max(1, self.images)):
            self._looked = max(1, self.images)
            return True
        return False

    def scores(self) -> list[list[float]]:
        """Return each image's score with each image's caption: a square with its own on the diagonal."""
        known = sorted(self._rows)
        return [[self._rows[image][caption] for caption in known] for image in known]


def _apart(captions: Tensor) -> list[int]:
    """Return the numbers of captions of which no two are near duplicates."""
    near = (captions.float() @ captions.float().T > _NEAR_DUPLICATES).tolist()
    chosen: list[int] = []
    for number, row in enumerate(near):
        if not any(row[other] for other in chosen):
            chosen.append(number)
    return chosen
