"""``stop``, ``pause``, ``resume`` and ``drain``: what is asked of a sweep, with or without a dispatcher.

Each writes what it wants into a file; the dispatcher that runs sees it within a second, the next one when it
starts.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from scheduler.cli.common import UserError, chosen
from scheduler.cli.locate import load
from scheduler.config.suggest import nearest
from scheduler.config.sweep import Sweep
from scheduler.core import events as ev
from scheduler.core.snapshot import DONE, FAILED, DeviceView
from scheduler.dispatch.wishes.files import ask, read_wishes
from scheduler.storage.attempts_file import is_locked
from scheduler.storage.locks import is_held
from scheduler.storage.paths import SweepPaths
from scheduler.views.from_files import progress_from_files

_NEXT_ONE = "no dispatcher runs; the next one"


def run(arguments: argparse.Namespace) -> int:
    """Ask for what the command says; print what comes of it."""
    sweep, paths = load(arguments)
    commands = {"stop": _stop, "pause": _pause, "resume": _resume, "drain": _drain}
    try:
        for line in commands[arguments.command](arguments, sweep, paths):
            print(line)
    except OSError as error:
        raise UserError(f"{error.filename or paths.wishes}: {error.strerror}") from None
    return 0


def _stop(arguments: argparse.Namespace, sweep: Sweep, paths: SweepPaths) -> Iterator[str]:
    progress = progress_from_files(sweep, paths)
    for task in [task.id for task in chosen(sweep, arguments.tasks)]:
        state = progress.tasks[task].state
        if state in (DONE, FAILED):
            yield f"{task}: has {state} already; nothing is stopped"
        elif not arguments.fail and not is_locked(paths.attempts(task)):
            yield f"{task}: does not run; nothing is stopped (--fail: it is not to be tried any more)"
        else:
            ask(paths, ev.StopAsked(task, arguments.fail))
            then = "fails it" if arguments.fail else "ends its attempt; it goes back to waiting"
            yield f"{task}: {_who(paths)} {then}"


def _pause(arguments: argparse.Namespace, sweep: Sweep, paths: SweepPaths) -> Iterator[str]:
    ask(paths, ev.PauseAsked(arguments.now))
    then = " and stops what runs" if arguments.now else "; what runs may end"
    yield f"{sweep.name}: {_who(paths)} starts nothing new{then}, until it is resumed"


def _resume(arguments: argparse.Namespace, sweep: Sweep, paths: SweepPaths) -> Iterator[str]:
    if read_wishes(paths).paused is None:
        yield f"{sweep.name}: is not paused by hand; nothing to resume"
        return
    ask(paths, ev.ResumeAsked())
    yield f"{sweep.name}: {_who(paths)} starts tasks again"


def _drain(arguments: argparse.Namespace, sweep: Sweep, paths: SweepPaths) -> Iterator[str]:
    devices = progress_from_files(sweep, paths).devices
    for name in dict.fromkeys(arguments.devices):
        device = _device(name, devices, sweep)
        if arguments.undo and device not in read_wishes(paths).drained:
            yield f"{devices[device].label}: is not drained; nothing to undo"
            continue
        ask(paths, ev.DrainAsked(device, not arguments.undo))
        then = "uses it again" if arguments.undo else "starts nothing new on it; what runs may end"
        yield f"{devices[device].label}: {_who(paths)} {then}"


def _device(name: str, devices: dict[str, DeviceView], sweep: Sweep) -> str:
    """Return the device that somebody calls by its id, its index, or its label.

    Raises:
        UserError: the sweep's dispatcher, or the last one, has no such device.
    """
    for device, view in devices.items():
        if name in (device, view.index, view.label):
            return device
    if not devices:
        raise UserError(f"{sweep.name}: no dispatcher has told of its devices yet; start it first")
    known = [view.index for view in devices.values()]
    raise UserError(
        f"{sweep.name} has no device {name!r} (it has {', '.join(known)}){nearest(name, known)}"
    )


def _who(paths: SweepPaths) -> str:
    return "its dispatcher" if is_held(paths.lock) else _NEXT_ONE
