"""What somebody asks of a sweep from another shell, in files.

A wish is a small file below ``checkpoints/SWEEP/.wishes/``, written whole or not at all. It stands as long as
it is not taken back or, where it is about one task, obeyed: no dispatcher's death loses it, and the next one
reads it before it starts anything. What others can write is not believed: the folder and its files must be
this user's, or root's, and writable by nobody else.

Two may ask at the same moment, and the dispatcher looks only afterwards. So a wish that can be taken back (a
pause, a drain) tells of those before it, a stop takes the place of no other, and a wish that was obeyed is
removed only once it is seen to be that one.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scheduler.core import events as ev
from scheduler.devices.processes import user_name
from scheduler.storage.atomic import Draft, as_lines, sync_folder, write_durably
from scheduler.storage.json_files import as_number, parse_object
from scheduler.storage.paths import PAUSE_WISH, RELOAD_WISH, SweepPaths
from scheduler.storage.regular_files import AS_DATA

_LONGEST = 4096  # bytes of a wish
_LONGEST_REASON = 500  # characters
_MOST_EARLIER = 8  # wishes that one tells of; nobody gives more between two looks of a dispatcher
Wish = ev.StopAsked | ev.PauseAsked | ev.ResumeAsked | ev.DrainAsked | ev.ReloadAsked


@dataclass(frozen=True, slots=True)
class Asked:
    """A wish as its file has it; ``version`` tells it from an earlier one."""

    wish: Wish
    # The user who asked.
    by: str
    # Time of day in seconds.
    at: float
    version: tuple[int, int] = (0, 0)
    # Those that its file had before, the latest last: the dispatcher may not have seen them.
    earlier: tuple[Asked, ...] = ()

    def unseen(self, last: Asked | None) -> Sequence[Asked]:
        """Return those of the earlier ones that came after the last that was seen."""
        seen = [last is not None and one.is_like(last) for one in self.earlier]
        return self.earlier[seen.index(True) + 1 :] if any(seen) else self.earlier

    def is_like(self, other: Asked) -> bool:
        """Say whether it is the same wish, in whatever file it stands."""
        return (self.wish, self.by, self.at) == (other.wish, other.by, other.at)


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
    asked = Asked(wish, user_name(os.geteuid()), time.time())
    match wish:
        case ev.StopAsked(fail=False):
            if not _write_first(paths, path, _content(asked)):
                return
        case ev.StopAsked() | ev.ReloadAsked():
            write_durably(path, _content(asked))
        case _:
            last = read_wishes(paths).asked.get(path.name)
            before = () if last is None else (*last.earlier, last)[-_MOST_EARLIER:]
            write_durably(path, {**_content(asked), "earlier": [_content(one) for one in before]})
    if os.geteuid() == 0:  # whose sweep it is must be able to take it back
        owner = paths.checkpoints.stat()
        for name in (paths.wishes, path):
            with suppress(OSError):
                os.chown(name, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _write_first(paths: SweepPaths, path: Path, content: Mapping[str, Any]) -> bool:
    """Write a wish where none stands; say whether that was so.

    Raises:
        OSError: it cannot be written.
    """
    draft = Draft(path, as_lines(content))
    draft.sync()
    if draft.publish_if_none():
        sync_folder(paths.wishes)
    elif path.name in read_wishes(paths).asked:
        return False
    else:  # what is there is not believed
        write_durably(path, content)
    return True


def _content(asked: Asked) -> dict[str, Any]:
    """Return a wish as it stands in its file, without those before it."""
    wish = asked.wish
    on = not isinstance(wish, ev.ResumeAsked) and getattr(wish, "on", True)
    hard = getattr(wish, "now", False) or getattr(wish, "fail", False)
    content: dict[str, Any] = {"on": on, "hard": hard, "by": asked.by, "at": asked.at}
    if isinstance(wish, ev.ReloadAsked):
        content |= {"fingerprint": wish.fingerprint, "refused": wish.refused[:_LONGEST_REASON]}
    return content


def forget(paths: SweepPaths, name: str, obeyed: Asked) -> None:
    """Remove a wish that was obeyed, unless it is another by now.

    It is moved away first, and looked at then: one that takes its place between a look and the removal
    would be removed unseen.
    """
    if read_wishes(paths).asked.get(name) != obeyed:
        return
    path = paths.wish(name)
    away = path.with_name(f".{name}.obeyed")
    with suppress(OSError, ValueError):
        os.rename(path, away)
        moved = _read(away, name)
        if moved == obeyed:
            away.unlink()
        elif isinstance(moved.wish, ev.StopAsked) and moved.wish.fail:
            os.rename(away, path)  # over one that wants less
        else:
            with suppress(FileExistsError):  # a later one
                os.link(away, path)
            away.unlink()


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
                asked[name] = _read(name, name, folder)
            except FileNotFoundError:  # taken back just now
                continue
            except (OSError, ValueError) as error:
                ignored[name] = str(error)
    finally:
        os.close(folder)
    return Wishes(asked, ignored)


def _read(file: Path | str, name: str, folder: int | None = None) -> Asked:
    """Read one wish.

    Args:
        file: the file, below ``folder`` if that is given.
        name: by which it is known what the wish is.
        folder: a descriptor.

    Raises:
        ValueError: it is not to be believed, or is none.
        OSError: it cannot be read.
    """
    descriptor = os.open(file, os.O_RDONLY | AS_DATA, dir_fd=folder)
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise ValueError("is not a regular file")
        if (why := _distrusted(descriptor)) is not None:
            raise ValueError(why)
        content = parse_object(os.read(descriptor, _LONGEST)) or {}
    finally:
        os.close(descriptor)
    asked = _asked(name, content)
    if asked is None:
        raise ValueError("is no wish")
    before = content.get("earlier")
    told = [one for one in before if isinstance(one, dict)] if isinstance(before, list) else []
    earlier = tuple(one for one in (_asked(name, content) for content in told) if one is not None)
    return replace(asked, version=(state.st_ino, state.st_mtime_ns), earlier=earlier)


def _asked(name: str, content: Mapping[str, Any]) -> Asked | None:
    on, by, at = content.get("on"), content.get("by"), as_number(content.get("at"))
    wish = _wish(name, content)
    if wish is None or not isinstance(by, str) or at is None or not isinstance(on, bool):
        return None
    return Asked(wish, by, at)


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
