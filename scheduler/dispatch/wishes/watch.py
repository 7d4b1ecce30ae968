"""The dispatcher's eye on what is asked of its sweep: tells the core, and the journal who asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from functools import partial

from scheduler.core import events as ev
from scheduler.core import journal_events as je
from scheduler.dispatch.inbox import Inbox
from scheduler.dispatch.wishes.files import Asked, Wish, Wishes, forget, name_of, read_wishes
from scheduler.dispatch.wishes.sweep_in_use import SweepInUse
from scheduler.storage.paths import RELOAD_WISH, SweepPaths

LOOK_AGAIN = 0.5  # seconds between two looks of a dispatcher


class WishWatch:
    """Watches a sweep's wishes for its dispatcher: tells the core of each, and the journal who asked."""

    def __init__(
        self,
        use: SweepInUse,
        paths: SweepPaths,
        devices: Collection[str],
        inbox: Inbox,
        handle: Callable[[ev.Event], None],
        emit: Callable[[je.JournalEvent], None],
        reload: Callable[[Asked, ev.ReloadAsked], None],
    ) -> None:
        self._paths = paths
        self._use = use
        self._reload = reload
        self._devices = devices
        self._handle = handle
        self._emit = emit
        self._inbox = inbox
        self._told = Wishes()
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="wishes", daemon=True)

    def begin_watching(self) -> None:
        """Tell of the wishes that stand, and from now on of those that come."""
        first = read_wishes(self._paths)
        standing = {n: replace(a, earlier=()) for n, a in first.asked.items() if _wants(a.wish)}
        self._tell(Wishes(standing, first.ignored))
        self._told = first  # a resume of before is none of this dispatcher's
        self._thread.start()

    def finish(self) -> None:
        """Look no more."""
        self._leaving.set()
        if self._thread.is_alive():
            self._thread.join()

    def obeyed(self, task: str) -> None:
        """Remove the wish about a task, unless it is another by now."""
        self._forget(name_of(ev.StopAsked(task)))

    def reloaded(self) -> None:
        """Remove the wish that the sweep file be read again, unless it is another by now."""
        self._forget(RELOAD_WISH)

    def _forget(self, name: str) -> None:
        if (told := self._told.asked.get(name)) is not None:
            forget(self._paths, name, told)

    def _watch(self) -> None:
        seen = self._told
        while not self._leaving.wait(LOOK_AGAIN):
            wishes = read_wishes(self._paths)
            if wishes != seen:
                seen = wishes
                self._inbox.post(partial(self._tell, wishes))

    def _tell(self, wishes: Wishes) -> None:
        before, self._told = self._told, wishes
        for name, why in wishes.ignored.items():
            if before.ignored.get(name) != why:
                self._emit(je.WishIgnored(name, why))
        for name, asked in _changed(before, wishes):
            match asked.wish:
                case ev.StopAsked(task=task) if task in self._use.now.left_out:
                    pass  # it stands for the dispatcher that has the task
                case ev.StopAsked(task=task) if not self._use.has(task):
                    self.obeyed(task)
                case ev.ReloadAsked():
                    self._handle(asked.wish)
                    self._reload(asked, asked.wish)
                case ev.DrainAsked(device=device) if device not in self._devices:
                    self._emit(je.WishIgnored(name, "names a device that this sweep does not use"))
                case wish:
                    self._emit(_entry(wish, asked.by))
                    self._handle(wish)


def _changed(before: Wishes, now: Wishes) -> Iterator[tuple[str, Asked]]:
    """Yield the wishes that are new, each after those that its file had between two looks.

    One whose file was removed by hand counts as taken back.
    """
    for name, asked in now.asked.items():
        told = before.asked.get(name)
        if told != asked:
            yield from ((name, one) for one in asked.unseen(told))
            yield name, asked
    for name, asked in before.asked.items():
        if name not in now.asked and _wants(asked.wish):
            match asked.wish:
                case ev.PauseAsked():
                    yield name, Asked(ev.ResumeAsked(), "", time.time(), asked.version)
                case ev.DrainAsked(device=device):
                    wish = ev.DrainAsked(device, on=False)
                    yield name, Asked(wish, "", time.time(), asked.version)


def _wants(wish: Wish) -> bool:
    """Say whether the wish wants something of a dispatcher that has just started."""
    return not (
        isinstance(wish, ev.ResumeAsked)
        or wish == ev.DrainAsked(getattr(wish, "device", ""), on=False)
    )


def _entry(
    wish: ev.StopAsked | ev.PauseAsked | ev.ResumeAsked | ev.DrainAsked, by: str
) -> je.JournalEvent:
    match wish:
        case ev.StopAsked(task=task, fail=fail):
            return je.StopAsked(task, fail, by)
        case ev.PauseAsked(now=now):
            return je.PauseAsked(now, by)
        case ev.ResumeAsked():
            return je.ResumeAsked(by)
        case ev.DrainAsked(device=device, on=on):
            return je.DrainAsked(device, on, by)
