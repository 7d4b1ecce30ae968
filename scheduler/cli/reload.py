"""``python -m scheduler reload``: have the dispatcher that runs take the changed sweep file in."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from scheduler.cli.common import UserError
from scheduler.cli.locate import load
from scheduler.cli.run import read_and_check
from scheduler.config.loader import SweepError, read_sweep
from scheduler.config.printable import printable
from scheduler.config.sweep import Sweep
from scheduler.core import events as ev
from scheduler.core.journal_events import ReloadRefused, SweepReloaded
from scheduler.dispatch.wishes.files import ask
from scheduler.dispatch.wishes.settings import cannot_change
from scheduler.storage.journal import JournalReader
from scheduler.storage.locks import is_held
from scheduler.storage.paths import SweepPaths
from scheduler.storage.sweep_record import SweepRecord
from scheduler.views.messages import counted_changes
from scheduler.views.running_sweep import LockLook

_LOOK_AGAIN = 0.1  # seconds
_PATIENCE = (
    60.0  # seconds; it waits for nothing longer than for the judging of a log, or a full disk
)


def run(arguments: argparse.Namespace) -> int:
    """Check the file, ask for it to be taken in, and print what the dispatcher made of it."""
    try:
        sweep, paths = load(arguments)
        look = LockLook.at(paths)
        if not look.held:
            _refuse_other_name(sweep, arguments.sweep, paths)
            print(f"{sweep.name}: no dispatcher runs; the next one reads the file when it starts")
            return 0
        whole, _ = read_and_check(argparse.Namespace(**{**vars(arguments), "only": look.only}))
    except UserError as error:
        _tell_dispatcher(arguments, str(error))
        raise
    before = time.time()
    _ask(paths, ev.ReloadAsked(whole.fingerprint))
    return _answer(sweep, paths, before)


def _refuse_other_name(sweep: Sweep, file: Path, paths: SweepPaths) -> None:
    """Refuse a file that a dispatcher runs by another name.

    Raises:
        UserError: one does.
    """
    try:
        names = sorted(os.listdir(paths.checkpoints.parent))
    except OSError:
        return
    for name in names:
        there = SweepPaths(paths.root, name)
        record = SweepRecord.read(there)
        if record is not None and record.names(file, there.root) and is_held(there.lock):
            fixed = cannot_change(["name"])
            raise UserError(
                f"{sweep.name}: its dispatcher runs it as {printable(name, ' ')}; {fixed}"
            )


def _ask(paths: SweepPaths, wish: ev.ReloadAsked) -> None:
    try:
        ask(paths, wish)
    except OSError as error:
        raise UserError(f"{error.filename or paths.wishes}: {error.strerror}") from None


def _answer(sweep: Sweep, paths: SweepPaths, asked: float) -> int:
    """Wait for the dispatcher's answer, and print it; return the exit code."""
    while time.time() < asked + _PATIENCE:
        runs = is_held(paths.lock)
        for entry in JournalReader(paths.journal, recent=True):
            if entry.at < asked:
                continue
            match entry.event:
                case SweepReloaded() as event:
                    print(
                        f"{sweep.name}: its dispatcher has taken the file in: {counted_changes(event)}"
                    )
                    return 0
                case ReloadRefused(why=why):
                    raise UserError(f"{sweep.name}: the file is not taken in: {why}")
        if not runs:
            print(
                f"{sweep.name}: its dispatcher has ended; the next one reads the file when it starts"
            )
            return 0
        time.sleep(_LOOK_AGAIN)
    print(
        f"{sweep.name}: its dispatcher has not taken the file in yet; it will, as soon as the ends of tasks "
        "that the file changes are recorded (`status` says what it waits for)"
    )
    return 0


def _tell_dispatcher(arguments: argparse.Namespace, why: str) -> None:
    """Have the journal say why the file was not taken in, if a dispatcher runs the sweep."""
    paths = _paths_of_broken(arguments.sweep, arguments.root or Path.cwd())
    record = SweepRecord.read(paths)
    if record is None or not record.names(arguments.sweep, paths.root) or not is_held(paths.lock):
        return
    start = f"{arguments.sweep}: "
    first, *more = why.removeprefix(start).split(f"\n{start}")
    _ask(paths, ev.ReloadAsked(refused=first + (f" (and {len(more)} more)" if more else "")))


def _paths_of_broken(file: Path, root: Path) -> SweepPaths:
    """Return where the files of a sweep are by its file, be that broken or not."""
    try:
        return SweepPaths(root, read_sweep(file).name)
    except SweepError as error:
        return SweepPaths(root, file.stem if error.partial is None else error.partial.name)
