"""Pictures drawn from files: what `status` shows, and what a dispatcher begins with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scheduler.checkpoints import folder_entries
from scheduler.core import State
from scheduler.journal import read_recent
from scheduler.keeper import birth
from scheduler.paths import SweepPaths
from scheduler.picture import DONE, FAILED, RUNNING, WAITING, Picture, TaskView
from scheduler.recovery import Recovered
from scheduler.sweep import Sweep

_STATES = {State.DONE: DONE, State.FAILED: FAILED}


def first_picture(recovered: Recovered) -> Picture:
    """Return the picture of a sweep whose dispatcher has just read its files."""
    return Picture(
        {seed.task: TaskView(_STATES.get(seed.state, WAITING)) for seed in recovered.seeds}
    )


def picture_of_files(sweep: Sweep, paths: SweepPaths) -> Picture:
    """Return the picture that journal and checkpoints give; reads only, takes no lock.

    The journal tells what happened, the checkpoints what counts: a ``.done`` that was removed is not
    completed any more, whatever the journal says.
    """
    picture = Picture({task.id: TaskView() for task in sweep.tasks})
    for entry in read_recent(paths.journal):
        picture.apply(entry)
    if picture.holder is not None and not _lives(picture.holder):
        picture.holder = None
    done = folder_entries(paths.checkpoints, ".done")
    failed = folder_entries(paths.checkpoints, ".failed")
    for name, view in picture.tasks.items():
        if name in done:
            picture.move(name, DONE)
        elif name in failed:
            picture.move(name, FAILED)
        elif view.state in (DONE, FAILED) or (view.state == RUNNING and picture.holder is None):
            picture.move(name, WAITING)
    return picture


def _lives(holder: Mapping[str, Any]) -> bool:
    """Say whether the dispatcher that wrote the event still runs (its pid may be another's by now)."""
    try:
        return bool(birth(int(holder["pid"])) == holder["birth"])
    except (OSError, KeyError, TypeError, ValueError):
        return False
