"""Where a sweep's checkpoints lie, and whether they are this file's."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from scheduler.cli.common import UserError
from scheduler.config.loader import SweepError, read_sweep
from scheduler.config.printable import printable
from scheduler.config.sweep import Sweep
from scheduler.executors.source_files import parts_of
from scheduler.storage.locks import is_held
from scheduler.storage.paths import SweepPaths
from scheduler.storage.sweep_record import (
    OtherSweep,
    SweepRecord,
    claim,
    find_name,
    find_root,
    folders_above,
    has_state,
    other_owner,
)

# What the words of a command that are programs' texts end in.
_SCRIPTS = (".py", ".sh", ".bash", ".pl", ".rb", ".R", ".jl", ".js", ".lua")


def load(arguments: argparse.Namespace) -> tuple[Sweep, SweepPaths]:
    """Read the sweep file to look at the sweep; return it and its paths.

    Raises:
        UserError: with all the mistakes of the file; or its checkpoints are another file's.
    """
    try:
        sweep = read_sweep(arguments.sweep)
    except SweepError as error:
        raise UserError(str(error)) from None
    return sweep, locate(sweep, arguments.sweep, arguments.root)


def locate(sweep: Sweep, file: Path, root: Path | None) -> SweepPaths:
    """Return the paths of a sweep to be looked at: the current folder's, or those found near its file.

    Args:
        sweep: read from ``file``.
        file: as it was named.
        root: as it was named; None: the current folder.

    Raises:
        UserError: the checkpoints are another file's.
    """
    paths = SweepPaths(_absolute(root), sweep.name)
    found = _elsewhere(sweep, file, paths) if root is None else None
    if found is not None:
        print(
            f"root: {shown(found)} (the current folder has no checkpoints of it)", file=sys.stderr
        )
        return SweepPaths(found, sweep.name)
    _refuse_others(sweep, file, paths)
    return paths


def locate_to_run(sweep: Sweep, file: Path, root: Path | None) -> SweepPaths:
    """Return the paths of a sweep that is to be started.

    Raises:
        UserError: the checkpoints there are another file's (exit code 2), or it has some elsewhere, and
            starting it here would run it a second time (exit code 3 if a dispatcher has it there).
    """
    paths = SweepPaths(_absolute(root), sweep.name)
    found = _elsewhere(sweep, file, paths) if root is None else None
    if found is not None:
        raise _runs_elsewhere(sweep, paths.root, SweepPaths(found, sweep.name))
    _refuse_others(sweep, file, paths)
    return paths


def remember(sweep: Sweep, file: Path, paths: SweepPaths) -> None:
    """Record which file the sweep's folder belongs to, and what it asks for; the lock is held.

    Raises:
        UserError: another file got it meanwhile.
    """
    try:
        claim(sweep, file, paths)
    except OtherSweep as other:
        _refuse_other_owner(other.first, file, paths)
    except OSError:
        return  # no room: the dispatcher pauses, and says so


def _elsewhere(sweep: Sweep, file: Path, here: SweepPaths) -> Path | None:
    """Return another root near the file that has its checkpoints, where this one has none of its."""
    ours = other_owner(SweepRecord.read(here), sweep, file, here.root) is None
    return None if has_state(here) and ours else find_root(sweep, file, here.root)


def _refuse_others(sweep: Sweep, file: Path, paths: SweepPaths) -> None:
    """Refuse checkpoints of another file, and to begin anew what has checkpoints by another name.

    Raises:
        UserError: it is so.
    """
    _refuse_other_owner(other_owner(SweepRecord.read(paths), sweep, file, paths.root), file, paths)
    if (there := find_name(sweep, file, paths)) is not None:
        first = there.checkpoints.name
        old, new = (json.dumps(name, ensure_ascii=False) for name in (first, sweep.name))
        raise UserError(
            f"{shown(file)}: this sweep ran as {printable(first, ' ')}, before its file had this name; write "
            f"`name: {old}` into it to go on with {shown(there.checkpoints)}, or `name: {new}` to begin anew"
        )


def _refuse_other_owner(first: Path | None, file: Path, paths: SweepPaths) -> None:
    """Refuse to use checkpoints of another file.

    Raises:
        UserError: there is such a file.
    """
    if first is not None:
        raise UserError(
            f"{shown(file)}: {shown(paths.checkpoints)} belongs to {shown(_from_here(first))}, "
            f"another sweep file of the name {paths.checkpoints.name!r}; give this one a `name:` of its own "
            "(or remove that one, if this one takes its place)"
        )


def misplaced_script(sweep: Sweep, file: Path) -> str | None:
    """Say where a script of the command lies that is not here, but beside the sweep file or above it."""
    for index, word in enumerate(sweep.command):
        is_script = "/" in word if index == 0 else word.endswith(_SCRIPTS)
        if (
            not is_script
            or word[0] == "~"
            or "{" in word
            or os.path.isabs(word)
            or os.path.exists(word)
        ):
            continue
        for folder in folders_above(file):
            if (folder / word).is_file():
                return (
                    f"worker.command: there is no {word!r} in the current folder ({shown(Path.cwd())}), "
                    f"but in {shown(folder)}: start it there, or write its whole path"
                )
    return None


def misplaced_files(sweep: Sweep, file: Path) -> Iterator[str]:
    """Yield a remark on each other file that the command seems to name, and that lies there, not here.

    No more than a remark: it may be one that the worker writes.
    """
    values = [value for value in sweep.args.values() if isinstance(value, str)]
    words = (part for word in (*sweep.command, *values) for part in parts_of(word))
    for word in dict.fromkeys(words):
        is_path = "/" in word or os.path.splitext(word)[1]
        if not is_path or word[0] in "-~/" or "{" in word or os.path.lexists(word):
            continue
        for folder in folders_above(file):
            if (folder / word).is_file():
                yield f"{word!r} is not in the current folder, but in {shown(folder)}"
                break


def shown(path: Path) -> str:
    """Return a path as text of one line."""
    return printable(str(path), " ")


def _runs_elsewhere(sweep: Sweep, here: Path, there: SweepPaths) -> UserError:
    root = shlex.quote(shown(there.root))
    if is_held(there.lock):
        return UserError(
            f"another dispatcher holds the sweep {sweep.name!r} ({shown(there.checkpoints)}); "
            "`python -m scheduler status` shows what it does "
            f"(`--root .` starts another one in {shown(here)})",
            exit_code=3,
        )
    return UserError(
        f"{sweep.name}: its checkpoints are in {shown(there.checkpoints)}, not in the current folder "
        f"({shown(here)}); start it there (cd {root}) or from here with --root {root}; "
        "`--root .` begins anew here"
    )


def _from_here(path: Path) -> Path:
    """Return the path from the current folder, where it lies below that."""
    try:
        return path.relative_to(os.path.realpath(Path.cwd()))
    except ValueError:
        return path


def _absolute(root: Path | None) -> Path:
    if root is None:
        return Path.cwd()
    return root.resolve() if ".." in root.parts else root.absolute()
