"""What dispatcher and driver say to each other: JSON lines."""

from __future__ import annotations

import json
from typing import Any

from scheduler.config.printable import printable


def as_line(message: dict[str, Any]) -> bytes:
    """Return a message as it is sent."""
    return json.dumps(message).encode() + b"\n"


def last_words(error: Exception) -> str:
    """Return the last line of what an error says: Ray's own words for it stand there."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return printable(lines[-1] if lines else repr(error), " ")
