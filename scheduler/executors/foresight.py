"""What is to come, for an executor that begins some of it before its time: pure questions to the core."""

from __future__ import annotations

from scheduler.core.core import Core
from scheduler.core.states import State
from scheduler.executors.base import Ahead


class Foresight(Ahead):
    """What a dispatcher's core has still to start."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def waiting(self) -> int:
        return self._core.count(State.WAITING)
