"""The worker that prepares for the next task while every device is in use: when, and for which."""

from __future__ import annotations

import json
import selectors
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from scheduler.executors.base import Ahead, StartRequest
from scheduler.executors.local import wire
from scheduler.executors.local.handles import PreparingSupervisor
from scheduler.executors.local.preload.loaded import LoadedParent, ParentGone, has_said
from scheduler.executors.local.preload.memory import available
from scheduler.executors.worker_process import TOKEN
from scheduler.storage.regular_files import overwrite

RESERVE = 2**31  # bytes of main memory that are to be left beside what it will take
LEAST = 2**30  # with less left than this it is ended: it is to be had sooner than anything else
_MOST_FAILURES = 3  # one after the other


class _Of(NamedTuple):
    """What is prepared for: a task with the settings that it has now."""

    task: str
    digest: str


@dataclass(slots=True)
class _Preparing:
    """The worker that there is."""

    of: _Of
    supervisor: PreparingSupervisor
    parent: LoadedParent
    # Where it may prepare.
    cpus: list[int]
    # It has said so.
    is_prepared: bool = False


class Standby:
    """Has at most one worker prepare, and gives it to its task when that starts.

    Nothing is recorded of one that never got a device: no attempt has begun. A task for which none could
    prepare starts without, and so do all once that was so of several in a row.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        environment: Mapping[str, str],
        spec_file: Path,
        cpus: Callable[[], list[int]],
        words: Callable[[Sequence[str]], list[str]],
        tell: tuple[Callable[[str, str | None], None], Callable[[ParentGone], None]],
        memory: Callable[[], int | None] = available,
    ) -> None:
        """Begin without one.

        Args:
            selector: where it is registered, with this object as data.
            environment: of the worker while it prepares.
            spec_file: where is written what its task is.
            cpus: tells where it may without disturbing an attempt.
            words: tells by which words a command is started.
            tell: told why nothing can be prepared, and for which task alone; and that the parent is gone.
            memory: tells how many bytes of main memory there are for more; None: not known.
        """
        self._selector = selector
        self._environment = environment
        self._spec_file = spec_file
        self._cpus = cpus
        self._words = words
        self._tell, self._tell_of_parent = tell
        self._memory = memory
        self._failed: set[_Of] = set()
        self._failures = 0
        self._one: _Preparing | None = None

    def look(
        self, ahead: Ahead, parent: LoadedParent | None, needed: Callable[[], int | None]
    ) -> None:
        """Begin with the task that is next, and end what was begun for another.

        Args:
            ahead: tells which task is next.
            parent: from which workers are forked now, if any.
            needed: tells how many bytes of main memory an attempt takes; None: nothing is to be begun now.
        """
        able = parent is not None and parent.prepares and self._failures < _MOST_FAILURES
        found = ahead.next_task() if able or self._one is not None else None
        of = None if found is None else _Of(*found)
        if self._one is not None:
            if self._one.of != of or self._one.parent is not parent or self._is_short():
                self.end()
            else:
                self._make_way(self._one)
        if not able or parent is None or of is None or self._one is not None or of in self._failed:
            return
        most = needed()
        if most is not None and (room := self._memory()) is not None and room >= most + RESERVE:
            self._begin(of, ahead.next_request(), parent)

    def _is_short(self) -> bool:
        room = self._memory()
        return room is not None and room < LEAST

    def _make_way(self, one: _Preparing) -> None:
        """Have it prepare elsewhere when attempts come to be where it does, or others go."""
        if not one.is_prepared and (cpus := self._cpus()) != one.cpus:
            one.cpus = cpus
            one.supervisor.order(wire.Bind(cpus))

    def _begin(self, of: _Of, request: StartRequest, parent: LoadedParent) -> None:
        environment = {
            **self._environment,
            **{name: value for name, value in request.environment.items() if name != TOKEN},
            "SWEEP_SPEC": str(self._spec_file),
        }
        words, cpus = self._words(request.command), self._cpus()
        order = wire.Prepare(words, environment, cpus)
        try:
            overwrite(self._spec_file, json.dumps(request.spec).encode())
            supervisor = PreparingSupervisor(partial(parent, prepares=True), order)
        except ParentGone as why:
            self._tell_of_parent(why)
            return
        except OSError as error:
            self._fail(of, error.strerror or str(error))
            return
        self._one = _Preparing(of, supervisor, parent, cpus)
        self._selector.register(supervisor, selectors.EVENT_READ, self)

    def _fail(self, of: _Of, why: str) -> None:
        """Prepare no more for this task, nor for any if that was so several times in a row."""
        self._failed.add(of)
        self._failures += 1
        if self._failures < _MOST_FAILURES:
            self._tell(f"prepare: {why}", of.task)
        else:
            self._tell(f"prepare: {why}, {_MOST_FAILURES} times by now", None)

    def hear(self) -> None:
        """Take in that the worker is prepared, or never will be, if it has said so."""
        one = self._one
        if one is None or not has_said(one.supervisor):
            return
        answers, alive = one.supervisor.receive()
        said = [answer.why for answer in answers if isinstance(answer, wire.Prepared)]
        if None in said:
            one.is_prepared, self._failures = True, 0
        why = next((why for why in said if why is not None), None if alive else "it was killed")
        if why is not None:
            self.end()
            self._fail(one.of, why)

    def take(
        self, request: StartRequest, words: Sequence[str], parent: LoadedParent | None
    ) -> PreparingSupervisor | None:
        """Return the supervisor whose worker is prepared for what is asked; None: there is none.

        Args:
            request: what is to be started.
            words: by which its command is.
            parent: from which attempts are forked now, if any.
        """
        self.hear()  # it may have told just now that it is prepared
        one = self._one
        if one is None or not one.is_prepared or one.parent is not parent:
            return None
        is_for_it = one.of == (request.task, request.start.digest)
        if not is_for_it or one.supervisor.command != list(words):
            return None
        self._selector.unregister(one.supervisor)
        self._one = None
        return one.supervisor

    def end(self) -> None:
        """Have none any more."""
        if self._one is not None:
            self._selector.unregister(self._one.supervisor)
            self._one.supervisor.end()
            self._one = None
