"""Which sweep file a folder of checkpoints belongs to, and what its last dispatcher read there.

A sweep's folders bear its name alone, and two files may have the same name. So the folder remembers its file,
relative to the root: a project that is moved or copied as a whole takes its sweeps along.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from scheduler.config.sweep import Sweep
from scheduler.storage.atomic import write_durably
from scheduler.storage.json_files import read_object
from scheduler.storage.paths import SweepPaths

# What a folder may hold though its sweep never ran: a lock that was taken, a disk that was tried.
_NO_STATE = frozenset({".lock", ".specs", ".room"})


class OtherSweep(Exception):  # noqa: N818  # no error: the folder is another file's
    """The checkpoints belong to another sweep file, which is still there and asks for something else."""

    def __init__(self, first: Path) -> None:
        self.first = first
        super().__init__(str(first))


@dataclass(frozen=True, slots=True)
class SweepRecord:
    """What ``checkpoints/SWEEP/.sweep.json`` says."""

    # The sweep file, relative to the root; None: it was no file (a pipe).
    file: str | None
    # Where commands ran, relative to the root.
    folder: str
    # `Sweep.fingerprint`.
    fingerprint: str
    # Of a random order; None: none was ever drawn.
    seed: int | None = None

    @classmethod
    def read(cls, paths: SweepPaths) -> SweepRecord | None:
        """Return the record, or None if it is damaged or there is none (of an earlier version)."""
        content = read_object(paths.record) or {}
        file, folder = content.get("file"), content.get("folder")
        fingerprint = content.get("fingerprint")
        if not (isinstance(folder, str) and isinstance(fingerprint, str)):
            return None
        is_path = isinstance(file, str) and "\0" not in file
        seed = content.get("seed")
        known = seed if isinstance(seed, int) else None
        return cls(file if is_path else None, folder, fingerprint, known)

    @classmethod
    def of(cls, sweep: Sweep, file: Path, root: Path) -> SweepRecord:
        """Return the record of a sweep that is started now, from the current folder."""
        named = _named(file) if file.is_file() else None
        return cls(
            None if named is None else _from(root, named),
            _from(root, os.getcwd()),
            sweep.fingerprint,
        )

    def first_file(self, root: Path) -> Path | None:
        """Return the sweep file that the record names, whether or not it is there; None: it names none."""
        if self.file is None:
            return None
        return Path(os.path.normpath(os.path.join(os.path.realpath(root), self.file)))

    def names(self, file: Path, root: Path) -> bool:
        """Say whether the record's file is ``file``, by whatever path, symbolic or hard link."""
        first = self.first_file(root)
        if first is None:
            return False
        if first == _named(file):
            return True
        try:
            return first.samefile(file)
        except OSError:
            return False


def other_owner(record: SweepRecord | None, sweep: Sweep, file: Path, root: Path) -> Path | None:
    """Return the other sweep file that a folder belongs to, or None if ``file`` may use it.

    The first file keeps its folder: a copy of it that asks for the same, where commands run in the same
    folder, shares its checkpoints. Where the first file is gone, it was moved, or this one took its place.
    """
    if record is None or record.names(file, root):
        return None
    first = record.first_file(root)
    if first is None or not first.exists():
        return None
    today = (sweep.fingerprint, _from(root, os.getcwd()))
    return None if (record.fingerprint, record.folder) == today else first


def claim(sweep: Sweep, file: Path, paths: SweepPaths) -> None:
    """Record that the sweep's folder is this file's, and what it asks for; the lock is held.

    Raises:
        OtherSweep: it is another file's.
        OSError: it cannot be written.
    """
    record, root = SweepRecord.read(paths), paths.root
    if (first := other_owner(record, sweep, file, root)) is not None:
        raise OtherSweep(first)
    today = SweepRecord.of(sweep, file, root)
    if record is not None and (record.names(file, root) or _is_copy(record, root)):
        today = replace(today, file=record.file)
    today = replace(today, seed=_seed(sweep, record))
    if read_tasks(paths, sweep.fingerprint) is None:
        tasks = {task.id: sweep.digest(task) for task in sweep.tasks}
        write_durably(paths.tasks, {"fingerprint": sweep.fingerprint, "tasks": tasks})
    if today != record:
        write_durably(paths.record, asdict(today))


def _seed(sweep: Sweep, record: SweepRecord | None) -> int | None:
    """Return the seed of the sweep's random order: the file's, the one drawn before, or a new one."""
    drawn = None if record is None else record.seed
    if sweep.order is None or sweep.order.kind != "random":
        return drawn
    given = sweep.order.seed
    return given if given is not None else secrets.randbelow(2**32) if drawn is None else drawn


def read_tasks(paths: SweepPaths, fingerprint: str) -> dict[str, str] | None:
    """Return the digests of the tasks of a sweep with that fingerprint, or None if they are not known.

    They have a file of their own, since there may be a million.
    """
    content = read_object(paths.tasks) or {}
    tasks = content.get("tasks")
    if content.get("fingerprint") != fingerprint or not isinstance(tasks, dict):
        return None
    return {name: digest for name, digest in tasks.items() if isinstance(digest, str)}


def _is_copy(record: SweepRecord, root: Path) -> bool:
    """Say whether a file that may use another's folder does so as its copy, not in its place."""
    first = record.first_file(root)
    return first is not None and first.exists()


def has_state(paths: SweepPaths) -> bool:
    """Say whether a sweep of that name ever ran under that root."""
    try:
        return not _NO_STATE.issuperset(os.listdir(paths.checkpoints))
    except OSError:
        return False


def find_root(sweep: Sweep, file: Path, here: Path) -> Path | None:
    """Return the folder that has the sweep's checkpoints: its file's, one above that, or one above ``here``.

    Looked at are the folders up to the home folder or the top, of the file as it is named and of the file
    that a link leads to; of these, those that belong to this user, to the file's owner or to root: what
    strangers leave in a folder that all may write to says nothing of this sweep.

    Args:
        here: the root that has no checkpoints of the sweep, and is not returned.
    """
    try:
        trusted = {0, os.geteuid(), file.stat().st_uid}
    except OSError:
        return None
    near = dict.fromkeys(folders_above(file))
    for folder in dict.fromkeys((*near, *folders_above(here))):
        paths = SweepPaths(folder, sweep.name)
        try:
            if folder.samefile(here) or paths.checkpoints.stat().st_uid not in trusted:
                continue
        except OSError:
            continue
        if has_state(paths) and _are_of(sweep, file, paths, near=folder in near):
            return folder
    return None


def find_name(sweep: Sweep, file: Path, here: SweepPaths) -> SweepPaths | None:
    """Return the folder under the same root that has the sweep's checkpoints by another file name, or None.

    The sweep is called after its file, which was renamed, or is a link to the file that was run.
    """
    if sweep.is_named or has_state(here):
        return None
    try:
        names = sorted(os.listdir(here.checkpoints.parent))
    except OSError:
        return None
    for name in names:
        there = SweepPaths(here.root, name)
        if SweepRecord.read(there) is not None and _are_of(sweep, file, there, near=False):
            return there
    return None


def folders_above(file: Path) -> Iterator[Path]:
    """Yield a file's folder and those above it, up to the home folder or the top; of a link, both ends'."""
    home = Path(os.path.expanduser("~"))
    for start in dict.fromkeys((_named(file), Path(os.path.realpath(file)))):
        for folder in start.parents:
            yield folder
            if folder == home:
                break


def _are_of(sweep: Sweep, file: Path, paths: SweepPaths, *, near: bool) -> bool:
    """Say whether checkpoints that were found are a file's own; ``near``: in its folder or above it."""
    record, root = SweepRecord.read(paths), paths.root
    if record is None:  # of an earlier version; nobody else has them near this file
        return near
    if record.names(file, root):
        return True
    if (first := record.first_file(root)) is not None and first.exists():
        return False
    tasks = read_tasks(paths, record.fingerprint) or {}
    return any(tasks.get(task.id) == sweep.digest(task) for task in sweep.tasks)  # it was moved


def _from(root: Path, path: Path | str) -> str:
    return os.path.relpath(path, os.path.realpath(root))


def _named(file: Path) -> Path:
    """Return the absolute path of a file as it is named: links in its folder are followed, it itself not."""
    return Path(os.path.realpath(file.parent)) / file.name
