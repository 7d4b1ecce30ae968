"""Takes a changed sweep file in while its dispatcher runs, as that one's next start would.

1. Whoever asks has read and checked the file, and says in the wish which one that was.
2. The core starts and ends nothing; a thread reads the file.
3. When no task that it changes is being judged, the files of these are looked at and set right as at a start;
   then the core, and everything else, goes by the new file.

A dispatcher that dies meanwhile leaves what one leaves that dies in its start: the next one reads the file.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from scheduler.config.loader import SweepError, read_sweep
from scheduler.config.matrix.choice import NoSuchTask, choose
from scheduler.config.matrix.shuffle import shuffled
from scheduler.config.matrix.values import value_text
from scheduler.config.sweep import Sweep, Task
from scheduler.config.units import format_duration
from scheduler.core import events as ev
from scheduler.core import journal_events as je
from scheduler.core.core import Core
from scheduler.core.progress import SweepProgress
from scheduler.core.retry import Policy
from scheduler.core.snapshot import DONE, FAILED
from scheduler.core.states import State
from scheduler.dispatch.clock import Clock
from scheduler.dispatch.inbox import Inbox
from scheduler.dispatch.recovery import SweepFiles, classify
from scheduler.dispatch.repairs import set_right
from scheduler.dispatch.standings import Done, Failed, Recovered
from scheduler.dispatch.wishes.files import Asked
from scheduler.dispatch.wishes.settings import cannot_change, taken_over, unchangeable
from scheduler.dispatch.wishes.sweep_in_use import SweepInUse
from scheduler.executors.cluster.found import why_not_on_parts
from scheduler.executors.worker_process import WorkerAnswer, WorkerCheckError, ask_worker
from scheduler.storage.paths import SweepPaths

LONGEST_READING = 60.0  # seconds; nothing is started meanwhile


class CannotReload(Exception):  # noqa: N818  # nothing failed: the file is not taken in
    """The sweep file cannot be taken in by a running dispatcher; the message says why."""


@dataclass(frozen=True, slots=True)
class News:
    """A changed sweep file, ready to be gone by."""

    # With all of its tasks, and with those that this dispatcher takes.
    whole: Sweep
    sweep: Sweep
    # Where the tasks stand that are new or have other settings.
    recovered: Recovered
    # Those of them that the core has not, though an attempt runs.
    begun: Sequence[str]
    event: ev.Reloaded
    told: je.SweepReloaded


class Reloader:
    """Sees to the wish that the sweep file be read again."""

    def __init__(
        self,
        use: SweepInUse,
        file: Path,
        only: Sequence[str],
        paths: SweepPaths,
        clock: Clock,
        core: Core,
        inbox: Inbox,
        take_in: Callable[[News], None],
        refuse: Callable[[je.ReloadRefused], None],
    ) -> None:
        """Begin with nothing asked for.

        Args:
            use: the sweep as it is now.
            file: its file.
            only: which of its tasks alone the dispatcher takes, in its user's words.
            paths: of the sweep's files.
            clock: the dispatcher's.
            core: asked where tasks stand.
            inbox: where the thread posts what it has read.
            take_in: called in the dispatcher's loop with what is to be gone by.
            refuse: called there where the file cannot be taken in.
        """
        self._use = use
        self._file = file
        self._only = only
        self._paths = paths
        self._clock = clock
        self._core = core
        self._inbox = inbox
        self._take_in = take_in
        self._refuse = refuse
        # As the core last had them: the digests by task.
        self._known = {task.id: use.now.digest(task) for task in use.now.tasks}
        self._asked: Asked | None = None
        self._read: tuple[Sweep, Sweep] | None = None

    def ask(self, asked: Asked, wish: ev.ReloadAsked) -> None:
        """Have the file read again; the last who asks is who counts."""
        self._asked, self._read = asked, None
        if wish.refused:
            self._end(wish.refused)
            return

        def read() -> None:
            try:
                found: tuple[Sweep, Sweep] | str = read_anew(
                    self._file, self._only, self._use.now, wish.fingerprint
                )
            except CannotReload as error:
                found = str(error)
            self._inbox.post(partial(self._has_read, asked, found))

        threading.Thread(target=read, name="reload", daemon=True).start()
        late = f"it could not be read within {format_duration(LONGEST_READING)}"
        post = partial(self._inbox.post, partial(self._has_read, asked, late))
        timer = threading.Timer(LONGEST_READING, post)
        timer.daemon = True
        timer.start()

    def _has_read(self, asked: Asked, found: tuple[Sweep, Sweep] | str) -> None:
        if asked is not self._asked or self._read is not None:  # it is over, or asked again
            return
        if isinstance(found, str):
            self._end(found)
        else:
            self._read = found

    def _end(self, why: str) -> None:
        assert self._asked is not None
        by, self._asked, self._read = self._asked.by, None, None
        self._refuse(je.ReloadRefused(by, why))

    def go_on(self, *, interrupted: bool) -> None:
        """Take in what was read, unless the core has tasks that it changes where they cannot be changed.

        Args:
            interrupted: nothing is started any more.
        """
        if self._read is None or self._asked is None:
            return
        if interrupted:
            self._end("it was interrupted, and starts nothing more")
            return
        whole, sweep = self._read
        changed = [task for task in sweep.tasks if not self._is_as_before(task, sweep)]
        known = {t.id: self._core.state(t.id) for t in changed if t.id in self._known}
        if State.JUDGING in known.values() or State.WRITING in known.values():
            return  # it will not be for long
        try:
            news = self._news(whole, sweep, changed, known, self._asked)
        except OSError as error:
            self._end(f"{error.filename or self._paths.checkpoints}: {error.strerror}")
            return
        self._asked = self._read = None
        self._known |= {task.id: sweep.digest(task) for task in sweep.tasks}
        self._take_in(news)

    def _is_as_before(self, task: Task, sweep: Sweep) -> bool:
        if self._known.get(task.id) != sweep.digest(task):
            return False
        return self._core.state(task.id) is not State.GONE

    def _news(
        self,
        whole: Sweep,
        sweep: Sweep,
        changed: Sequence[Task],
        known: dict[str, State],
        asked: Asked,
    ) -> News:
        """Look at the files of the tasks that are new or changed, and set them right.

        Raises:
            OSError: they cannot be.
        """
        part = sweep.limited_to(changed)
        files = SweepFiles(part, self._paths)
        standings = {task.id: classify(task, files, self._clock) for task in changed}
        recovered = set_right(Recovered(standings), part, self._paths)
        running = {name for name, state in known.items() if state is State.RUNNING}
        today = {task.id for task in sweep.tasks}
        names = [task.id for task in sweep.tasks]
        if sweep.order is not None and sweep.order.kind == "random":
            names = list(shuffled(names, sweep.order.seed or 0))
        event = ev.Reloaded(
            tuple(names),
            tuple(recovered.initial_tasks(self._clock, replace(part, order=None))),
            tuple(tuple(map(value_text, task.values)) for task in changed),
            Policy.of(sweep),
            sweep.limits,
        )
        here = {name for name, state in known.items() if state is not State.GONE}
        told = je.SweepReloaded(
            asked.by,
            new=len(changed) - len(here),
            changed=len(here),
            removed=sum(task.id not in today for task in self._use.now.tasks),
            priority=sweep.priority,
            settings=taken_over(self._use.now, sweep),
        )
        begun = [name for name in recovered.open_attempts if name not in running]
        return News(whole, sweep, recovered, begun, event, told)


def follow(progress: SweepProgress, news: News, core: Core) -> None:
    """Have the progress tell of the tasks that the file has now, and of those under way."""
    listed, under_way = set(news.event.order), (State.RUNNING, State.JUDGING, State.WRITING)
    for name in [name for name in progress.tasks if name not in listed]:
        if core.state(name) not in under_way:
            progress.remove(name)
    for name, standing in news.recovered.standings.items():
        if name in progress.tasks and core.state(name) is State.RUNNING:
            continue
        progress.remove(name)
        progress.add(name)
        if isinstance(standing, Done | Failed):
            progress.move(name, DONE if isinstance(standing, Done) else FAILED)
    names = dict.fromkeys((*(task.id for task in news.sweep.tasks), *progress.tasks))
    progress.tasks = {name: progress.tasks[name] for name in names}
    progress.left_out = len(news.sweep.left_out)


def read_anew(
    file: Path, only: Sequence[str], today: Sweep, fingerprint: str
) -> tuple[Sweep, Sweep]:
    """Read a sweep file again, for a dispatcher that runs it.

    Args:
        file: the sweep file.
        only: the choice among its tasks.
        today: the sweep as the dispatcher has it.
        fingerprint: of the file as it was checked.

    Returns:
        the sweep with all of its tasks, and with those that are chosen.

    Raises:
        CannotReload: it is broken, is not what was checked, or changes what cannot change.
    """
    try:
        whole = read_sweep(file)
    except SweepError as error:
        raise CannotReload(in_short(error)) from None
    if whole.fingerprint != fingerprint:
        raise CannotReload("it has changed again since it was checked; `reload` it once more")
    if fixed := unchangeable(today, whole):
        raise CannotReload(cannot_change(fixed))
    try:
        chosen = choose(whole, only) if only else whole.tasks
    except NoSuchTask as error:
        raise CannotReload(f"--only: {error.problems[0]}") from None
    sweep = whole.limited_to(chosen) if only else whole
    if sweep.devices.share is not None or today.on_parts:
        answer = _answer(sweep)
        sweep = sweep.with_timed(answer.timed, answer.staged)
    if today.on_parts and (why := why_not_on_parts(sweep)) is not None:
        raise CannotReload(f"its attempts have a part of a GPU each, and {why}")
    sweep = replace(
        sweep, runs_on=today.runs_on, on_cluster=today.on_cluster, on_parts=today.on_parts
    )
    return whole, replace(sweep, order=today.order)


def _answer(sweep: Sweep) -> WorkerAnswer:
    """Return what the worker says of the tasks; nothing, where it is not asked.

    Raises:
        CannotReload: it finds something wrong, or does not answer.
    """
    if sweep.check is None:
        return WorkerAnswer([])
    environment = {**os.environ, **sweep.own_environment(os.environ)}
    try:
        answer = ask_worker(sweep.check, sweep.question(), environment)
    except WorkerCheckError as error:
        raise CannotReload(str(error)) from None
    if answer.problems:
        raise CannotReload(answer.problems[0])
    return answer


def in_short(error: SweepError) -> str:
    """Return what is wrong with a file in one line: the first of it, and how much more there is."""
    more = len(error.problems) - 1
    return error.problems[0] + (f" (and {more} more)" if more else "")
