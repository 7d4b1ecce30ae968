"""What Ray keeps of an attempt in the store of its head: the order, the permission to go on, a sign of life.

==============  ==========================================================================================
TOKEN.order     it may begin. Its actor removes it to begin; whoever removes it first, the dispatcher, can be
                sure that the attempt never begins, whatever becomes of the actor
TOKEN.running   it may go on; once that is gone, its actor has it stopped
TOKEN.sign      rewritten every few seconds. An actor that cannot write it, since its node is cut off, no
                longer renews its guard's terms, and after the time of the lease the guard ends the attempt
==============  ==========================================================================================

The store is that of `ray.experimental.internal_kv`, by which Ray's own libraries speak with their parts.
"""

from __future__ import annotations

import json
from typing import Any

from ray.experimental import internal_kv

from scheduler.storage.json_files import parse_object

NAMESPACE = "diffusion-sweeps"


class Keys:
    """The keys of one attempt."""

    def __init__(self, token: str) -> None:
        self._token = token

    # --- the dispatcher's side -----------------------------------------------------------------

    def allow(self) -> None:
        """Let it begin."""
        self._put("order", b"1")

    def withdraw(self) -> bool:
        """Take the order back; return whether it was there: then the attempt never begins."""
        return self._remove("order")

    def revoke(self) -> None:
        """Take back the permission to go on."""
        self._remove("running")

    def is_running(self) -> bool:
        """Say whether it has begun, and may go on."""
        return self._get("running") is not None

    def sign(self) -> bytes:
        """Return what changes as long as the attempt lives."""
        return self._get("sign") or b""

    def is_over(self) -> bool:
        """Say whether the attempt's actor has seen its end."""
        return bool((parse_object(self.sign()) or {}).get("over"))

    def remove(self) -> None:
        """Remove all of them: the attempt is over."""
        for name in ("order", "running", "sign"):
            self._remove(name)

    # --- the actor's side ----------------------------------------------------------------------

    def claim(self) -> bool:
        """Begin, as the only one who can; return whether that is so."""
        if not self._remove("order"):
            return False
        self._put("running", b"1")
        return True

    def renew(self, content: dict[str, Any]) -> bool:
        """Write a sign of life; return whether the attempt may go on."""
        self._put("sign", json.dumps(content).encode())
        return self.is_running()

    def _put(self, name: str, value: bytes) -> None:
        internal_kv._internal_kv_put(f"{self._token}.{name}", value, namespace=NAMESPACE)

    def _get(self, name: str) -> bytes | None:
        found: bytes | None = internal_kv._internal_kv_get(
            f"{self._token}.{name}", namespace=NAMESPACE
        )
        return found

    def _remove(self, name: str) -> bool:
        return bool(internal_kv._internal_kv_del(f"{self._token}.{name}", namespace=NAMESPACE))
