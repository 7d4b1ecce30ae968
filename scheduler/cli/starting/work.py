"""How much is left of each task, as the worker says: by that the longest first is known from the start."""

from __future__ import annotations

import os
from dataclasses import replace

from scheduler.config.placeholders import UnsetVariable
from scheduler.config.sweep import Sweep
from scheduler.dispatch.standings import Recovered
from scheduler.executors.worker_process import ask_what_is_ahead
from scheduler.storage.paths import SweepPaths

_MOST_ASKED = 1000  # tasks; of more, planning them all would take too long
_MOST_READ = 200  # results files


def with_work(recovered: Recovered, sweep: Sweep, paths: SweepPaths) -> Recovered:
    """Return what was recovered, with the work that is left of each task, where their order depends on it."""
    if not sweep.longest_first or sweep.check is None or len(sweep.tasks) > _MOST_ASKED:
        return recovered
    try:
        environment = {**os.environ, **sweep.own_environment(os.environ)}
    except UnsetVariable:
        return recovered
    begun = (
        {task: paths.results(task) for task in recovered.waiting} if sweep.reuses_results else {}
    )
    results = [(task, str(path)) for task, path in begun.items() if path.is_file()]
    question = {**sweep.question(), "results": dict(results[:_MOST_READ])}
    told = ask_what_is_ahead(sweep.check, question, environment)
    return replace(recovered, work={task: amount for task, (_, amount) in told.items()})
