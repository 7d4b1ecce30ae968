"""``python -m scheduler tail``: logs of tasks; with -f they are followed, across attempts."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from scheduler.cli.common import UserError, chosen
from scheduler.cli.locate import load, shown
from scheduler.config.printable import printable
from scheduler.config.sweep import Sweep
from scheduler.core.snapshot import FAILED
from scheduler.storage.checkpoints import logs_by_task
from scheduler.storage.locks import is_held
from scheduler.storage.paths import SweepPaths
from scheduler.storage.regular_files import NotRegular, open_binary
from scheduler.views.logs.ends import go_to_last
from scheduler.views.logs.following import NEXT_ATTEMPT, Follower, how_it_ended, look_at_all
from scheduler.views.logs.text import LogText
from scheduler.views.shortened import shortened

LOOK_AGAIN = 0.2  # seconds
FEW = 10  # lines of each log, where several are followed; and twice as many of those that failed
_BLOCK = 1 << 16  # bytes


def run(arguments: argparse.Namespace) -> int:
    """Print the logs."""
    sweep, paths = load(arguments)
    if not arguments.tasks and not arguments.failed:
        raise UserError(
            "whose log? Name tasks by id or pattern ('*' means all), or say --failed for the ends of theirs"
        )
    tasks = [task.id for task in chosen(sweep, arguments.tasks)]
    try:
        if arguments.failed:
            print_failed(sweep, paths, tasks, arguments.lines)
        elif arguments.follow:
            follow(paths, tasks, arguments.lines)
        else:
            print_logs(paths, tasks, arguments.lines)
    except NotRegular as error:
        raise UserError(f"{error.filename}: {error.strerror}") from None
    except KeyboardInterrupt:
        return 130
    return 0


def print_logs(paths: SweepPaths, tasks: Sequence[str], lines: int | None) -> None:
    """Print the newest log of each task, from its last lines on."""
    there = [task for task in tasks if os.path.lexists(paths.log(task))]
    if not there:
        whose = "the task has not" if len(tasks) == 1 else f"none of these {len(tasks)} tasks has"
        raise UserError(
            f"{paths.log(tasks[0])}: there is no log yet; {whose} been started (-f waits for it)",
            exit_code=1,
        )
    for task, text in _texts(tasks).items():
        if task in there:
            _copy(paths.log(task), text, lines)


def print_failed(sweep: Sweep, paths: SweepPaths, tasks: Sequence[str], lines: int | None) -> None:
    """Print why tasks have failed, and the ends of their last logs."""
    from scheduler.views.from_files import progress_from_files  # much, that logs need not wait for
    from scheduler.views.tables import fill_from_checkpoints

    progress = progress_from_files(sweep, paths)
    failed = [task for task in tasks if progress.tasks[task].state == FAILED]
    fill_from_checkpoints(progress, paths, failed)
    for task in failed:
        cause = printable(progress.tasks[task].cause or "", " ")
        print(f"==> {task}: failed: {cause} ({shown(paths.log(task))}) <==")
        try:
            _copy(paths.log(task), LogText(""), 2 * FEW if lines is None else lines)
        except FileNotFoundError:
            print("its log is gone")
    if not failed:
        print("no task has failed", file=sys.stderr)


def follow(paths: SweepPaths, tasks: Sequence[str], lines: int | None) -> None:
    """Print logs and go on as they grow, until nothing can write one any more.

    Of several tasks, those that have ended before show nothing until they are tried again.
    """
    texts, logs = _texts(tasks), logs_by_task(paths.logs)
    if len(tasks) > 1 and lines is None:
        lines = FEW
    followers = [
        Follower(
            paths,
            task,
            logs.get(task, ()),
            0 if len(tasks) > 1 and how_it_ended(paths, task) else lines,
        )
        for task in tasks
    ]
    told = False
    while followers:
        for follower, data in look_at_all(followers, paths):
            _show(texts[follower.task], follower.task, data, alone=len(tasks) == 1)
        for follower in followers:
            sys.stdout.write(texts[follower.task].pause())
        sys.stdout.flush()
        over = [follower for follower in followers if follower.ended is not None]
        followers = [follower for follower in followers if follower.ended is None]
        if not (told or over or any(follower.begun for follower in followers)):
            print(_waits_for(paths, tasks), file=sys.stderr, flush=True)
        told = True
        _say_over(over, texts, last=not followers)
        if followers:
            time.sleep(LOOK_AGAIN)


def _waits_for(paths: SweepPaths, tasks: Sequence[str]) -> str:
    """Return what is waited for where none of the tasks has a log."""
    whose = "the task" if len(tasks) == 1 else f"one of these {len(tasks)} tasks"
    alone = "" if is_held(paths.lock) else "; no dispatcher runs"
    return (
        f"{shown(paths.log(tasks[0]))}: there is no log yet; waits for {whose} to be started{alone}"
    )


def _show(text: LogText, task: str, data: bytes | None, *, alone: bool) -> None:
    if data is NEXT_ATTEMPT:
        sys.stdout.writelines(text.end())
        print("==> next attempt <==" if alone else f"==> {task}: next attempt <==")
    else:
        sys.stdout.writelines(text.feed(data))


def _say_over(over: Iterable[Follower], texts: Mapping[str, LogText], *, last: bool) -> None:
    for follower in over:
        sys.stdout.writelines(texts[follower.task].end())
        sys.stdout.flush()
        if len(texts) == 1:
            print(
                f"{follower.task} has {follower.ended} and no dispatcher runs: nothing follows",
                file=sys.stderr,
            )
    if last and len(texts) > 1:
        print("all of them have ended and no dispatcher runs: nothing follows", file=sys.stderr)


def _texts(tasks: Sequence[str]) -> dict[str, LogText]:
    """Return what makes each task's log harmless, and puts the task's name before lines of several."""
    if len(tasks) == 1:
        return {tasks[0]: LogText()}
    most = shutil.get_terminal_size().columns // 3 if sys.stdout.isatty() else sys.maxsize
    width = min(max(map(len, tasks)), most)
    return {task: LogText(f"{shortened(task, width):{width}} | ") for task in tasks}


def _copy(log: Path, text: LogText, lines: int | None) -> None:
    with open_binary(log) as file:
        if lines is not None and not go_to_last(file, lines):
            sys.stdout.writelines(text.feed("…".encode()))
        while chunk := file.read(_BLOCK):
            sys.stdout.writelines(text.feed(chunk))
    sys.stdout.writelines(text.end())
