"""``python -m scheduler results``: the best under a bound, from rows that exist; nothing is measured."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from scheduler.cli.common import UserError, chosen
from scheduler.cli.locate import locate, shown
from scheduler.cli.measured import formats
from scheduler.config.loader import SweepError, read_sweep
from scheduler.config.printable import printable
from scheduler.config.sweep import Sweep, Task
from scheduler.executors.source_log import Versions
from scheduler.executors.worker_process import WorkerCheckError
from scheduler.storage.paths import SweepPaths
from scheduler.views.answers import Answers, answers_of
from scheduler.views.console import WideConsole
from scheduler.views.from_files import progress_from_files
from scheduler.views.source_mix import find_other_code, remarks_on_code

Asked = tuple[Sweep, SweepPaths, Sequence[Task]]


def run(arguments: argparse.Namespace) -> int:
    """Print the answer; return 1 where there are no rows yet."""
    sweeps = [asked_for(file, arguments) for file in dict.fromkeys(arguments.sweeps)]
    try:
        wanted = arguments.snippet or arguments.json
        answers = answers_of(sweeps, arguments.metric, arguments.max_loss, snippets=wanted)
    except WorkerCheckError as error:
        raise UserError(printable(str(error), " ")) from None
    for notice in notices_of(answers, sweeps):
        print(printable(notice, " "), file=sys.stderr)
    if arguments.json:
        formats.print_json(answers)
    elif arguments.csv:
        formats.print_csv(answers, sys.stdout)
    elif arguments.snippet:
        formats.print_snippets(answers)
    elif arguments.md:
        formats.print_markdown(answers)
    else:
        console = WideConsole()
        for part in formats.as_text(answers, console.width):
            console.print(part)
    return 0 if any(task.rows for task in answers.tasks) else 1


def asked_for(file: Path, arguments: argparse.Namespace) -> Asked:
    """Return the sweep of a file, its paths and the tasks that are asked for.

    Raises:
        UserError: the file is wrong, or there is no such task.
    """
    try:
        sweep = read_sweep(file)
    except SweepError as error:
        raise UserError(str(error)) from None
    return sweep, locate(sweep, file, arguments.root), chosen(sweep, arguments.only)


def notices_of(answers: Answers, sweeps: Sequence[Asked]) -> Iterator[str]:
    """Yield what is to be known before the answer is believed."""
    yield from answers.notices
    for sweep, paths, tasks in sweeps:
        names = {task.id for task in tasks}
        measured = {task.task for task in answers.tasks if task.sweep == sweep.name and task.rows}
        if not measured:
            yield f"{sweep.name}: no measurements yet in {shown(paths.checkpoints)}"
        elif len(measured) < len(names):
            yield f"{sweep.name}: {len(names) - len(measured)} of {len(names)} tasks have no measurements yet"
        if Versions(paths.versions).mix():
            progress = progress_from_files(sweep, paths)
            progress.keep(names)
            find_other_code(progress, paths)
            yield from (f"{sweep.name}: {remark}" for remark in remarks_on_code(progress))
    for task in answers.tasks:
        if task.unread:
            yield f"{task.task}: {task.unread} line(s) are no measurement that can be read; passed over"
        if task.earlier:
            yield (
                f"{task.task}: {task.earlier} configuration(s) were measured under earlier settings, or on "
                "another device, alone; they are left out"
            )
