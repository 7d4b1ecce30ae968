"""The results file: one JSON object on each line, appended and made durable as it is measured."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from worker.errors import WorkerError

Row = dict[str, Any]

# what a row's ``status`` says where nothing was measured
OUT_OF_MEMORY = "out of memory"
NON_FINITE = "images contain NaN or Inf"
# what version 0.1.0 wrote in its place
_NON_FINITE_BEFORE = "images are not numbers"


@dataclass
class ResultsFile:
    """The measurements of one task.

    Attributes:
        path: where they are.
        rows: every whole line that was there, and those appended since.
        notices: what was found wrong with the file, in sentences for the user.
    """

    path: Path
    rows: list[Row] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    _torn: bool = False

    @classmethod
    def open(cls, path: Path) -> ResultsFile:
        """Read what an earlier attempt measured. A line that is cut off is passed over.

        Raises:
            WorkerError: the file or its folder cannot be read.
        """
        results = cls(path)
        try:
            if path.exists() and not path.is_file():
                raise WorkerError(f"the results file {path} is not a file; name another")
            path.parent.mkdir(parents=True, exist_ok=True)
            content = path.read_bytes() if path.exists() else b""
        except OSError as error:
            raise WorkerError(
                f"the results file {path} cannot be read: {error.strerror}"
            ) from error
        for number, line in enumerate(content.splitlines(), start=1):
            row = _parse(line)
            if row is not None:
                results.rows.append(row)
            elif line.strip():
                results.notices.append(
                    f"{path} line {number} is cut off or not JSON; it is passed over and "
                    "measured again"
                )
        results._torn = bool(content) and not content.endswith(b"\n")
        return results

    def append(self, row: Mapping[str, Any]) -> None:
        """Add one line and wait until it is on disk.

        Raises:
            WorkerError: it cannot be written (disk full, folder read-only); what was there stays.
        """
        text = json.dumps(row, ensure_ascii=False, allow_nan=False)
        # a file's name, as it stands in a command, need not be text
        line = text.encode(errors="replace") + b"\n"
        if self._torn:
            line = b"\n" + line
        try:
            descriptor = self._descriptor()
            try:
                written = os.write(descriptor, line)
                if written < len(line):
                    self._torn = True
                    raise OSError(0, f"only {written} of {len(line)} bytes were written")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self._unwritable(error) from error
        self._torn = False
        self.rows.append(dict(row))

    def check_writable(self) -> None:
        """Make sure that a line could be added.

        Raises:
            WorkerError: it could not.
        """
        try:
            os.close(self._descriptor())
        except OSError as error:
            raise self._unwritable(error) from error

    def _descriptor(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def _unwritable(self, error: OSError) -> WorkerError:
        return WorkerError(
            f"the results file {self.path} cannot be written: {error.strerror}; what was "
            "measured before is kept, free the disk or fix the folder and run again"
        )


class _Metric(BaseModel):
    name: str
    value: float | None
    low: float | None = None
    high: float | None = None


class _Settings(BaseModel):
    digest: str


class _Measurement(BaseModel):
    """What is read of a row again; docs/results-schema.md says what else is in it."""

    role: str
    label: str
    status: str
    configuration: dict[str, Any]
    metrics: list[_Metric]
    samples: dict[str, list[float | None]]
    settings: _Settings
    environment: dict[str, Any]


def is_measurement(row: Row) -> bool:
    """Say whether a row has the form of a measurement: another version's, or a mended one, may not."""
    try:
        _Measurement.model_validate(row, strict=True)
    except ValidationError:
        return False
    return True


def _parse(line: bytes) -> Row | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict):
        return None
    if row.get("status") == _NON_FINITE_BEFORE:
        row["status"] = NON_FINITE
    return row


def metric(
    name: str,
    value: float | None,
    unit: str,
    better: str | None,
    *,
    low: float | None = None,
    high: float | None = None,
) -> dict[str, Any]:
    """Return one metric as it stands in a row; ``better`` is ``higher``, ``lower`` or None.

    What is not a finite number is not known: JSON has no word for it.
    """
    return {
        "name": name,
        "value": _finite(value),
        "low": _finite(low),
        "high": _finite(high),
        "unit": unit,
        "better": better,
    }


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def finite(values: Iterable[float]) -> list[float | None]:
    """Return numbers as they stand in a row: what is none is not known."""
    return [_finite(value) for value in values]


def value_of(row: Mapping[str, Any], name: str) -> float | None:
    """Return a row's metric of that name, or None."""
    for entry in row.get("metrics", ()):
        if entry["name"] == name:
            value: float | None = entry["value"]
            return value
    return None
