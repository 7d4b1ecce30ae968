"""What differs between two settings, in words; secrets are neither kept nor shown."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from scheduler.config.printable import printable

_SECRET_WORDS = frozenset(
    {"token", "key", "apikey", "secret", "pass", "password", "passwd", "passphrase", "pwd", "pat"}
    | {"credential", "credentials", "auth", "authorization", "cookie", "private", "webhook"}
)
_SECRET_PARTS = re.compile(
    r"token(?!iz)|secret|passw|credential|api_?key|access_?key", re.IGNORECASE
)
_LOGIN = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_LONGEST = 60  # characters of a value that is shown
_SECRET = "secret, SHA-256 "  # noqa: S105  # how one is kept
_ABSENT = object()


def without_secrets(settings: Mapping[str, Any], *, environment: bool = False) -> dict[str, Any]:
    """Return settings as they may be kept: texts under names like HF_TOKEN only as digests.

    Args:
        settings: plain data.
        environment: these are variables, whose names are looked at more strictly.
    """
    return {name: _kept(name, value, environment) for name, value in settings.items()}


def _kept(name: str, value: Any, environment: bool) -> Any:
    if isinstance(value, Mapping):
        return without_secrets(value, environment=environment)
    if isinstance(value, str) and _is_secret(name, environment):
        return _SECRET + hashlib.sha256(value.encode(errors="surrogatepass")).hexdigest()[:16]
    return without_logins(value)


def without_logins(value: Any) -> Any:
    """Return a value without what stands between ``://`` and ``@`` in its texts."""
    if isinstance(value, str):
        return _LOGIN.sub("…", value)
    return [without_logins(part) for part in value] if isinstance(value, list | tuple) else value


def _is_secret(name: str, environment: bool) -> bool:
    words = re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())
    return not _SECRET_WORDS.isdisjoint(words) or (
        environment and _SECRET_PARTS.search(name) is not None
    )


def differences(before: Mapping[str, Any], today: Mapping[str, Any]) -> list[str]:
    """Return what differs, each as ``args.lr: 0.1 → 0.2``; ``–`` stands for what is not there.

    Args:
        before: settings as `without_secrets` keeps them.
        today: the same of today.
    """
    return list(_differences(before, today, ""))


def _differences(before: Mapping[str, Any], today: Mapping[str, Any], under: str) -> Iterator[str]:
    for name in dict.fromkeys([*before, *today]):
        old, new = before.get(name, _ABSENT), today.get(name, _ABSENT)
        key = printable(f"{under}{name}")
        sections = [value for value in (old, new) if value is not None and value is not _ABSENT]
        if sections and all(isinstance(section, Mapping) for section in sections):
            yield from _differences(_section(old), _section(new), f"{key}.")
        elif _plain(old) != _plain(new):
            yield f"{key}: {_in_words(old, new)}"


def _section(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _in_words(old: Any, new: Any) -> str:
    secret = any(isinstance(value, str) and value.startswith(_SECRET) for value in (old, new))
    if secret and _ABSENT not in (old, new):
        return "changed"
    before, today = _shown(old), _shown(new)
    if before == today:  # the text "1" and the number 1
        before, today = _cut(_plain(old)), _cut(_plain(new))
    return f"{before} → {today}" if before != today else "changed"


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "–"
    if isinstance(value, str) and value:
        return "a secret" if value.startswith(_SECRET) else _cut(value)
    return _cut(_plain(value))


def _plain(value: Any) -> str:
    return "" if value is _ABSENT else json.dumps(value, ensure_ascii=False, default=str)


def _cut(text: str) -> str:
    text = printable(text, " ")
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
