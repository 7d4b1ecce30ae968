"""Where each task stands: the one place that changes it, by the table in states.py. Pure."""

from __future__ import annotations

from scheduler.core.states import TRANSITIONS, ImpossibleEventError, State, Step, TaskEvent
from scheduler.core.tables.stories import Stories


class Tasks:
    """The tasks by number, in the sweep's order; to look at one or to move it costs the same always."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.states: list[State] = []
        self.counts = [0] * len(State)
        self._numbers: dict[str, int] = {}
        self.stories = Stories()

    def add(self, name: str, state: State) -> int:
        """Add the next task; return its number."""
        task = len(self.ids)
        self.ids.append(name)
        self._numbers[name] = task
        self.states.append(state)
        self.counts[state] += 1
        return task

    def number(self, name: str) -> int:
        """Return the number of a task that is in the sweep."""
        return self._numbers[name]

    def is_known(self, name: str) -> bool:
        """Say whether there is, or was, a task of that name."""
        return name in self._numbers

    def runs(self, name: str) -> bool:
        """Say whether there is a task of that name, and an attempt of it runs."""
        task = self._numbers.get(name)
        return task is not None and self.states[task] is State.RUNNING

    def expect(self, event: TaskEvent) -> int:
        """Return the number of the task that an event is about.

        Raises:
            ImpossibleEventError: there is no such task, or this cannot happen where it stands.
        """
        try:
            task = self._numbers[event.task or ""]
        except KeyError:
            raise ImpossibleEventError(event, None) from None
        state = self.states[task]
        if type(event) not in TRANSITIONS[state]:
            raise ImpossibleEventError(event, state, self.stories.of(task))
        return task

    def move(self, task: int, step: Step, to: State, now: float) -> None:
        """Put a task into a state to which an event or an action leads from where it stands.

        Raises:
            ImpossibleEventError: it does not lead there.
        """
        state = self.states[task]
        if to not in TRANSITIONS[state].get(type(step), ()):
            raise ImpossibleEventError(step, state, self.stories.of(task))
        if to is not state:
            self.counts[state] -= 1
            self.counts[to] += 1
            self.states[task] = to
        self.stories.add(task, step, now)
