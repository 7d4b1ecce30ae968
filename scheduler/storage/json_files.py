"""Reading JSON and JSON lines without trusting them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scheduler.storage.regular_files import open_binary, open_descriptor

_CHUNK = 1 << 14  # bytes; most checkpoints are shorter


def read_object(path: Path | str) -> dict[str, Any] | None:
    """Return the JSON object in ``path``, or None if there is no file or no such object in it."""
    try:
        descriptor = open_descriptor(path)
    except OSError:
        return None
    try:
        data = chunk = os.read(descriptor, _CHUNK)
        while len(chunk) == _CHUNK:  # a file that is shorter has ended: no second call to learn it
            chunk = os.read(descriptor, _CHUNK)
            data += chunk
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return parse_object(data)


def parse_object(data: bytes) -> dict[str, Any] | None:
    """Return the JSON object that ``data`` is, or None."""
    try:
        content = json.loads(data.decode())  # decoded here: it would look for UTF-16 first
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def read_objects(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSONL file; lines that are none (cut off, overwritten) are passed over."""
    try:
        file = open_binary(path)
    except OSError:
        return
    with file:
        for line in file:
            if (content := parse_object(line)) is not None:
                yield content
