"""``python -m scheduler retry``: forget failures, so that the next run tries these tasks again."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from scheduler.cli.common import UserError, chosen, lock_sweep
from scheduler.cli.locate import load, shown
from scheduler.config.sweep import Sweep
from scheduler.dispatch.clock import Clock
from scheduler.dispatch.judgement import judge_attempt
from scheduler.dispatch.recovery import recover
from scheduler.dispatch.results_files import put_results_away
from scheduler.dispatch.standings import Done, Running
from scheduler.executors.local.survivors import find_survivors
from scheduler.storage.atomic import append_line, write_durably
from scheduler.storage.attempts_file import StartLine, is_locked
from scheduler.storage.checkpoints import FORGOTTEN, CheckpointFolder
from scheduler.storage.json_files import read_object, read_objects
from scheduler.storage.paths import SweepPaths
from scheduler.storage.regular_files import set_aside


def run(arguments: argparse.Namespace) -> int:
    """Forget what the arguments say; print what was forgotten."""
    sweep, paths = load(arguments)
    names = [task.id for task in chosen(sweep, arguments.tasks)]
    if not paths.checkpoints.exists():  # which taking the lock would make
        refuse_running(names, paths)
        print(f"nothing to forget: {shown(paths.checkpoints)} does not exist")
        return 0
    lock = lock_sweep(sweep, paths)
    try:
        refuse_running(names, paths)
        forget = Forget(sweep, paths, force=arguments.force)
        said = [sentence for name in names if (sentence := forget(name)) is not None]
    except OSError as error:
        raise UserError(f"{error.filename or paths.checkpoints}: {error.strerror}") from None
    finally:
        lock.release()
    for sentence in said:
        print(sentence)
    if not said:
        print(
            "nothing to forget: no failure is recorded"
            + ("" if arguments.force else " (--force: completions too)")
        )
    return 0


def refuse_running(tasks: list[str], paths: SweepPaths) -> None:
    """Refuse tasks of which an attempt still runs, before anything is forgotten.

    Raises:
        UserError: with every one of them.
    """
    locked = [task for task in tasks if is_locked(paths.attempts(task))]
    running = [*locked, *find_survivors(paths, set(tasks) - set(locked))]
    if running:
        raise UserError(
            "\n".join(
                f"{task}: an attempt of it still runs; the next run takes it over (--no-adopt stops it)"
                for task in running
            )
            + "\nnothing was forgotten"
        )


class Forget:
    """Forgets the failures of tasks, and with ``force`` their completions."""

    def __init__(self, sweep: Sweep, paths: SweepPaths, *, force: bool) -> None:
        self._sweep = sweep
        self._paths = paths
        self._force = force
        self._tasks = {task.id: task for task in sweep.tasks}
        self._standings = recover(sweep, paths, Clock()).standings
        self._aside = CheckpointFolder.of(paths.checkpoints).aside

    def __call__(self, name: str) -> str | None:
        """Forget what is recorded of a task; return what is to be said, None if nothing is recorded.

        Raises:
            OSError: a file cannot be removed, renamed or written.
        """
        paths, standing = self._paths, self._standings[name]
        if isinstance(standing, Done) and not self._force:
            return None
        if isinstance(standing, Running) and not self._force:
            if standing.attempt.ended is None:
                self._keep_last_attempt(name)
                return f"{name}: will run again, when what its last attempt left is ended"
            if judge_attempt(self._tasks[name], paths, self._sweep).verdict.completed:
                return f"{name}: nothing to forget: its last attempt was completed; the next run records that"
        if any(map(os.path.lexists, (paths.failed(name), paths.attempts(name)))):
            put_results_away(self._tasks[name], self._sweep, paths)
        had = [self._remove(path) for path in (paths.failed(name), paths.attempts(name))]
        if self._force:
            had += [self._set_aside(path) for path in (paths.done(name), paths.results(name))]
        had += [self._mark(path) for path in self._aside.get(name, ()) if self._counts(path)]
        return f"{name}: will run again" if any(had) else None

    def _keep_last_attempt(self, name: str) -> None:
        """Forget all attempts but the last, of which something may still be alive."""
        file = self._paths.attempts(name)
        lines = list(read_objects(file))
        first = max(number for number, line in enumerate(lines) if StartLine.parse(line))
        self._remove(file)
        for line in lines[first:]:
            append_line(file, line)
        self._remove(self._paths.failed(name))

    def _remove(self, path: Path) -> bool:
        if path.is_dir() and not path.is_symlink():
            set_aside(path)
        elif os.path.lexists(path):
            path.unlink()
        else:
            return False
        return True

    def _set_aside(self, path: Path) -> bool:
        if not os.path.lexists(path):
            return False
        kept = set_aside(path)
        if path.suffix == ".done":
            self._mark(kept)
        return True

    def _counts(self, path: Path) -> bool:
        """Say whether what was set aside before is to be forgotten, too."""
        return self._force or ".failed.aside" in path.name

    def _mark(self, path: Path) -> bool:
        """Mark a checkpoint that was set aside, if it is of today, so that it is never taken again."""
        content, name = read_object(path), path.name.rpartition(".aside")[0].rpartition(".")[0]
        if content is None or content.get("digest") != self._sweep.digest(self._tasks[name]):
            return False
        if content.get(FORGOTTEN):
            return False
        write_durably(path, content | {FORGOTTEN: True})
        return True
