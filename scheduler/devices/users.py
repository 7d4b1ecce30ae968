"""Names of the machine's users."""

from __future__ import annotations

import pwd
from functools import lru_cache


@lru_cache(maxsize=256)
def user_name(uid: int) -> str:
    """Return a user's name, or the number where it has none; the look-up may ask a server once."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return str(uid)
