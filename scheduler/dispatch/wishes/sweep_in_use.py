"""The sweep as its dispatcher has it now, and as it was for tasks that have left its file since."""

from __future__ import annotations

from scheduler.config.sweep import Sweep, Task


class SweepInUse:
    """What everything in one dispatcher goes by; `take_in` changes it for all of them at once."""

    def __init__(self, sweep: Sweep) -> None:
        self.now = sweep
        # By id; those that left the file, too: an attempt of theirs may run.
        self.tasks: dict[str, Task] = {task.id: task for task in sweep.tasks}
        # By id, of those that left the file: the sweep that they were of.
        self._earlier: dict[str, Sweep] = {}

    def of(self, task: str) -> Sweep:
        """Return the sweep that a task is, or was, of."""
        return self._earlier.get(task, self.now)

    def digest(self, task: str) -> str:
        """Return what running the task means."""
        return self.of(task).digest(self.tasks[task])

    def has(self, task: str) -> bool:
        """Say whether the sweep has the task now."""
        return task in self.tasks and task not in self._earlier

    def take_in(self, sweep: Sweep) -> None:
        """Go by another sweep from now on."""
        before, self.now = self.now, sweep
        today = {task.id: task for task in sweep.tasks}
        for task in before.tasks:
            if task.id not in today:
                self._earlier[task.id] = before
        for name in today:
            self._earlier.pop(name, None)
        self.tasks |= today
