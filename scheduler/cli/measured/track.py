"""``python -m scheduler track``: new measurements go where the sweep file's ``track`` says."""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
from pathlib import Path

from scheduler.cli.common import UserError
from scheduler.cli.locate import locate, shown
from scheduler.config.loader import SweepError, read_sweep
from scheduler.config.printable import printable
from scheduler.config.sweep import Sweep
from scheduler.config.units import format_duration
from scheduler.storage.locks import SweepHeld, SweepLock

_TO_GIVE_UP = 5  # seconds


class TooLong(BaseException):  # no error of a task's, which others may do without
    """The time is over."""


def run(arguments: argparse.Namespace) -> int:
    """Send what is new; return 1 where some of it did not go out."""
    try:
        sweep = read_sweep(arguments.sweep)
    except SweepError as error:
        raise UserError(str(error)) from None
    if sweep.track is None:
        raise UserError(
            f"{shown(arguments.sweep)}: it has no section track, as in track: {{to: mlflow}}"
        )
    refuse_missing_tracker(sweep, arguments.sweep)
    paths = locate(sweep, arguments.sweep, arguments.root)
    if not paths.checkpoints.is_dir():
        raise UserError(
            f"{sweep.name}: no measurements yet in {shown(paths.checkpoints)}", exit_code=1
        )
    os.nice(19)  # what is measured meanwhile goes first
    try:
        lock = SweepLock(paths.tracking)
    except SweepHeld:
        raise UserError(
            f"{sweep.name}: another process sends its measurements", exit_code=3
        ) from None
    except OSError as error:
        raise UserError(f"{error.filename or paths.tracking}: {error.strerror}") from None
    # Here, since every run of a sweep imports this module for `refuse_missing_tracker`.
    from scheduler.report.tracking.sending import send_new_rows
    from scheduler.report.tracking.trackers import SENDERS

    _allow(sweep.track.timeout)
    try:
        outcome = send_new_rows(sweep, sweep.track, paths, SENDERS[sweep.track.to])
    except OSError as error:
        raise UserError(f"{error.filename or paths.tracked}: {error.strerror}") from None
    except TooLong:
        limit = format_duration(sweep.track.timeout)
        raise UserError(
            f"{sweep.name}: not all was sent within {limit} (track.timeout); the next time goes on there",
            exit_code=1,
        ) from None
    finally:
        lock.release()
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(f"{sweep.name}: {outcome.sent} measurement(s) sent to {sweep.track.to}")
    for task, why in outcome.failed.items():
        print(f"{printable(task, ' ')}: not sent: {why}", file=sys.stderr)
    return 1 if outcome.failed else 0


def _allow(seconds: float) -> None:
    """Have `TooLong` raised after that time; also where the dispatcher that would end this was killed."""

    def end(*_: object) -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_TO_GIVE_UP)  # whatever a package makes of the exception
        raise TooLong

    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def refuse_missing_tracker(sweep: Sweep, file: Path) -> None:
    """See to it that the package of the tracker is there.

    Raises:
        UserError: it is not.
    """
    if sweep.track is None:
        return
    name = sweep.track.to
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:  # the latter: a folder of that name, as wandb makes one
        raise UserError(
            f"{shown(file)}: track.to: the package {name} is not installed: "
            f"pip install 'diffusion-sweeps[{name}]'"
        )
