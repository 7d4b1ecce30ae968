"""The worker that prepares for the next task while every device is in use: when, and for which."""

from __future__ import annotations

import json
import selectors
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scheduler.executors.base import Ahead, StartRequest
from scheduler.executors.local import wire
from scheduler.executors.local.handles import PreparingSupervisor
from scheduler.executors.local.preload.loaded import LoadedParent, has_said
from scheduler.executors.local.preload.memory import available
from scheduler.executors.worker_process import TOKEN
from scheduler.storage.regular_files import overwrite

RESERVE = 2**31  # bytes of main memory that are to be left beside what it will take


@dataclass(slots=True)
class _Preparing:
    """The worker that there is."""

    task: str
    supervisor: PreparingSupervisor
    parent: LoadedParent
    # It has said so.
    is_prepared: bool = False


class Standby:
    """Has at most one worker prepare, and gives it to its task when that starts.

    Nothing is recorded of one that never got a device: no attempt has begun.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        environment: Mapping[str, str],
        spec_file: Path,
        cpus: Callable[[], Sequence[int]],
        words: Callable[[Sequence[str]], list[str]],
        give_up: Callable[[str], None],
        memory: Callable[[], int | None] = available,
    ) -> None:
        """Begin without one.

        Args:
            selector: where it is registered, with this object as data.
            environment: of the worker while it prepares.
            spec_file: where is written what its task is.
            cpus: tells where it may without disturbing an attempt.
            words: tells by which words a command is started.
            give_up: told once why nothing can be prepared.
            memory: tells how many bytes of main memory there are for more; None: not known.
        """
        self._selector = selector
        self._environment = environment
        self._spec_file = spec_file
        self._cpus = cpus
        self._words = words
        self._give_up = give_up
        self._memory = memory
        self._is_given_up = False
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
        able = parent is not None and parent.prepares and not self._is_given_up
        task = ahead.next_task() if able or self._one is not None else None
        if self._one is not None and (self._one.task != task or self._one.parent is not parent):
            self.end()
        if not able or parent is None or task is None or self._one is not None:
            return
        room, most = self._memory(), needed()
        if room is not None and most is not None and room >= most + RESERVE:
            self._begin(ahead.next_request(), parent)

    def _begin(self, request: StartRequest, parent: LoadedParent) -> None:
        environment = {
            **self._environment,
            **{name: value for name, value in request.environment.items() if name != TOKEN},
            "SWEEP_SPEC": str(self._spec_file),
        }
        words, cpus = self._words(request.command), list(self._cpus())
        order = wire.Prepare(words, environment, cpus)
        try:
            overwrite(self._spec_file, json.dumps(request.spec).encode())
            supervisor = PreparingSupervisor(partial(parent, prepares=True), order)
        except OSError as error:
            self._is_given_up = True
            self._give_up(error.strerror or str(error))
            return
        self._one = _Preparing(request.task, supervisor, parent)
        self._selector.register(supervisor, selectors.EVENT_READ, self)

    def hear(self) -> None:
        """Take in that the worker is prepared, or never will be, if it has said so."""
        if self._one is None or not has_said(self._one.supervisor):
            return
        answers, alive = self._one.supervisor.receive()
        for answer in answers:
            if isinstance(answer, wire.Prepared) and answer.why is None:
                self._one.is_prepared = True
            elif isinstance(answer, wire.Prepared):
                self._is_given_up, alive = True, False
                self._give_up(answer.why or "")
        if not alive:
            self.end()

    def take(self, words: Sequence[str], parent: LoadedParent | None) -> PreparingSupervisor | None:
        """Return the supervisor whose worker is prepared for a command, for good; None: there is none."""
        self.hear()  # it may have told just now that it is prepared
        one = self._one
        if one is None or not one.is_prepared or one.parent is not parent:
            return None
        if one.supervisor.command != list(words):
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
