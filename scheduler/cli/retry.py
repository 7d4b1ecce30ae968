"""``python -m scheduler retry``: forget failures, so that the next run tries these tasks again."""

from __future__ import annotations

import argparse
import os

from scheduler.cli.common import UserError, lock_sweep
from scheduler.cli.locate import load, shown
from scheduler.config.suggest import nearest
from scheduler.config.sweep import Sweep
from scheduler.storage.attempts_file import is_locked
from scheduler.storage.paths import SweepPaths
from scheduler.storage.regular_files import set_aside


def run(arguments: argparse.Namespace) -> int:
    """Forget what the arguments say; print what was forgotten."""
    sweep, paths = load(arguments)
    tasks = arguments.tasks or [task.id for task in sweep.tasks]
    check_names(sweep, tasks)
    if not paths.checkpoints.exists():  # which taking the lock would make
        print(f"nothing to forget: {shown(paths.checkpoints)} does not exist")
        return 0
    lock = lock_sweep(sweep, paths)
    try:
        refuse_running(tasks, paths)
        forgotten = [task for task in tasks if forget(task, paths, force=arguments.force)]
    finally:
        lock.release()
    for task in forgotten:
        print(f"{task}: will run again")
    if not forgotten:
        print(
            "nothing to forget: no failure is recorded"
            + ("" if arguments.force else " (--force: completions too)")
        )
    return 0


def check_names(sweep: Sweep, names: list[str]) -> None:
    """Refuse names that are no task's.

    Raises:
        UserError: with every one of them.
    """
    known = [task.id for task in sweep.tasks]
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise UserError(
            "\n".join(
                f"{sweep.name} has no task {name!r}{nearest(name, known[:50])}" for name in unknown
            )
        )


def refuse_running(tasks: list[str], paths: SweepPaths) -> None:
    """Refuse tasks of which an attempt still runs, before anything is forgotten.

    Raises:
        UserError: with every one of them.
    """
    running = [task for task in tasks if is_locked(paths.attempts(task))]
    if running:
        raise UserError(
            "\n".join(
                f"{task}: an attempt of it still runs; the next run takes it over (--no-adopt stops it)"
                for task in running
            )
            + "\nnothing was forgotten"
        )


def forget(task: str, paths: SweepPaths, *, force: bool) -> bool:
    """Forget a task's failures (and with ``force`` its completion); say whether there was anything."""
    had = False
    for path in (paths.failed(task), paths.attempts(task)):
        if path.is_dir() and not path.is_symlink():
            set_aside(path)
        elif os.path.lexists(path):
            path.unlink()
        else:
            continue
        had = True
    if force:
        for path in (paths.done(task), paths.results(task)):
            if os.path.lexists(path):
                set_aside(path)
                had = True
    return had
