"""A task's measurements, of which those made for another sweep file wait in files of their own.

A worker goes on behind the last row of its results file. Rows of other arguments in it would be taken for its
own, unless it tells them apart by itself (``worker.reuses_results``).
"""

from __future__ import annotations

import os

from scheduler.config.sweep import Sweep, Task
from scheduler.storage.attempts_file import read_attempts
from scheduler.storage.json_files import read_object
from scheduler.storage.paths import SweepPaths


def put_results_in_place(task: Task, sweep: Sweep, paths: SweepPaths) -> None:
    """Give the task the measurements of today's sweep file; call it while its last attempts are on file.

    Whenever this is cut short, calling it again does the rest.

    Raises:
        OSError: a file cannot be renamed.
    """
    if sweep.reuses_results:
        return
    today = sweep.digest(task)
    put_results_away(task, sweep, paths, unless=today)
    current, waiting = paths.results(task.id), paths.results_of(task.id, today)
    if os.path.lexists(waiting) and not os.path.lexists(current):
        waiting.rename(current)


def put_results_away(
    task: Task, sweep: Sweep, paths: SweepPaths, *, unless: str | None = None
) -> None:
    """Have measurements wait under the digest of what they were made for, if that is known.

    Raises:
        OSError: the file cannot be renamed.
    """
    current = paths.results(task.id)
    if sweep.reuses_results or not os.path.lexists(current):
        return
    made_for = _made_for(task, paths)
    if made_for not in (None, unless):
        waiting = paths.results_of(task.id, made_for)
        if not os.path.lexists(waiting):  # else those wait already, and these were begun after them
            current.rename(waiting)


def _made_for(task: Task, paths: SweepPaths) -> str | None:
    """Return the digest of what was run last: of the last attempt, or of the checkpoint that is there."""
    if attempts := read_attempts(paths.attempts(task.id)):
        return attempts[-1].started.digest
    for path in (paths.done(task.id), paths.failed(task.id)):
        digest = (read_object(path) or {}).get("digest")
        if isinstance(digest, str):
            return digest
    return None
