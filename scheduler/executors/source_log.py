"""Every version of the code that attempts of a sweep ran, in one file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scheduler.storage.atomic import append_line
from scheduler.storage.json_files import read_objects

# What code, and what sets it, ends in; anything else that a command names may be a file that it writes.
CODE = frozenset(
    {
        *(".py", ".sh", ".bash", ".pl", ".rb", ".R", ".jl", ".js", ".lua", ".ipynb"),
        *(".yaml", ".yml", ".toml", ".cfg", ".ini"),
    }
)


class Versions:
    """All that a sweep's attempts ever ran: whether versions mix is seen without reading its checkpoints."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = {pair for line in read_objects(path) for pair in pairs(line)}

    def add(self, source: Mapping[str, Any]) -> None:
        """Add what an attempt is to run; what is known already costs nothing."""
        new = [pair for pair in pairs(source) if pair not in self._seen]
        if not new:
            return
        self._seen.update(new)
        line: dict[str, Any] = {"files": dict(new)}
        if (commit := line["files"].pop("", None)) is not None:
            line["commit"] = commit
        with contextlib.suppress(OSError):  # no room: the attempts have it
            append_line(self._path, line)

    def mix(self) -> bool:
        """Say whether there are two versions of anything."""
        return len({name for name, _ in self._seen}) < len(self._seen)


def pairs(source: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what versions are told apart by: path and digest of each file of code, the commit under no path.

    Files that may be what a worker writes, by their ending, are left out.
    """
    files, commit = source.get("files"), source.get("commit")
    for name, digest in files.items() if isinstance(files, dict) else ():
        ending = os.path.splitext(name)[1]
        if isinstance(digest, str) and (not ending or ending in CODE):
            yield name, digest
    if isinstance(commit, str):
        yield "", commit
