"""The last steps of each task, for the error that says what cannot be. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from scheduler.core.states import STORY_LENGTH, Step

ENDED_STORIES = 64  # tasks that have ended and whose story is kept a while
Story = list[tuple[float, Step]]


class Stories:
    """The stories of the tasks under way, and of those that ended last."""

    def __init__(self) -> None:
        self._under_way: dict[int, Story] = {}
        self._ended: deque[tuple[int, Story]] = deque(maxlen=ENDED_STORIES)

    def add(self, task: int, step: Step, now: float) -> None:
        """Add a step; Activity and Output are not, of which there may be thousands."""
        try:
            story = self._under_way[task]
        except KeyError:
            self._under_way[task] = [(now, step)]
            return
        if len(story) == STORY_LENGTH:
            del story[0]
        story.append((now, step))

    def of(self, task: int) -> Sequence[tuple[float, Step]]:
        """Return a task's steps, oldest first, each with its time; nothing if it ended long ago."""
        ended = (story for other, story in reversed(self._ended) if other == task)
        return self._under_way.get(task) or next(ended, [])

    def end(self, task: int) -> None:
        """Note that the task has ended."""
        self._ended.append((task, self._under_way.pop(task)))
