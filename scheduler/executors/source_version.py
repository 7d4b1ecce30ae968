"""What code an attempt runs: the files that its command names, and the commit of their repository."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scheduler.config.sweep import Sweep
from scheduler.executors.code_copy import CodeCopy
from scheduler.executors.git_state import GitState
from scheduler.executors.source_files import SourceFiles
from scheduler.executors.source_log import Versions
from scheduler.storage.paths import SweepPaths

_ANSWER = 0.25  # seconds that an attempt whose code is new waits for git
_LOOK_AT_COMMIT = 1.0  # seconds


class SourceReader:
    """Tells what code attempts run that are started in one folder."""

    def __init__(
        self, folder: Path, python_path: str, paths: SweepPaths, copy: CodeCopy | None = None
    ) -> None:
        """Read nothing yet.

        Args:
            folder: where attempts run.
            python_path: the workers' PYTHONPATH.
            paths: of the sweep's own files, which are no code.
            copy: the copy of the code that the folder is in.
        """
        self._folder = folder
        self._copy = copy
        own = (paths.checkpoints, paths.logs)
        self._files = SourceFiles(
            folder, python_path, own, copy.place if copy is not None else None
        )
        self._versions = Versions(paths.versions)
        self._git: _GitWatch | None = None
        self._names: dict[str, str] = {}

    @classmethod
    def of(
        cls,
        sweep: Sweep,
        paths: SweepPaths,
        inherited: Mapping[str, str],
        copy: CodeCopy | None = None,
    ) -> SourceReader:
        """Return the reader for attempts that are started from the current folder, or from a copy of it."""
        if copy is not None:
            own = copy.environment({**inherited, **sweep.own_environment(inherited)})
            return cls(copy.folder, own.get("PYTHONPATH", ""), paths, copy)
        try:
            folder = Path.cwd()
        except FileNotFoundError:  # it was removed
            folder = paths.root
        own = sweep.own_environment(inherited)
        return cls(folder, own.get("PYTHONPATH", inherited.get("PYTHONPATH", "")), paths)

    def read(self, command: Sequence[str]) -> dict[str, Any] | None:
        """Return ``commit``, ``dirty`` and ``files`` (digests by path) as far as they are known, or None."""
        found = dict(self._files.read(command))
        if self._copy is not None:
            content = {**self._copy.state, "snapshot": self._copy.digest}
            return self._noted(content, found)
        if self._git is None:
            folders = [*(Path(os.path.realpath(path)).parent for path in found), self._folder]
            self._git = _GitWatch(next(filter(None, map(GitState.around, folders)), None))
        return self._noted(self._git.look(found), found)

    def placed(self, command: Sequence[str]) -> list[str]:
        """Return a command as it is started: of a copy of the code, if attempts run from one."""
        return list(command) if self._copy is None else self._copy.placed(command)

    def _noted(self, content: dict[str, Any], found: Mapping[str, str]) -> dict[str, Any] | None:
        if found:
            content["files"] = {self._shown(path): digest for path, digest in found.items()}
        self._versions.add(content)
        return content or None

    def _shown(self, path: str) -> str:
        """Return a path as people would name it from where attempts run."""
        if (name := self._names.get(path)) is None:
            name = os.path.relpath(path, self._folder)
            name = path if name.startswith(os.pardir) else name
            name = self._names[path] = name.rstrip(os.sep) + os.sep * path.endswith(os.sep)
        return name


class _GitWatch:
    """Commit and dirty state of a repository; git is asked in a thread, and again when something changed."""

    def __init__(self, repository: GitState | None) -> None:
        self._repository = repository
        self._looked = -_LOOK_AT_COMMIT
        self._commit: str | None = None
        self._dirty: bool | None = None
        # The last digests by path; of what is new, git was not asked.
        self._digests: dict[str, str] = {}
        self._thread: threading.Thread | None = None
        self._to_ask = True

    def look(self, digests: Mapping[str, str]) -> dict[str, Any]:
        """Return ``commit`` and ``dirty``, as far as they are known.

        Args:
            digests: of the files that count, by path.
        """
        if self._repository is None:
            return {}
        now = time.monotonic()
        if now >= self._looked + _LOOK_AT_COMMIT:
            before, self._looked, self._commit = self._commit, now, self._repository.commit()
            self._to_ask |= self._commit != before
        self._to_ask |= any(self._digests.get(path, one) != one for path, one in digests.items())
        self._digests.update(digests)
        if self._to_ask and (self._thread is None or not self._thread.is_alive()):
            files = [Path(os.path.realpath(path)) for path in digests]
            self._ask(self._repository, files)
        if self._commit is None:  # then there is nothing to differ from
            return {}
        return {"commit": self._commit} | ({} if self._dirty is None else {"dirty": self._dirty})

    def _ask(self, repository: GitState, files: Sequence[Path]) -> None:
        def ask() -> None:
            self._dirty = repository.is_dirty(files)

        self._to_ask, self._dirty = False, None
        self._thread = threading.Thread(target=ask, name="git", daemon=True)
        self._thread.start()
        self._thread.join(_ANSWER)
