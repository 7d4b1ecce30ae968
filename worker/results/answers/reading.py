"""Which rows of a results file count, another worker's too.

A row needs its ``metrics``, and counts as a candidate called by its file where it does not say more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from worker.config.bounded import parse_json, read_regular
from worker.errors import ConfigurationError
from worker.results.row import MEASURED, Measurement, Row
from worker.results.statistics import Comparison

_OURS = ("settings", "environment", "samples")


@dataclass(frozen=True)
class Rows:
    """The rows of a file that count, and how many do not."""

    counting: Sequence[Measurement]
    """The newest of each configuration, under the newest settings, on the model of device of the newest."""
    batch_size: int | None = None
    earlier: int = 0
    """Configurations of earlier settings, or of another device, that were not measured under the newest."""
    unread: int = 0
    """Lines that are cut off, damaged, of another version's form, or without metrics."""
    summary: Mapping[str, Any] = field(default_factory=dict)
    """The file's last line where that is a summary."""
    device: str | None = None
    """The model of device that those that count were measured on."""

    @property
    def max_loss(self) -> float | None:
        """The bound that the summary was held against."""
        bound = self.summary.get("max_loss")
        return float(bound) if isinstance(bound, int | float) and 0 <= bound <= 1 else None

    def beats_fewer_steps(self, label: str) -> Comparison | None:
        """Return what the summary says of it, which no bound changes."""
        known = self.summary.get("beats_fewer_steps")
        said = known.get(label) if isinstance(known, dict) else None
        return said if said in ("yes", "no", "cannot tell yet") else None


def read(path: Path) -> Rows:
    """Return what counts of a results file's lines.

    Args:
        path: the file; nothing is written to it. Rows that have no label are called by its name.

    Raises:
        ConfigurationError: it cannot be read.
    """
    try:
        lines = read_regular(path, links=False).splitlines()
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    rows: list[Measurement] = []
    unread = 0
    summary: Mapping[str, Any] = {}
    for line in filter(None, map(bytes.strip, lines)):
        row: Measurement | None = _ours(line)
        if row is None:
            content = _plain(line)
            if content is not None and not content.keys() & {"metrics", "configuration"}:
                said = content.get("summary", content)
                summary = said if isinstance(said, dict) else content
                continue
            row = None if content is None else _of_another_worker(content, path.stem)
        summary = {}
        if row is None:
            unread += 1
        elif not isinstance(row, Row) or row.study is None:
            rows.append(row)
    named = [(_name(row), row) for row in rows]
    group = _group(rows[-1]) if rows else ("", None)
    newest = {name: row for name, row in named if _group(row) == group}
    earlier = {name for name, _ in named} - newest.keys()
    size = rows[-1].settings.get("batch_size") if rows and isinstance(rows[-1], Row) else None
    return Rows(
        list(newest.values()),
        size if isinstance(size, int) else None,
        len(earlier),
        unread + bool(summary and not rows),
        summary,
        group[1],
    )


def _ours(line: bytes) -> Row | None:
    """Return a line as a row of this worker; read in one go, since there may be ten thousand."""
    if b'"configuration"' not in line or b"NaN" in line or b"Infinity" in line:
        return None
    try:
        return Row.model_validate_json(line)
    except ValidationError:
        return None


def _plain(line: bytes) -> dict[str, Any] | None:
    try:
        content = parse_json(line)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _of_another_worker(content: Mapping[str, Any], label: str) -> Measurement | None:
    """Return another worker's line as a row, with what is missing filled in."""
    if all(key in content for key in _OURS):
        return None  # of ours, in a form that this version does not know
    usual: dict[str, Any] = {
        "role": "candidate",
        "label": label,
        "configuration": {},
        "status": MEASURED,
        "samples": {},
    }
    try:
        return Measurement.model_validate({**usual, **content})
    except ValidationError:
        return None


def _name(row: Measurement) -> str:
    return json.dumps([row.key, "" if isinstance(row, Row) else row.label])


def _group(row: Measurement) -> tuple[str, str | None]:
    """Return what rows have in common that are of one comparison: their settings, and the device's model."""
    if not isinstance(row, Row):
        return "", None
    device = row.environment.get("device")
    return row.digest, device if isinstance(device, str) else None
