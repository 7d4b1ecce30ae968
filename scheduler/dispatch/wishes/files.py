"""What somebody asks of a sweep from another shell, in files.

A wish is a small file below ``checkpoints/SWEEP/.wishes/``, written whole or not at all. It stands as long as
it is not taken back or, where it is about one task, obeyed: no dispatcher's death loses it, and the next one
reads it before it starts anything. What others can write is not believed: the folder and its files must be
this user's, or root's, and writable by nobody else.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from scheduler.core import events as ev
from scheduler.devices.processes import user_name
from scheduler.storage.atomic import write_durably
from scheduler.storage.json_files import as_number, parse_object
from scheduler.storage.paths import PAUSE_WISH, RELOAD_WISH, SweepPaths
from scheduler.storage.regular_files import AS_DATA

_LONGEST = 4096  # bytes of a wish
_LONGEST_REASON = 500  # characters
Wish = ev.StopAsked | ev.PauseAsked | ev.ResumeAsked | ev.DrainAsked | ev.ReloadAsked


@dataclass(frozen=True, slots=True)
class Asked:
    """A wish as its file has it; ``version`` tells it from an earlier one."""

    wish: Wish
    # The user who asked.
    by: str
    # Time of day in seconds.
    at: float
    version: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Wishes:
    """The wishes that stand."""

    # By the names of their files.
    asked: Mapping[str, Asked] = field(default_factory=dict)
    # Why files are not believed, by name.
    ignored: Mapping[str, str] = field(default_factory=dict)

    @property
    def paused(self) -> Asked | None:
        """Return who paused the sweep, if somebody did."""
        asked = self.asked.get(PAUSE_WISH)
        return asked if asked is not None and isinstance(asked.wish, ev.PauseAsked) else None

    @property
    def drained(self) -> Mapping[str, Asked]:
        """Return who drained which devices."""
        drains = ((asked.wish, asked) for asked in self.asked.values())
        return {w.device: asked for w, asked in drains if isinstance(w, ev.DrainAsked) and w.on}


def ask(paths: SweepPaths, wish: Wish) -> None:
    """Write a wish, durably; one to fail a task is not replaced by one that wants less.

    Raises:
        OSError: it cannot be written.
    """
    os.makedirs(paths.wishes, 0o700, exist_ok=True)
    path = paths.wish(name_of(wish))
    if isinstance(wish, ev.StopAsked) and not wish.fail:
        earlier = read_wishes(paths).asked.get(path.name)
        if earlier is not None and earlier.wish == ev.StopAsked(wish.task, fail=True):
            return
    on = not isinstance(wish, ev.ResumeAsked) and getattr(wish, "on", True)
    hard = getattr(wish, "now", False) or getattr(wish, "fail", False)
    by = user_name(os.geteuid())
    content: dict[str, Any] = {"on": on, "hard": hard, "by": by, "at": time.time()}
    if isinstance(wish, ev.ReloadAsked):
        content |= {"fingerprint": wish.fingerprint, "refused": wish.refused[:_LONGEST_REASON]}
    write_durably(path, content)
    if os.geteuid() == 0:  # whose sweep it is must be able to take it back
        owner = paths.checkpoints.stat()
        for name in (paths.wishes, path):
            with suppress(OSError):
                os.chown(name, owner.st_uid, owner.st_gid, follow_symlinks=False)


def read_wishes(paths: SweepPaths) -> Wishes:
    """Return the wishes that stand; what cannot be read is none."""
    try:
        folder = os.open(paths.wishes, os.O_RDONLY | os.O_DIRECTORY | AS_DATA)
    except OSError:
        return Wishes()
    asked, ignored = {}, {}
    try:
        if (why := _distrusted(folder)) is not None:
            return Wishes(ignored={paths.wishes.name: why})
        for name in sorted(os.listdir(folder)):
            if name.startswith(".") or not name.endswith(".json"):
                continue
            try:
                asked[name] = _read(folder, name)
            except FileNotFoundError:  # taken back just now
                continue
            except (OSError, ValueError) as error:
                ignored[name] = str(error)
    finally:
        os.close(folder)
    return Wishes(asked, ignored)


def _read(folder: int, name: str) -> Asked:
    """Read one wish.

    Raises:
        ValueError: it is not to be believed, or is none.
        OSError: it cannot be read.
    """
    descriptor = os.open(name, os.O_RDONLY | AS_DATA, dir_fd=folder)
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise ValueError("is not a regular file")
        if (why := _distrusted(descriptor)) is not None:
            raise ValueError(why)
        content = parse_object(os.read(descriptor, _LONGEST)) or {}
    finally:
        os.close(descriptor)
    on, by, at = content.get("on"), content.get("by"), as_number(content.get("at"))
    wish = _wish(name, content)
    if wish is None or not isinstance(by, str) or at is None or not isinstance(on, bool):
        raise ValueError("is no wish")
    return Asked(wish, by, at, (state.st_ino, state.st_mtime_ns))


def _distrusted(descriptor: int) -> str | None:
    state = os.fstat(descriptor)
    if state.st_uid not in (0, os.geteuid()):
        return f"is user {user_name(state.st_uid)}'s"
    if state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "can be written by others"
    return None


def name_of(wish: Wish) -> str:
    """Return the name of a wish's file."""
    match wish:
        case ev.StopAsked():
            return f"stop.{wish.task}.json"
        case ev.DrainAsked():
            return f"drain.{wish.device}.json"
        case ev.ReloadAsked():
            return RELOAD_WISH
        case _:
            return PAUSE_WISH


def _wish(name: str, content: Mapping[str, Any]) -> Wish | None:
    kind, _, what = name.removesuffix(".json").partition(".")
    on, hard = content.get("on") is True, content.get("hard") is True
    if name == RELOAD_WISH:
        fingerprint, refused = content.get("fingerprint"), content.get("refused")
        known = isinstance(fingerprint, str) and isinstance(refused, str)
        return ev.ReloadAsked(str(fingerprint), str(refused)) if known else None
    if name == PAUSE_WISH:
        return ev.PauseAsked(hard) if on else ev.ResumeAsked()
    if kind == "stop" and what:
        return ev.StopAsked(what, hard)
    return ev.DrainAsked(what, on) if kind == "drain" and what else None
