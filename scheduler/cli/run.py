"""``python -m scheduler SWEEP.yaml``: run a sweep, or resume it."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from scheduler.cli.common import UserError, chosen, lock_sweep
from scheduler.cli.devices import check_enough
from scheduler.cli.locate import (
    locate_to_run,
    misplaced_files,
    misplaced_script,
    remember,
    shown,
)
from scheduler.cli.measured.ahead import ahead_in_words
from scheduler.cli.measured.track import refuse_missing_tracker
from scheduler.cli.starting.executors import make_executor
from scheduler.cli.starting.inside import (
    Yield,
    open_place,
    refuse_what_runs_elsewhere,
    submitter_of,
)
from scheduler.cli.starting.kept import tell_recovered
from scheduler.cli.starting.work import with_work
from scheduler.config.hours import Hours, zone_text
from scheduler.config.loader import SweepError, read_sweep
from scheduler.config.matrix.shuffle import shuffled
from scheduler.config.placeholders import UnsetVariable, as_text, expand_home, names_in
from scheduler.config.printable import printable
from scheduler.config.sweep import OWN_PLACEHOLDERS, Order, Sweep, Task
from scheduler.core.progress import SweepProgress
from scheduler.core.states import Need
from scheduler.devices.finding import FoundDevices, room
from scheduler.devices.lease import LeaseFolderError
from scheduler.devices.processes import start_ticks
from scheduler.dispatch.clock import Clock
from scheduler.dispatch.dispatcher import Dispatcher
from scheduler.dispatch.recovery import recover
from scheduler.dispatch.repairs import set_right
from scheduler.dispatch.standings import Recovered, Running, Waiting
from scheduler.dispatch.wishes.hours import limit_at
from scheduler.executors.code_copy import CodeCopy, TooLarge, take
from scheduler.executors.local.survivors import find_survivors
from scheduler.executors.worker_process import (
    WorkerAnswer,
    WorkerCheckError,
    ask_worker,
    find_program,
)
from scheduler.storage.attempts_file import AttemptRecord, is_locked
from scheduler.storage.checkpoints import CheckpointFolder
from scheduler.storage.paths import SweepPaths
from scheduler.storage.regular_files import what_is_there
from scheduler.storage.sweep_record import SweepRecord
from scheduler.views.console import WideConsole
from scheduler.views.display import RunDisplay, make_display
from scheduler.views.from_files import initial_progress
from scheduler.views.messages import in_doubt, judged_again, limit_text, without
from scheduler.views.source_mix import find_other_code, remarks_on_code
from scheduler.views.streams import reader_may_leave
from scheduler.views.tables import closing


def run(arguments: argparse.Namespace) -> int:
    """Run the sweep; return its exit code."""
    whole, sweep = read_and_check(arguments)
    paths = locate_to_run(whole, arguments.sweep, arguments.root)
    inside, sweep, cluster, devices = open_place(sweep, arguments)
    refuse_missing_tracker(sweep, arguments.sweep)
    unheard = nobody_is_told(sweep)
    if unheard and arguments.dry_run:
        raise UserError(f"{arguments.sweep}: {unheard[0]}")
    for remark in (*misplaced_files(sweep, arguments.sweep), *not_filled_in(sweep), *unheard):
        print(f"{shown(arguments.sweep)}: {remark}", file=sys.stderr)
    if arguments.dry_run:
        print_plan(with_seed(sweep, paths), paths, devices)
        return 0
    lock = lock_sweep(sweep, paths, this_process(whole, arguments.only, len(sweep.left_out)))
    try:
        remember(whole, arguments.sweep, paths)
        sweep = with_seed(sweep, paths)
        copy = copy_code(paths, arguments.sweep) if arguments.snapshot else None
        recovered = recover(sweep, paths, Clock())
        refuse_what_runs_elsewhere(inside, recovered, cluster)
        executor = make_executor(sweep, paths, cluster, devices, copy, submitter_of(inside))
        recovered = set_right(recovered, sweep, paths)
        if cluster is None:
            recovered = recovered.with_survivors(survivors(recovered, paths))
            check_enough(sweep, recovered.waiting, devices.all)
        tell_left_running(sweep, paths)
        recovered = with_work(tell_recovered(recovered, sweep, paths), sweep, paths)
        progress = initial_progress(recovered, paths)
        progress.left_out = len(sweep.left_out)
        with shown_as(progress, sweep, paths, arguments) as display:
            if inside is not None:
                executor = inside.lend(executor, sweep, progress)
            dispatcher = Dispatcher(
                sweep, paths, lock, executor, recovered, progress, display, arguments.sweep, copy
            )
            before = Yield.of(sweep, paths, progress)
            code = dispatcher.run(adopt=not arguments.no_adopt)
    except LeaseFolderError as error:
        raise UserError(str(error)) from None
    except OSError as error:
        raise UserError(f"{error.filename or paths.checkpoints}: {error.strerror}") from None
    finally:
        lock.release()
    last = ""
    if inside is not None:
        now = Yield.of(sweep, paths, progress)
        code, last = inside.left_with(code, before, now, arguments.sweep)
    with reader_may_leave():
        console = WideConsole()
        find_other_code(progress, paths)
        for part in (*remarks_on_code(progress), *closing(progress, paths, time.time())):
            console.print(part)
        print(last, end="")
    return code


@contextlib.contextmanager
def shown_as(
    progress: SweepProgress, sweep: Sweep, paths: SweepPaths, arguments: argparse.Namespace
) -> Iterator[RunDisplay]:
    """Have what happens shown as the command line says.

    Raises:
        UserError: it cannot be.
    """
    if progress.braked is not None:
        print(printable(f"goes on; the last run stopped: {progress.braked}", " "))
    display: RunDisplay = make_display(progress, sweep, paths, plain=arguments.plain)
    try:
        if arguments.metrics_file is not None:
            display = with_metrics(display, sweep, progress, arguments.metrics_file)
        yield display
    finally:
        display.close()


def with_metrics(
    display: RunDisplay, sweep: Sweep, progress: SweepProgress, path: Path
) -> RunDisplay:
    """Return a display that also keeps a file for Prometheus up to date.

    Raises:
        UserError: the package for it is not there, or the file cannot be written.
    """
    try:
        from scheduler.views.metrics_file import MetricsFile
    except ImportError:
        raise UserError(
            "--metrics-file needs prometheus_client: pip install 'diffusion-sweeps[metrics]'"
        ) from None
    # Where a link leads to, and not in its place.
    target = Path(os.path.realpath(path))
    if (what := what_is_there(target)) is not None:
        raise UserError(f"--metrics-file: {path} is {what}; name a file")
    try:
        return MetricsFile(display, sweep.name, progress, target)
    except OSError as error:
        raise UserError(f"--metrics-file: {path}: {error.strerror}") from None


def copy_code(paths: SweepPaths, sweep_file: Path) -> CodeCopy:
    """Copy the code that the current folder has; say so if it is not what the last run had.

    Raises:
        UserError: it is too large, or cannot be copied.
    """
    try:
        copy = take(Path.cwd(), paths, sweep_file)
    except TooLarge as error:
        raise UserError(f"--snapshot: {error}; start it where the code alone is") from None
    except OSError as error:
        raise UserError(f"--snapshot: {error.filename or paths.code}: {error.strerror}") from None
    if copy.before is not None:
        print(
            f"--snapshot: the code has changed since the last run ({copy.before}, now {copy.digest}): "
            "what is left runs it as it is now"
        )
    return copy


def this_process(whole: Sweep, only: Sequence[str], left_out: int) -> dict[str, Any]:
    """Return what the lock's file says of this dispatcher.

    Args:
        whole: the sweep with all of its tasks.
        only: the choice among them.
        left_out: how many of them it leaves out.
    """
    pid = os.getpid()
    choice = {"only": list(only), "left_out": left_out} if only else {}
    return {
        "pid": pid,
        "start_ticks": start_ticks(pid),
        "at": time.time(),
        "fingerprint": whole.fingerprint,
        **choice,
    }


def read_and_check(arguments: argparse.Namespace) -> tuple[Sweep, Sweep]:
    """Read the sweep file, and ask the worker what is wrong with its tasks.

    Returns:
        the sweep with all of its tasks, and with those that are chosen.

    Raises:
        UserError: with everything that either found; or the choice means no task.
    """
    path = arguments.sweep
    problems: list[str] = []
    try:
        whole: Sweep | None = read_sweep(path)
    except SweepError as error:
        whole, problems = error.partial, error.problems
    sweep = whole
    if whole is not None and not problems:
        sweep = whole.limited_to(chosen(whole, arguments.only))
    if sweep is not None:
        answer = heard_of_worker(sweep, path)
        problems += [f"{path}: {problem}" for problem in answer.problems]
        sweep = sweep.with_timed(answer.timed, answer.staged)
    if problems:
        raise UserError(
            "\n".join(p if p.startswith(f"{path}: ") else f"{path}: {p}" for p in problems)
        )
    assert whole is not None
    assert sweep is not None
    return whole, sweep


def heard_of_worker(sweep: Sweep, file: Path) -> WorkerAnswer:
    """Return what the worker says of the sweep, or the absence of its program."""
    if (misplaced := misplaced_script(sweep, file)) is not None:
        return WorkerAnswer([misplaced])
    try:
        own = sweep.own_environment(os.environ)
    except UnsetVariable as name:
        return WorkerAnswer(
            [f"worker.env: ${name} is not set here; set it, or write $${name} for that text"]
        )
    environment = {**os.environ, **own}
    program = sweep.program
    if "{" not in program and find_program(program, environment.get("PATH")) is None:
        where = f" on the PATH of worker.env ({own['PATH']})" if "PATH" in own else ""
        return WorkerAnswer([f"worker.command: there is no program {program!r}{where}"])
    if sweep.check is None or not sweep.tasks:
        return WorkerAnswer([])
    try:
        return ask_worker(sweep.check, sweep.question(), environment)
    except WorkerCheckError as error:
        return WorkerAnswer([str(error)])


def nobody_is_told(sweep: Sweep) -> list[str]:
    """Return a remark if there is no program of ``notify.command``: no reason to run nothing."""
    program = expand_home(sweep.notify.command[0]) if sweep.notify is not None else "python"
    if find_program(program, os.environ.get("PATH")) is not None:
        return []
    return [f"notify.command: there is no program {program!r}; nobody would be told"]


def not_filled_in(sweep: Sweep) -> Iterator[str]:
    """Yield a remark on each variable with an axis in braces: it may be meant as it stands, but rarely is."""
    for name, value in sweep.env.items():
        for axis in dict.fromkeys(names_in(as_text(value))):
            if axis in (*sweep.axes, *OWN_PLACEHOLDERS):
                yield (
                    f"worker.env.{name}: {{{axis}}} stays as it is; only command and args are filled in "
                    "(a worker finds the same in the file that SWEEP_SPEC names)"
                )


def survivors(recovered: Recovered, paths: SweepPaths) -> dict[str, AttemptRecord]:
    """Return the attempts that still run though their files are gone, by task; say so of each."""
    waiting = recovered.waiting
    found = find_survivors(paths, waiting) if waiting else {}
    for task in found:
        print(f"{task}: still runs from before its files were removed; --no-adopt stops it")
    return found


def with_seed(sweep: Sweep, paths: SweepPaths) -> Sweep:
    """Return a sweep in a random order with the seed that is on record, where its file has none."""
    if sweep.order is None or sweep.order.kind != "random" or sweep.order.seed is not None:
        return sweep
    record = SweepRecord.read(paths)
    return replace(sweep, order=replace(sweep.order, seed=None if record is None else record.seed))


def tell_left_running(sweep: Sweep, paths: SweepPaths) -> None:
    """Say which tasks that are left out still run; nothing of them is touched."""
    tried = CheckpointFolder.of(paths.checkpoints).attempts if sweep.left_out else {}
    for task in sorted(task for task in tried if task in sweep.left_out):
        if is_locked(paths.attempts(task)):
            print(f"{task}: still runs, left out by --only; a run that takes it in records its end")


def in_order(sweep: Sweep, recovered: Recovered, paths: SweepPaths) -> list[Task]:
    """Return the tasks in the order in which those never tried are started, as far as it is known."""
    longest = recovered.longest_first(sweep, paths)
    if longest is not None:
        return [sweep.tasks[number] for number in longest.sequence()]
    if sweep.order is None or sweep.order.seed is None:
        return list(sweep.tasks)
    tasks = {task.id: task for task in sweep.tasks}
    return [tasks[name] for name in shuffled(list(tasks), sweep.order.seed)]


def _seed_in_words(order: Order) -> str:
    if order.kind != "random":
        return ""
    return ", drawn at the first run" if order.seed is None else f", seed {order.seed}"


def _on_devices(sweep: Sweep) -> Iterator[str]:
    """Yield what the sweep file says of which task has which devices, and when."""
    if sweep.devices.share is not None:
        alone = [task.id for task in sweep.tasks if Need.of(sweep, task.id).alone]
        staged = sum(Need.of_untimed_stage(sweep, task) is not None for task in alone)
        later = f" ({staged} of them only while they are timed)" if staged else ""
        yield f"{len(alone)} tasks have their devices alone{later}; the others share them"
    if (most := sweep.most_devices) > 1:
        each = f"up to {most}" if isinstance(sweep.devices.per_task, str) else str(most)
        yield f"each task has {each} devices at once"
    if isinstance(hours := sweep.devices.at_most, Hours):
        now = limit_text(limit_at(hours, time.time()))
        yield f"devices in use at once: {hours} ({zone_text(hours.zone)}); now {now}"
    if sweep.order is not None:
        yield f"order: {sweep.order.kind}{_seed_in_words(sweep.order)}"
    if sweep.priority:
        yield f"priority: {sweep.priority}, among the sweeps that wait for devices of this machine"


def print_plan(sweep: Sweep, paths: SweepPaths, devices: FoundDevices) -> None:
    """Print what would be run where; change nothing."""
    recovered = tell_recovered(recover(sweep, paths, Clock()), sweep, paths)
    recovered = with_work(recovered, sweep, paths)
    survivors(recovered, paths)
    check_enough(sweep, recovered.waiting, devices.all)
    progress = initial_progress(recovered, paths)
    count = f"{len(sweep.tasks)} tasks{without(len(sweep.left_out))}"
    print(f"{sweep.name}: {count}; root {shown(paths.root)}; {devices.where}")
    for device in devices.all:
        cores = f", cores {device.cores}" if device.cores else ""
        most = room(device, sweep.devices)
        shared = f", room for {most} that share it" if most > 1 else ""
        print(f"  device {device.index}: {device.name}{cores}{shared}")
    for line in _on_devices(sweep):
        print(f"  {line}")
    for task in in_order(sweep, recovered, paths):
        words = sweep.argv(task, {}, str(paths.results(task.id)), str(paths.spec("DEVICE")))
        print(f"  {task.id} [{progress.tasks[task.id].state}] {shlex.join(words)}")
    for state, why, tasks in recovered.doubts():
        if len(tasks) > 1:
            print(printable(in_doubt(tasks, state, why), " "))
    said = {why for _, why, tasks in recovered.doubts() if len(tasks) > 1}
    for task_id, rejected in recovered.rejected:
        if rejected.why not in said and isinstance(recovered.standings[task_id], Running | Waiting):
            print(
                printable(
                    f"  {task_id}: its checkpoint does not hold: {rejected.why}; it would run again",
                    " ",
                )
            )
    for why, outcome, tasks in recovered.judged_again():
        print(printable(f"  {judged_again(tasks, why, outcome)}", " "))
    for task_id in recovered.taken_again:
        print(f"  {task_id}: its checkpoint, which was set aside, holds again")
    for line in ahead_in_words(sweep, paths, progress):
        print(line)
    print("nothing was started")
