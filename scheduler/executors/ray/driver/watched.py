"""An attempt as its driver knows it, and how one driver takes it over from another."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray

from scheduler.executors.ray.driver.home import Home
from scheduler.executors.ray.keys import NAMESPACE, Keys


@dataclass(slots=True)
class Watched:
    """An attempt as this process knows it."""

    order: dict[str, Any]
    keys: Keys
    home: Home
    # None: its actor is gone.
    actor: Any = None
    # The node it is on, as Ray names it; known when it has told of itself.
    node: str = ""
    heard: int = 0
    # What its supervisor said last.
    last: bytes | None = None
    since: float = field(default_factory=time.monotonic)
    told_why: str = ""
    stopping: bool = False
    # Somebody was asked for news.
    asked: bool = False
    ask_at: float = 0.0
    # The sign of life as it was last seen to change, once the actor is gone.
    sign: bytes = b""

    @property
    def token(self) -> str:
        """The attempt's own mark."""
        return str(self.order["token"])


def name_of(order: dict[str, Any]) -> str:
    """Return the name of an attempt's actor: sweep, task, number, token."""
    return f"{order['sweep']}/{order['task']} attempt {order['attempt']} {order['token']}"


def is_in_the_way(before: dict[str, Any] | None) -> bool:
    """Say whether an attempt that a dispatcher had begun, and nobody asks for, has to end first.

    One that has not begun never does.
    """
    if before is None:
        return False
    keys = Keys(before["token"])
    if not keys.withdraw():
        return keys.is_running()
    with contextlib.suppress(ValueError):
        ray.kill(ray.get_actor(name_of(before), namespace=NAMESPACE))
    return False


def owner_file(order: dict[str, Any]) -> Path:
    """Return the file that names the driver which looks after an attempt."""
    return Path(order["home"]["owner"])


def ask_to_leave(owner: Path) -> None:
    """Ask the driver that looks after an attempt to let go of it; it does if its dispatcher is gone."""
    with contextlib.suppress(OSError, ValueError):
        pid = int(owner.read_text())
        if b"scheduler.executors.ray.driver" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGTERM)
