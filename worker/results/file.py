"""The results file: one JSON object on each line, appended and made durable as it is measured."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker.config.bounded import open_regular, parse_json, read_regular
from worker.errors import ConfigurationError, WorkerError

Line = dict[str, Any]
"""One JSON object; see worker/results/row.py for those that are measurements."""


@dataclass
class ResultsFile:
    """The measurements of one task, line by line.

    Attributes:
        path: where they are.
        lines: every whole line that was there, and those appended since.
        notices: what was found wrong with the file, in sentences for the user.
    """

    path: Path
    lines: list[Line] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    _torn: bool = False

    @classmethod
    def open(cls, path: Path) -> ResultsFile:
        """Read what an earlier attempt measured. A line that is cut off is passed over.

        Raises:
            ConfigurationError: something else than a file is there.
            WorkerError: the file or its folder cannot be read.
        """
        results = cls(path)
        try:
            # Not through a link: others may have put one there.
            if os.path.lexists(path) and (path.is_symlink() or not path.is_file()):
                raise ConfigurationError(f"the results file {path} is not a file; name another")
            path.parent.mkdir(parents=True, exist_ok=True)
            content = read_regular(path, links=False) if path.exists() else b""
        except OSError as error:
            raise WorkerError(
                f"the results file {path} cannot be read: {error.strerror}"
            ) from error
        for number, line in enumerate(content.splitlines(), start=1):
            read = _parse(line)
            if read is not None:
                results.lines.append(read)
            elif line.strip():
                results.notices.append(
                    f"{path} line {number} is cut off or not JSON; it is passed over and "
                    "measured again"
                )
        results._torn = bool(content) and not content.endswith(b"\n")
        return results

    def append(self, line: Mapping[str, Any]) -> None:
        """Add one line and wait until it is on disk.

        Raises:
            WorkerError: it cannot be written (disk full, folder read-only); what was there stays.
        """
        text = json.dumps(line, ensure_ascii=False, allow_nan=False)
        # a file's name, as it stands in a command, need not be text
        content = text.encode(errors="replace") + b"\n"
        if self._torn:
            content = b"\n" + content
        try:
            descriptor = self._descriptor()
            try:
                # a disk takes what fits on it, and says only of the rest why not
                while content:
                    content = content[os.write(descriptor, content) :]
                    self._torn = bool(content)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self._unwritable(error) from error
        self.lines.append(dict(line))

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
        return open_regular(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, links=False)

    def _unwritable(self, error: OSError) -> WorkerError:
        return WorkerError(
            f"the results file {self.path} cannot be written: {error.strerror}; what was "
            "measured before is kept, free the disk or fix the folder and run again"
        )


def _parse(line: bytes) -> Line | None:
    try:
        content = parse_json(line)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None
