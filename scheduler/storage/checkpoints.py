"""Checkpoints on disk: whether they hold today."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scheduler.config.sweep import Rules
from scheduler.core.verdict import SWEEP_CHANGED
from scheduler.storage.logs import read_log


def why_not_done(
    done: Mapping[str, Any] | None, digest: str, log: os.DirEntry[str] | None
) -> str | None:
    """Return why a ``.done`` does not hold today, or None if it does.

    Args:
        done: its content; None if it cannot be read as an object.
        digest: of what the sweep runs today.
        log: the log that proved it; None if it is gone, which does not count against the ``.done``,
            nor does something else in its place.
    """
    if done is None:
        return "it is damaged"
    if done.get("digest") != digest:
        return SWEEP_CHANGED
    recorded = done.get("log")
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
    _, facts = read_log(Path(log.path), Rules())
    if facts is None or facts.sha256 != recorded.get("sha256"):
        return "its log is not the one that proved it"
    return None


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
