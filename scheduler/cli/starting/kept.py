"""What the worker says is kept of tasks whose checkpoints do not hold any more."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace

from scheduler.config.placeholders import UnsetVariable
from scheduler.config.sweep import Sweep
from scheduler.core.progress import SweepProgress
from scheduler.core.verdict import SWEEP_CHANGED
from scheduler.dispatch.standings import Recovered, Waiting
from scheduler.executors.worker_process import ask_what_is_kept
from scheduler.storage.paths import SweepPaths

_MOST_ASKED = 200  # tasks; of more, reading all their results would take too long


def tell_recovered(recovered: Recovered, sweep: Sweep, paths: SweepPaths) -> Recovered:
    """Return what was recovered, with what is kept of tasks that start anew beside why they do."""
    in_doubt = [
        task
        for task, one in recovered.rejected
        if isinstance(recovered.standings[task], Waiting) and one.why.startswith(SWEEP_CHANGED)
    ]
    standings = dict(recovered.standings)
    for task, said in what_is_kept(in_doubt, sweep, paths).items():
        standing = standings[task]
        rejected = (replace(one, why=f"{one.why}; {said}") for one in standing.rejected)
        standings[task] = replace(standing, rejected=tuple(rejected))
    return replace(recovered, standings=standings)


def tell_progress(progress: SweepProgress, sweep: Sweep, paths: SweepPaths) -> None:
    """Add to the tasks that wait, since their checkpoints do not hold, what is kept of them."""
    in_doubt = [
        name
        for name, view in progress.tasks.items()
        if view.rejected is not None and view.rejected.startswith(SWEEP_CHANGED)
    ]
    for name, said in what_is_kept(in_doubt, sweep, paths).items():
        view = progress.tasks[name]
        view.rejected = f"{view.rejected}; {said}"


def what_is_kept(tasks: Iterable[str], sweep: Sweep, paths: SweepPaths) -> dict[str, str]:
    """Return how much the worker will re-use of tasks' measurements, where it does and can tell."""
    results = {task: paths.results(task) for task in tasks}
    asked = {task: str(path) for task, path in results.items() if path.is_file()}
    if sweep.check is None or not sweep.reuses_results or not 0 < len(asked) <= _MOST_ASKED:
        return {}
    question = sweep.question()
    listed = [task for task in question["tasks"] if task["id"] in asked]
    try:
        environment = {**os.environ, **sweep.own_environment(os.environ)}
    except UnsetVariable:
        return {}
    counts = ask_what_is_kept(
        sweep.check, {**question, "tasks": listed, "results": asked}, environment
    )
    return {
        task: f"{kept} of {wanted} measurements are kept"
        for task, (kept, wanted) in counts.items()
        if task in asked
    }
