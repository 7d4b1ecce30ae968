"""When a parent is loaded, when attempts are forked from it, and when it is given up.

Whatever is odd about it leads to plain starts, which need nothing of this.
"""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from scheduler.core import journal_events as je
from scheduler.executors.local.preload.command import Loading
from scheduler.executors.local.preload.loaded import LoadedParent, has_said
from scheduler.executors.source_files import SourceFiles

LONGEST_LOADING = 300.0  # seconds
_MOST_DEATHS = 3  # of loaded parents, of whatever

# What is loaded, and the digests of its files of code by their paths.
_Version = tuple[Loading, Mapping[str, str]]


class Preload:
    """Has a parent loaded while the first attempts run, and names it to those who start others."""

    def __init__(
        self,
        setting: str,
        environment: Mapping[str, str],
        stderr_path: Path,
        selector: selectors.BaseSelector,
        folder: Path | None,
        cpus: Callable[[], Sequence[int]],
    ) -> None:
        """Begin without one.

        Args:
            setting: the sweep file's ``worker.preload``.
            environment: of the workers, as far as it depends on no device.
            stderr_path: where is appended what a parent prints.
            selector: where it is registered while it is there, with this object as data.
            folder: where workers run; None: in the current folder.
            cpus: tells where a parent may load without being in anybody's way.
        """
        self._setting = setting
        self._environment = environment
        self._stderr_path = stderr_path
        self._selector = selector
        self._folder = folder
        self._cpus = cpus
        self._parent: LoadedParent | None = None
        self._is_ready = False
        self._began = 0.0
        # What the parent has loaded, and what turned out to be of no use.
        self._version: _Version | None = None
        self._useless: _Version | None = None
        self._deaths = 0
        self._sources: dict[Loading, SourceFiles] = {}
        self._to_tell: list[je.Preloaded] = []

    def parent_for(self, words: Sequence[str], *, worth_it: bool) -> LoadedParent | None:
        """Return the parent to fork an attempt from that is started by these words, if it is ready.

        Args:
            words: the first of them a program's path.
            worth_it: have one loaded now, if there is none, since more attempts will come.
        """
        folder = self._folder or Path(os.curdir).absolute()
        loading = Loading.of(words, self._setting, folder)
        if loading is None or self._deaths >= _MOST_DEATHS:
            return None
        version = loading, self._code_of(loading, words)
        if self._parent is not None and self._version != version:
            self.end()
            worth_it = True
        if self._parent is None and worth_it and version != self._useless:
            self._load(version)
        return self.ready

    def _code_of(self, loading: Loading, words: Sequence[str]) -> dict[str, str]:
        if (files := self._sources.get(loading)) is None:
            python_path = self._environment.get("PYTHONPATH", "")
            files = self._sources[loading] = SourceFiles(Path(loading.path), python_path, ())
        return dict(files.read(["", "-m", loading.module, *words[1 : loading.own_words]]))

    def _load(self, version: _Version) -> None:
        self._version, self._began = version, time.monotonic()
        try:
            parent = LoadedParent(
                version[0], self._environment, self._cpus(), self._stderr_path, self._folder
            )
        except OSError as error:
            self._give_up(error.strerror or str(error))
            return
        self._parent = parent
        self._selector.register(parent, selectors.EVENT_READ, self)

    @property
    def ready(self) -> LoadedParent | None:
        """The parent, if it is ready."""
        return self._parent if self._is_ready else None

    def not_prepared(self, why: str, task: str | None) -> None:
        """Tell that no worker can prepare for a task; None: for any."""
        self._tell(why=why, prepares=False, task=task)

    def failed(self, why: OSError) -> None:
        """The parent did not fork what it was to; the next one may."""
        self._died(why.strerror or str(why))

    def events(self) -> Iterator[je.Preloaded]:
        """Yield what is to be told of it, once."""
        if self._parent is not None and not self._is_ready and time.monotonic() > self._limit:
            self._give_up(f"it was not loaded within {LONGEST_LOADING:.0f} s")
        yield from self._to_tell
        self._to_tell.clear()

    def hear(self) -> None:
        """Take in what the parent has said: that it is ready, or why it never will be, or by its end."""
        if self._parent is None or not has_said(self._parent):  # it was another that had
            return
        why, was_ready = self._parent.said(), self._is_ready
        if why is None:
            self._is_ready = True
            self._tell(seconds=time.monotonic() - self._began)
        elif was_ready:
            self._died(why)
        else:
            self._give_up(why)

    def _died(self, why: str) -> None:
        self._deaths += 1
        self.end()
        if self._deaths >= _MOST_DEATHS:
            self._tell(why=f"{why}, {_MOST_DEATHS} times by now")

    def _give_up(self, why: str) -> None:
        """Load this no more, unless it changes."""
        self._tell(why=why)
        self._useless = self._version
        self.end()

    def _tell(
        self,
        *,
        seconds: float | None = None,
        why: str | None = None,
        prepares: bool = True,
        task: str | None = None,
    ) -> None:
        assert self._version is not None
        self._to_tell.append(je.Preloaded(self._version[0].module, seconds, why, prepares, task))

    @property
    def _limit(self) -> float:
        return self._began + LONGEST_LOADING

    def deadline(self) -> float | None:
        """Return when `events` is to be asked for though the parent says nothing (monotonic), or None."""
        if self._to_tell:
            return 0.0
        return self._limit if self._parent is not None and not self._is_ready else None

    def end(self) -> None:
        """Have no parent any more; what it forked goes on."""
        if self._parent is not None:
            self._selector.unregister(self._parent)
            self._parent.end()
        self._parent, self._is_ready = None, False
