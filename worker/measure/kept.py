"""Which of a task's measurements are kept, and how precise one has to be. No torch here.

Before a task starts their number is estimated: what only a device can tell (its driver, the
libraries' versions, the default number format) is taken to be as it was, and captions as they were
under the same name. The measuring itself looks at all of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from worker.config.numbers import TASK_NUMBERS
from worker.config.settings import Timing
from worker.errors import WorkerError
from worker.measure.settings import TaskRequest, settings_of
from worker.models.catalogue import find_pipe, find_sched
from worker.models.task import Task
from worker.results import environment
from worker.results.disturbances import is_beside_load
from worker.results.file import ResultsFile
from worker.results.row import Row, read_rows
from worker.results.statistics import STOPPING_FACTOR
from worker.search.configuration import Configuration
from worker.search.plan import make_plan
from worker.search.section import Search, read_search
from worker.search.studies import Study

_TOLD_BY_THE_DEVICE = frozenset({"digest", "prompts_digest"})


def count_kept(
    matrix: Mapping[str, Any], args: Mapping[str, Any], section: object, results: Path
) -> tuple[int, int] | None:
    """Return how many measurements of the task itself are kept, and of how many; None: it is not known."""
    found = kept_and_wanted(matrix, args, section, results)
    return None if found is None else (len(found[0]), len(found[1]))


def kept_and_wanted(
    matrix: Mapping[str, Any], args: Mapping[str, Any], section: object, results: Path
) -> tuple[set[str], set[str]] | None:
    """Return the keys of measurements that are kept, and of all that are wanted; None: it is not known.

    Args:
        matrix: the task's matrix values.
        args: ``worker.args``; the matrix goes before them.
        section: the search section, or None.
        results: the task's results file.
    """
    search, _ = read_search(section)
    values = {**args, **matrix}
    try:
        # which configurations an adaptive search will want is not known before
        if search is None or search.strategy == "adaptive":
            return None
        task = Task(
            find_pipe(str(values["pipe"])), find_sched(str(values["sched"])), int(values["steps"])
        )
        wanted = {configuration.key for configuration in make_plan(task, search).configurations}
        rows, _ = read_rows(ResultsFile.open(results).lines)
        settings = _settings(task, search, values)
    except (WorkerError, KeyError, TypeError, ValueError):
        return None
    newest = {row.key: row for row in rows if _agree(row.settings, settings)}
    kept = {key for key, row in newest.items() if is_precise_enough(row, search.timing)}
    return wanted & kept, wanted


class KeptRows:
    """The rows of a task that hold: of earlier attempts, and those that are added.

    Those hold that were measured on this machine by these libraries (a ratio to a baseline of
    another GPU, driver or torch would mean nothing), the newest of each.

    Args:
        results: rows of earlier attempts; each new one is appended.
        here: today's environment.
        say: called with a line for the log where there are rows that cannot be read.
    """

    def __init__(
        self, results: ResultsFile, here: Mapping[str, object], say: Callable[[str], None]
    ) -> None:
        self._results = results
        rows, others = read_rows(results.lines)
        if others:
            say(
                f"{others} rows of the results file are not in this version's form and do not count"
            )
        self._rows = {
            (row.digest, row.key): row for row in rows if environment.agree(row.environment, here)
        }

    def add(self, row: Row) -> None:
        """Append a row to the results file.

        Raises:
            WorkerError: it cannot be written.
        """
        self._results.append(row.as_json())
        self._rows[row.digest, row.key] = row

    def holds(self, configuration: Configuration, digest: str) -> bool:
        """Say whether there is a row of a configuration with settings of this digest."""
        return self.holds_key(configuration.key, digest)

    def holds_key(self, key: str, digest: str) -> bool:
        """Say the same of a configuration's key."""
        return (digest, key) in self._rows

    def rows(self, wanted: Sequence[Configuration], digest: str) -> list[Row]:
        """Return the row of each configuration with settings of this digest.

        Raises:
            KeyError: there is none.
        """
        return [self._rows[digest, item.key] for item in wanted]

    def missing(
        self, wanted: Sequence[Configuration], digest: str, timing: Timing
    ) -> list[Configuration]:
        """Return those of which no row is there, or none that is precise enough."""
        return [
            item
            for item in wanted
            if not self.holds(item, digest)
            or not is_precise_enough(self._rows[digest, item.key], timing)
        ]


def is_precise_enough(row: Row, timing: Timing) -> bool:
    """Say whether a row's speed-up is as precise as asked for, or had as much time to become it."""
    if timing.precision is None:
        return True
    then = row.settings.get("stopping")
    # an interval that nothing was stopped for is not wider yet, and to keep it for being narrow is
    # to stop for it
    asked = timing.precision if then else timing.precision / STOPPING_FACTOR
    if row.reaches(asked) and not is_beside_load(row):
        return True
    precision, at_most = (
        (then.get("precision"), then.get("at_most")) if isinstance(then, dict) else (None, None)
    )
    return (
        isinstance(precision, int | float)
        and isinstance(at_most, int | float)
        and precision <= timing.precision
        and at_most >= timing.longest
    )


def _settings(task: Task, search: Search, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the task's own rows hold as their settings, as far as it is known without a device."""
    numbers = {
        name: int(values.get(name, TASK_NUMBERS[name].default))
        for name in ("num_samples", "batch_size", "seed")
    }
    own = Study("", numbers["num_samples"], numbers["batch_size"], seed=numbers["seed"])
    request = TaskRequest(task, search, numbers["num_samples"], numbers["batch_size"])
    plain = settings_of(request, own, "").as_json([])
    unknown = _TOLD_BY_THE_DEVICE | ({"dtype"} if search.dtype is None else set())
    known: dict[str, Any] = json.loads(
        json.dumps({name: value for name, value in plain.items() if name not in unknown})
    )
    return known


def _agree(row: Mapping[str, object], settings: Mapping[str, Any]) -> bool:
    return all(row.get(name) == settings[name] for name in settings)
