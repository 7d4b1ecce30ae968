"""What dispatcher and driver say to each other: JSON lines."""

from __future__ import annotations

import json
from typing import Any


def as_line(message: dict[str, Any]) -> bytes:
    """Return a message as it is sent."""
    return json.dumps(message).encode() + b"\n"
