"""A copy of the code that workers run (``--snapshot``), so that edits during a sweep do not matter.

The copy is of the repository that the current folder lies in, or of the folder alone: its files of code, by
their endings. Everything else (data, checkpoints, logs, hidden folders, virtual environments, large files) is
there as a link to what it is, so relative paths mean what they meant; what a worker newly writes by a
relative path beside its code lies in the copy. There is one copy of each version, below
``checkpoints/SWEEP/.code/``.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scheduler.config.units import format_size
from scheduler.executors.git_state import GitState
from scheduler.executors.source_log import CODE
from scheduler.executors.worker_process import OWN_WORKER
from scheduler.storage.atomic import write_durably
from scheduler.storage.checkpoints import folder_entries
from scheduler.storage.json_files import read_object
from scheduler.storage.paths import SweepPaths

LARGEST_FILE = 1 << 20  # bytes
LARGEST_COPY = 1 << 26  # bytes
MOST_FILES = 10_000
MOST_LOOKED_AT = 200_000  # files and folders
_MANY = 2000  # entries of a folder that are data if none of them is code


class TooLarge(Exception):  # noqa: N818  # nothing failed: it is no folder of code
    """There is too much to be copied; the message says of what."""


@dataclass(frozen=True, slots=True)
class CodeCopy:
    """A copy, and what it is of."""

    # Over paths and contents.
    digest: str
    # What was copied, and where the copy is.
    top: Path
    place: Path
    # Where workers run, in the copy.
    folder: Path
    # Commit and dirty state of the repository when it was copied, as far as they are known.
    state: Mapping[str, Any] = field(default_factory=dict)
    # The digest of the copy that the sweep's last run had, if that was another.
    before: str | None = None

    def placed(self, command: Sequence[str]) -> list[str]:
        """Return a command's words; those that name code by its whole path name it in the copy."""
        words = list(command)
        if tuple(words[:3]) == ("python", "-m", "worker") and self.top in OWN_WORKER.parents:
            words[1:3] = [str(OWN_WORKER)]
        return [self._placed(word) for word in words]

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Return environment variables with a PYTHONPATH that leads into the copy."""
        found = dict(variables)
        if "PYTHONPATH" in found:
            parts = found["PYTHONPATH"].split(os.pathsep)
            found["PYTHONPATH"] = os.pathsep.join(map(self._placed, parts))
        return found

    def _placed(self, path: str) -> str:
        if not os.path.isabs(path):
            return path
        place = os.path.realpath(self.place)
        for named in (path, os.path.realpath(path)):
            copy = os.path.join(self.place, os.path.relpath(named, self.top))
            real = os.path.realpath(copy)
            # Else it is not of the code, or by a link what it was.
            if real == place or (real.startswith(place + os.sep) and os.path.exists(copy)):
                return copy
        return path


def take(folder: Path, paths: SweepPaths, sweep_file: Path) -> CodeCopy:
    """Copy the code that is run from a folder, unless there is a copy of just that; the sweep's lock is held.

    Args:
        folder: where workers would run.
        paths: the sweep's files.
        sweep_file: which is no code.

    Raises:
        TooLarge: it is no folder of code.
        OSError: it cannot be copied.
    """
    repository = GitState.around(folder)
    top = repository.top if repository is not None else folder
    found = _Tree(top, folder, (paths.root / "checkpoints", paths.root / "logs", sweep_file))
    digest = found.digest()
    place = paths.code / digest
    for left in paths.code.glob(".new-*"):
        shutil.rmtree(left)
    if place.is_dir():
        found.write(place)
    else:
        new = paths.code / f".new-{digest}"
        new.mkdir(parents=True)
        found.write(new)
        write_durably(paths.code / f"{digest}.json", {"files": found.digests()})
        new.rename(place)
    before = (read_object(paths.code / "last.json") or {}).get("digest")
    write_durably(paths.code / "last.json", {"digest": digest})
    _remove_others(digest, paths)
    state: dict[str, Any] = {}
    if repository is not None and (commit := repository.commit()) is not None:
        dirty = repository.is_dirty([top / name for name in found.code])
        state = {"commit": commit} | ({} if dirty is None else {"dirty": dirty})
    other = before if isinstance(before, str) and before != digest else None
    return CodeCopy(digest, top, place, place / folder.relative_to(top), state, other)


class _Tree:
    """What is to be copied of a folder, and what is to be linked, by path from there."""

    def __init__(self, top: Path, folder: Path, not_code: Sequence[Path]) -> None:
        """Look through a folder, and read its files of code.

        Args:
            top: the folder.
            folder: one in it that is to be there, code or not.
            not_code: folders in which there is none, and files that are none.

        Raises:
            TooLarge: there is too much.
            OSError: a file of code cannot be read.
        """
        self._top = top
        self._not_code = set(map(os.path.realpath, not_code))
        self._run_in = f"{folder.relative_to(top)}{os.sep}"
        self._looked_at = self._size = 0
        self.code: dict[str, tuple[bytes, int]] = {}
        self._links: list[str] = []
        self._look_through("")

    def digest(self) -> str:
        """Return a digest over all code."""
        lines = [
            f"{name} {digest} {self.code[name][1] & stat.S_IXUSR}\n"
            for name, digest in sorted(self.digests().items())
        ]
        return _sha256("".join(lines).encode(errors="surrogateescape"))[:16]

    def digests(self) -> dict[str, str]:
        """Return the digest of each file of code."""
        return {name: _sha256(content) for name, (content, _) in self.code.items()}

    def write(self, place: Path) -> None:
        """Write what is missing, or not as it should be."""
        for name, (content, mode) in self.code.items():
            path = place / name
            if not path.is_file() or path.read_bytes() != content:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
                path.chmod(stat.S_IMODE(mode) | stat.S_IWUSR)
        for name in self._links:
            path = place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not os.path.lexists(path):
                path.symlink_to(self._top / name)

    def _look_through(self, below: str) -> bool:
        """Note what is to be done of a folder; say whether there is any code in it."""
        entries = list(self._entries(below))
        code = [entry for entry in entries if _is_code(entry) and not self._is_none(entry)]
        known = {entry.name for entry in entries}
        if (len(entries) > _MANY and not code) or known & {"pyvenv.cfg", "conda-meta"}:
            return False
        for entry in code:
            self._read(os.path.join(below, entry.name), entry)
        links = []
        for entry in entries:
            name = os.path.join(below, entry.name)
            if entry.name == "__pycache__" or name in self.code:
                continue
            if not (self._is_walked(entry) and self._look_through(name)):
                links.append(name)
        inside = f"{below}{os.sep}" if below else ""
        if not self._run_in.startswith(inside) and not any(
            name.startswith(inside) for name in self.code
        ):
            return False
        self._links += links
        return True

    def _entries(self, below: str) -> Iterator[os.DirEntry[str]]:
        with contextlib.suppress(PermissionError), os.scandir(self._top / below) as entries:
            for entry in entries:
                self._looked_at += 1
                if self._looked_at > MOST_LOOKED_AT:
                    raise TooLarge(f"{self._top} has more than {MOST_LOOKED_AT} files and folders")
                yield entry

    def _is_walked(self, entry: os.DirEntry[str]) -> bool:
        if entry.name.startswith(".") or not entry.is_dir(follow_symlinks=False):
            return False
        return not self._is_none(entry)

    def _is_none(self, entry: os.DirEntry[str]) -> bool:
        return os.path.realpath(entry.path) in self._not_code

    def _read(self, name: str, entry: os.DirEntry[str]) -> None:
        content = Path(entry.path).read_bytes()
        self.code[name] = content, entry.stat().st_mode
        self._size += len(content)
        if self._size > LARGEST_COPY or len(self.code) > MOST_FILES:
            raise TooLarge(
                f"{self._top} has more than {format_size(LARGEST_COPY)} or {MOST_FILES} files of code"
            )


def _is_code(entry: os.DirEntry[str]) -> bool:
    """Say whether a file is code by its ending; one without is if it may be executed."""
    ending = os.path.splitext(entry.name)[1]
    if entry.name.startswith(".") or (ending and ending not in CODE):
        return False
    try:
        state = entry.stat()
    except OSError:  # a link that leads nowhere
        return False
    is_file = stat.S_ISREG(state.st_mode) and state.st_size <= LARGEST_FILE
    return is_file and bool(ending or state.st_mode & stat.S_IXUSR)


def _remove_others(digest: str, paths: SweepPaths) -> None:
    """Remove copies that no attempt on file runs from; what workers wrote into one stays."""
    others = [path for path in paths.code.iterdir() if path.is_dir() and path.name != digest]
    if not others:
        return
    texts = [
        Path(entry.path).read_bytes()
        for entry in folder_entries(paths.checkpoints, ".attempts").values()
        if entry.is_file(follow_symlinks=False)
    ]
    for copy in others:
        if not any(copy.name.encode() in text for text in texts):
            _remove(copy, (read_object(paths.code / f"{copy.name}.json") or {}).get("files"))


def _remove(copy: Path, files: object) -> None:
    known = files if isinstance(files, dict) else {}
    for folder, folders, names in os.walk(copy, topdown=False):
        for name in (*names, *folders):
            path = Path(folder, name)
            with contextlib.suppress(OSError):
                if path.is_symlink() or path.suffix == ".pyc":
                    path.unlink()
                elif path.is_dir():
                    path.rmdir()
                elif known.get(str(path.relative_to(copy))) == _sha256(path.read_bytes()):
                    path.unlink()
    with contextlib.suppress(OSError):
        copy.rmdir()
        copy.with_name(f"{copy.name}.json").unlink()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
