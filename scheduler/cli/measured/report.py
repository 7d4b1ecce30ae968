"""``python -m scheduler report``: an HTML file that shows what was measured; nothing is measured for it."""

from __future__ import annotations

import argparse
import errno
import os
import sys
import webbrowser
from pathlib import Path

from scheduler.cli.common import UserError
from scheduler.cli.locate import shown
from scheduler.cli.measured.results import asked_for, notices_of
from scheduler.config.printable import printable
from scheduler.executors.worker_process import WorkerCheckError
from scheduler.report.boxes import told_apart
from scheduler.report.content import content_of
from scheduler.report.page import LibraryMissingError, page_of
from scheduler.report.pictures.embedding import pictures_of
from scheduler.report.tables import as_csv, as_parquet
from scheduler.storage.atomic import write_bytes_durably
from scheduler.storage.regular_files import what_is_there
from scheduler.views.answers import answers_of


def run(arguments: argparse.Namespace) -> int:
    """Write the report and its tables; return 1 where there are no rows yet."""
    asked = [asked_for(file, arguments) for file in dict.fromkeys(arguments.sweeps)]
    path = _output(arguments, [sweep.name for sweep, _, _ in asked])
    sweeps = told_apart(asked)
    try:
        answers = answers_of(sweeps, arguments.metric, snippets=True)
        content = content_of(sweeps, answers)
        page = page_of(content, pictures_of(sweeps, answers))
    except WorkerCheckError as error:
        raise UserError(printable(str(error), " ")) from None
    except LibraryMissingError as error:
        raise UserError(str(error)) from None
    for notice in notices_of(answers, sweeps):
        print(printable(notice, " "), file=sys.stderr)
    _write(path, page.encode("utf-8", "backslashreplace"))
    _write(path.with_suffix(".csv"), as_csv(content.rows))
    if (parquet := as_parquet(content.rows)) is not None:
        _write(path.with_suffix(".parquet"), parquet)
    else:
        print("no Parquet file: pyarrow is not installed", file=sys.stderr)
    if arguments.open and not webbrowser.open(path.absolute().as_uri()):
        print(f"no browser was found; open {shown(path)} by hand", file=sys.stderr)
    return 0 if content.rows else 1


def _write(path: Path, content: bytes) -> None:
    """Write a file and say so.

    Raises:
        UserError: it could not be written; what was there still is.
    """
    try:
        # Where a link leads to, and not in its place.
        target = Path(os.path.realpath(path))
        if (what := what_is_there(target)) is not None:
            raise FileExistsError(errno.EEXIST, f"{what} of that name is there")
        write_bytes_durably(target, content)
    except OSError as error:
        raise UserError(
            f"{shown(path)} cannot be written: {error.strerror}; give another place with --output"
        ) from None
    print(shown(path))


def _output(arguments: argparse.Namespace, names: list[str]) -> Path:
    if arguments.output is None:
        return Path(f"{names[0] if len(names) == 1 else 'sweeps'}-report.html")
    path: Path = arguments.output
    if path.suffix not in (".html", ".htm"):
        raise UserError(f"--output {path}: its name must end in .html")
    return path
