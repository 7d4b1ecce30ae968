"""What several verbs share: the sweep's argument, its reading, its lock, the pictures of its files."""

from __future__ import annotations

import argparse
from pathlib import Path

from filelock import FileLock, Timeout

from scheduler.paths import SweepPaths
from scheduler.sweep import Sweep
from scheduler.sweepfile import SweepError, read_sweep


class UserError(Exception):
    """Something only the user can mend: the message is one clear sentence."""

    def __init__(self, message: str, exit_code: int = 2) -> None:
        self.exit_code = exit_code
        super().__init__(message)


def add_sweep_arguments(parser: argparse.ArgumentParser) -> None:
    """Add SWEEP and --root."""
    parser.add_argument("sweep", metavar="SWEEP.yaml", type=Path, help="the sweep file")
    parser.add_argument(
        "--root",
        metavar="DIR",
        type=Path,
        default=Path(),
        help="where checkpoints/ and logs/ lie (default: the current folder)",
    )


def load(arguments: argparse.Namespace) -> tuple[Sweep, SweepPaths]:
    """Read the sweep file; return the sweep and its paths.

    Raises:
        UserError: with all the mistakes of the file.
    """
    try:
        sweep = read_sweep(arguments.sweep)
    except SweepError as error:
        raise UserError(str(error)) from None
    return sweep, SweepPaths(arguments.root.absolute(), sweep.name)


def lock_sweep(sweep: Sweep, paths: SweepPaths) -> FileLock:
    """Take the sweep for this process, until it dies.

    Raises:
        UserError: another dispatcher holds it (exit code 3), or the folders cannot be written.
    """
    try:
        paths.make_folders()
        lock = FileLock(paths.lock)
        lock.acquire(blocking=False)
    except Timeout:
        raise UserError(
            f"another dispatcher holds the sweep {sweep.name!r} ({paths.checkpoints}); "
            "`python -m scheduler status` shows what it does",
            exit_code=3,
        ) from None
    except OSError as error:
        raise UserError(
            f"{error.filename or paths.checkpoints}: {error.strerror}; checkpoints and logs must be writable "
            "(--root DIR puts them elsewhere)"
        ) from None
    return lock
