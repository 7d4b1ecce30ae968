"""The files of code that a command names, and their digests. Nothing is executed or imported for it.

Of the command's words, those count that are files; of ``-m NAME``, the module or package of that name in the
current folder or on PYTHONPATH; of a Python script, also the modules beside it that it imports, by the text
of its import statements.

They are read before each attempt, so it must cost little: a file whose size and times are as before is not
read again, and a package's folder is looked through for at most one part in `_SHARE` of the time.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import stat
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

LARGEST = 1 << 20  # bytes; of a larger file, size and time of change stand for the content
_MOST_FILES = 32  # that are named for one attempt
_MOST_IN_PACKAGE = 10_000  # files and folders
_MOST_WORDS = 1000  # of a command
_LONGEST_LINE = 4096  # characters of a shell's line that is taken apart
_SHARE = 20
_IMPORT = re.compile(rb"^[ \t]*(?:from[ \t]+(\w+)|import[ \t]+([^\n#;]+))", re.MULTILINE)
_SHELL = re.compile(r"[\s;&|()]")
_NAME = re.compile(rb"[A-Za-z_][A-Za-z_0-9]*")
_MODULE = re.compile(r"[A-Za-z_]\w*(?:\.\w+)*")


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read of a file or a package."""

    # By what it is seen that it changed.
    mark: object
    # None: it has none, since it is too large.
    digest: str | None
    # Top-level names that it imports.
    imports: tuple[str, ...] = ()
    # When it was read (monotonic time), and how long that took.
    at: float = 0.0
    took: float = 0.0


class SourceFiles:
    """Finds and reads the code of commands that are started in one folder."""

    def __init__(
        self,
        folder: Path,
        python_path: str,
        not_code: Sequence[Path],
        code: Path | None = None,
    ) -> None:
        """Read nothing yet.

        Args:
            folder: where commands are started.
            python_path: their PYTHONPATH.
            not_code: folders of files that are none.
            code: a folder in one of them of files that are.
        """
        self._folder = folder
        self._roots = [folder, *(folder / path for path in python_path.split(os.pathsep) if path)]
        self._not_code = tuple(f"{path}{os.sep}" for path in not_code)
        self._code = f"{code}{os.sep}" if code is not None else None
        self._known: dict[str, _Read] = {}

    def read(self, command: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Yield path and digest of each file of code, each once; a package's path ends in a slash."""
        waiting = deque(dict.fromkeys(self._named(command)))
        seen = set(waiting)
        while waiting and len(seen) <= _MOST_FILES:
            path = waiting.popleft()
            read = self._package(path) if path.endswith(os.sep) else self._file(path)
            if read is None or read.digest is None:
                continue
            yield path, read.digest
            beside = os.path.dirname(path)
            for name in read.imports:
                imported = _module(beside, name, regular=True)
                if imported is not None and imported not in seen:
                    seen.add(imported)
                    waiting.append(imported)

    def _named(self, command: Sequence[str]) -> Iterator[str]:
        words = [part for word in command[:_MOST_WORDS] for part in parts_of(word)]
        if "/" not in words[0]:  # a program that is looked up on the PATH
            words[0] = ""
        for before, word in zip(["", *words], words, strict=False):
            if before in ("-m", "--module") and _MODULE.fullmatch(word):
                for root in self._roots:
                    if (module := _module(str(root), word.partition(".")[0])) is not None:
                        yield module
                        break
            elif word and not word.startswith("-"):
                path = os.path.join(self._folder, word)
                is_code = self._code is not None and path.startswith(self._code)
                if is_code or not path.startswith(self._not_code):
                    yield path

    def _file(self, path: str) -> _Read | None:
        try:
            state = os.stat(path)
        except (OSError, ValueError):  # no file; a name with NUL
            return None
        if not stat.S_ISREG(state.st_mode):
            return None
        mark = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
        known = self._known.get(path)
        if known is None or known.mark != mark:
            known = self._known[path] = _read(path, state, mark)
        return known

    def _package(self, path: str) -> _Read | None:
        """Return the digest over all Python files of a package, or None if there are too many."""
        known, now = self._known.get(path), time.monotonic()
        if known is not None and now < known.at + _SHARE * known.took:
            return known
        files, digest = sorted(_python_files(path)), None
        if files:
            state = hashlib.sha256()
            for file in files:
                read = self._file(file)
                line = f"{file[len(path) :]} {read.digest if read is not None else None}\n"
                state.update(line.encode(errors="replace"))
            digest = state.hexdigest()
        known = self._known[path] = _Read(None, digest, at=now, took=time.monotonic() - now)
        return known


@lru_cache(4096)
def parts_of(word: str) -> Sequence[str]:
    """Return what in a word may be a file: itself, what stands after ``=``, the words of a shell's line."""
    if len(word) > _LONGEST_LINE or not _SHELL.search(word):
        return [word] if "=" not in word else [word, word.partition("=")[2]]
    lexer = shlex.shlex(word, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        return [word, *lexer][:_MOST_WORDS]
    except ValueError:  # a quotation without end
        return [word, *word.split()][:_MOST_WORDS]


def _module(folder: str, name: str, *, regular: bool = False) -> str | None:
    """Return the file of a top-level module in a folder, or the folder of a package, with a slash.

    Args:
        regular: a folder counts only with an ``__init__.py``: one without gives way to what is installed.
    """
    path = os.path.join(folder, name)
    if os.path.isfile(f"{path}.py"):
        return f"{path}.py"
    is_package = os.path.isfile(f"{path}/__init__.py") if regular else os.path.isdir(path)
    return path + os.sep if is_package else None


def _read(path: str, state: os.stat_result, mark: object) -> _Read:
    if state.st_size > LARGEST:
        return _Read(mark, f"{state.st_size} bytes of {state.st_mtime_ns}")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return _Read(mark, "unreadable")
    try:
        content = os.read(descriptor, state.st_size) if state.st_size else b""
    except OSError:
        return _Read(mark, "unreadable")
    finally:
        os.close(descriptor)
    imports = _imports(content) if path.endswith(".py") else ()
    return _Read(mark, hashlib.sha256(content).hexdigest(), imports)


def _imports(text: bytes) -> tuple[str, ...]:
    """Return the top-level names in a script's import statements; a script has no relative ones."""
    lists = (m[1] or m[2] for m in _IMPORT.finditer(text))
    found = (_NAME.match(part.strip()) for names in lists for part in names.split(b","))
    return tuple(dict.fromkeys(name[0].decode() for name in found if name is not None))


def _python_files(package: str) -> Iterator[str]:
    """Yield the Python files below a folder, none if there are too many; no link to a folder is followed."""
    found: list[str] = []
    folders, looked_at = [package], 0
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    looked_at += 1
                    if looked_at > _MOST_IN_PACKAGE:
                        return
                    if entry.name.startswith((".", "__pycache__")):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif entry.name.endswith(".py"):
                        found.append(entry.path)
        except OSError:
            continue
    yield from found
