"""Checkpoints on disk: whether they hold today."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from scheduler.core.verdict import SWEEP_CHANGED
from scheduler.storage.json_files import read_start
from scheduler.storage.logs import is_log

# The key by which a checkpoint that was set aside is never taken again.
FORGOTTEN = "forgotten"
_SETTINGS = re.compile(r"[0-9a-f]{16}")
_ASIDE = re.compile(r"([^.].*)\.(?:done|failed)\.aside(?:\.\d+)?")
_LOG = re.compile(r"([^.].*)\.log(?:\.\d+)?")


def why_not_done(
    done: Mapping[str, Any] | None,
    digest: str,
    log: os.DirEntry[str] | None,
    runs_on: str | None = None,
) -> str | None:
    """Return why a ``.done`` does not hold today, or None if it does.

    Args:
        done: its content; None if it cannot be read as an object.
        digest: of what the sweep runs today.
        log: the log that proved it; None if it is gone, which does not count against the ``.done``,
            nor does something else in its place.
        runs_on: the kind of device that the sweep runs on, where it is known.
    """
    why = why_not_of_today(done, digest) or why_not_there((done or {}).get("device"), runs_on)
    if why is not None:
        return why
    recorded = (done or {}).get("log")
    if not isinstance(recorded, dict):
        return "it does not say which log proved it"
    if log is None or not log.is_file(follow_symlinks=False):
        return None
    try:
        state = log.stat(follow_symlinks=False)
    except OSError as error:
        return f"its log cannot be read: {error.strerror}"
    if state.st_size == recorded.get("size") and state.st_mtime_ns == recorded.get("mtime_ns"):
        return None
    if not is_log(Path(log.path), recorded.get("sha256"), recorded.get("crc32")):
        return "its log is not the one that proved it"
    return None


def why_not_of_today(checkpoint: Mapping[str, Any] | None, digest: str) -> str | None:
    """Return why a checkpoint is not of what the sweep file asks for today, or None if it is."""
    if checkpoint is None:
        return "it is damaged"
    if not isinstance(checkpoint.get("digest"), str):
        return "it does not say what was run: it has no digest"
    return None if checkpoint["digest"] == digest else SWEEP_CHANGED


def kind_of_device(device: object) -> Literal["GPU", "CPU"] | None:
    """Return the kind of the device of that id, ``GPU`` or ``CPU``; None where it does not tell."""
    if not isinstance(device, str):
        return None
    if device.startswith("cpu:"):
        return "CPU"
    return "GPU" if device.startswith(("GPU-", "MIG-", "slurm:", "ray:")) else None


def why_not_there(device: object, runs_on: str | None) -> str | None:
    """Return why what was done on a device does not count on the kind that a sweep runs on, or None."""
    kind = kind_of_device(device)
    if None in (kind, runs_on) or kind == runs_on:
        return None
    return f"it ran on a {kind} ({device}), and the sweep runs on a {runs_on}"


def has_other_rules(checkpoint: Mapping[str, Any], settings: str) -> bool:
    """Say whether a checkpoint of today was judged by another ``validate`` section than that of today.

    Its digest is today's; so if that of its settings is not, it can only be this section that differs.
    """
    judged_by = checkpoint.get("settings")
    if judged_by == settings or not isinstance(judged_by, str):
        return False
    return _SETTINGS.fullmatch(judged_by) is not None  # else it is damaged


def is_of_today(entry: os.DirEntry[str], digest: str, settings: str, runs_on: str | None) -> bool:
    """Say, fast, whether a checkpoint is whole, of these digests and, for sure, of this kind of device.

    A long one is not looked through.
    """
    data = read_start(entry)
    others = {
        "GPU": (b'": "cpu:',),
        "CPU": (b'": "GPU-', b'": "MIG-', b'": "slurm:', b'": "ray:'),
    }.get(runs_on or "", ())
    return not any(other in data for other in others) and (
        f'"digest": "{digest}"'.encode() in data
        and (f'"settings": "{settings}"'.encode() in data or b'"settings"' not in data)
        and data.endswith(b"}\n")
    )


def find_log(checkpoint: Mapping[str, Any], logs: Sequence[Path]) -> Path | None:
    """Return which of a task's logs is the one that a checkpoint records, or None.

    Args:
        checkpoint: its content.
        logs: the newest attempt's and those of earlier ones, which were renamed.
    """
    recorded = checkpoint.get("log")
    if not isinstance(recorded, dict):
        return None
    for log in logs:
        try:
            state = log.lstat()
        except OSError:
            continue
        if state.st_size == recorded.get("size") and (
            state.st_mtime_ns == recorded.get("mtime_ns")
            or is_log(log, recorded.get("sha256"), recorded.get("crc32"))
        ):
            return log
    return None


@dataclass(slots=True)
class CheckpointFolder:
    """The files of a sweep's folder, by task; of ``.done`` and ``.failed`` those that were set aside, too."""

    done: dict[str, os.DirEntry[str]] = field(default_factory=dict)
    failed: dict[str, os.DirEntry[str]] = field(default_factory=dict)
    attempts: dict[str, os.DirEntry[str]] = field(default_factory=dict)
    # Completions first.
    aside: dict[str, list[Path]] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path) -> CheckpointFolder:
        """Look at a folder, once; one that is not there is empty."""
        found = cls()
        by_suffix = {"done": found.done, "failed": found.failed, "attempts": found.attempts}
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    task, _, suffix = entry.name.rpartition(".")
                    if suffix in by_suffix and entry.name[0] != ".":
                        by_suffix[suffix][task] = entry
                    elif (aside := _ASIDE.fullmatch(entry.name)) is not None:
                        found.aside.setdefault(aside[1], []).append(Path(entry.path))
        except FileNotFoundError:
            return found
        for paths in found.aside.values():
            paths.sort(key=lambda path: (".failed.aside" in path.name, path.name))
        return found


def logs_by_task(folder: Path) -> dict[str, list[Path]]:
    """Return all logs in a folder by task, the newest attempt's first."""
    found: dict[str, list[Path]] = {}
    try:
        names = sorted(os.listdir(folder), key=len)
    except FileNotFoundError:
        return found
    for name in names:
        if (log := _LOG.fullmatch(name)) is not None:
            found.setdefault(log[1], []).append(folder / name)
    return found


def folder_entries(folder: Path, suffix: str) -> dict[str, os.DirEntry[str]]:
    """Return the entries of ``folder`` that end in ``suffix``, by what stands before it."""
    try:
        with os.scandir(folder) as entries:
            return {
                e.name[: -len(suffix)]: e
                for e in entries
                if e.name.endswith(suffix) and e.name[0] != "."
            }
    except FileNotFoundError:
        return {}
