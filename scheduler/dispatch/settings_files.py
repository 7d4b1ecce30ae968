"""What a sweep's settings were when a checkpoint was written: one file for all tasks that had the same."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from scheduler.config.differences import differences
from scheduler.config.sweep import Rules, Sweep, Task
from scheduler.storage.atomic import write_durably
from scheduler.storage.json_files import read_object
from scheduler.storage.paths import SweepPaths

_DIGEST = re.compile(r"[0-9a-f]{16}")
_MOST_SHOWN = 3  # differences


class SettingsFiles:
    """The settings that a sweep has had, by their digest; read once each."""

    def __init__(self, sweep: Sweep, paths: SweepPaths) -> None:
        self._sweep = sweep
        self._paths = paths
        self._read: dict[str, Mapping[str, Any] | None] = {}

    def record(self) -> None:
        """Keep today's settings.

        Raises:
            OSError: they cannot be written.
        """
        path = self._paths.settings(self._sweep.settings_digest)
        if path.exists():
            return
        path.parent.mkdir(exist_ok=True)
        write_durably(path, self._sweep.settings)

    def of(self, digest: object) -> Mapping[str, Any] | None:
        """Return the settings of that digest, or None where they were not kept."""
        if not isinstance(digest, str) or _DIGEST.fullmatch(digest) is None:
            return None
        if digest not in self._read:
            self._read[digest] = read_object(self._paths.settings(digest))
        return self._read[digest]

    def rules(self, digest: str | None) -> Rules:
        """Return the ``validate`` section of those settings; today's where they were not kept."""
        section = (self.of(digest) or {}).get("validate")
        if not isinstance(section, dict):
            return self._sweep.rules
        success, failure = section.get("success"), section.get("failure")
        if not isinstance(success, str) or not isinstance(failure, list):
            return self._sweep.rules
        return Rules(success, tuple(map(str, failure)))

    def changes(self, checkpoint: Mapping[str, Any], task: Task) -> list[str] | None:
        """Return how a checkpoint's settings and matrix differ from today's; None: it does not tell."""
        before = self.of(checkpoint.get("settings"))
        if before is None:
            return None
        today = {**self._sweep.settings, "matrix": self._sweep.matrix(task)}
        return differences({**before, "matrix": checkpoint.get("matrix")}, today)


def in_words(changes: Sequence[str] | None) -> str:
    """Return what has changed, to be put behind a sentence; the first few of many."""
    if changes is None:
        return " (what, it does not tell: an earlier version wrote it)"
    more = len(changes) - _MOST_SHOWN
    others = f" and {more} other{'s' if more > 1 else ''}" if more > 0 else ""
    return f": {', '.join(changes[:_MOST_SHOWN])}{others}" if changes else ""
