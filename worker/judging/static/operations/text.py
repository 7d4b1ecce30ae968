"""Texts: what formats and methods make of known values, never larger than a small bound."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from worker.judging.reasons.codes import Why
from worker.judging.static.objects import AbstractList
from worker.judging.static.operations import constants
from worker.judging.static.values import MAX_LENGTH, Unknown, Value, is_constant

TEXT_METHODS = frozenset(
    [
        "capitalize",
        "casefold",
        "count",
        "endswith",
        "find",
        "index",
        "isalnum",
        "isalpha",
        "isdigit",
        "islower",
        "isupper",
        "join",
        "lower",
        "lstrip",
        "partition",
        "removeprefix",
        "removesuffix",
        "replace",
        "rfind",
        "rpartition",
        "rsplit",
        "rstrip",
        "split",
        "splitlines",
        "startswith",
        "strip",
        "swapcase",
        "title",
        "upper",
    ]
)


def formatted(value: Value, conversion: int, specification: str) -> str | Unknown:
    """Return a value as an f-string shows it."""
    if isinstance(value, Unknown):
        return Unknown(value.why)
    if isinstance(value, AbstractList) and is_constant(value.items):
        value = list(constants.plain(value))
    elif not is_constant(value):
        return Unknown(Why.OBJECT_TEXT())
    if any(len(width) > 3 for width in re.findall(r"\d+", specification)):
        return Unknown(Why.LONG_TEXT())
    conversions: dict[int, Callable[[constants.Raw], str]] = {114: repr, 115: str, 97: ascii}
    shown = conversions[conversion](value) if conversion in conversions else value
    result = constants.known(format, shown, specification)
    return result if isinstance(result, (str, Unknown)) else Unknown(Why.FORMATTED_TEXT())


def from_template(template: str, positional: Sequence[Value], keywords: dict[str, Value]) -> Value:
    """Return ``template.format(…)`` for templates of plain fields."""
    pieces: list[str] = []
    automatic = position = size = 0
    for match in re.finditer(r"\{\{|\}\}|\{(\w*)(?:!([rsa]))?(?::([^{}]*))?\}", template):
        between = template[position : match.start()]
        pieces.append(between)
        position = match.end()
        if "{" in between or "}" in between:
            return Unknown(Why.NESTED_FORMAT())
        if match[0] in ("{{", "}}"):
            pieces.append(match[0][0])
            continue
        name = match[1]
        if not name:
            name, automatic = str(automatic), automatic + 1
        if name.isdigit():
            value = positional[int(name)] if len(name) < 4 and int(name) < len(positional) else None
        else:
            value = keywords.get(name, Unknown(Why.MISSING_FORMAT_FIELD()))
        piece = formatted(value, ord(match[2]) if match[2] else -1, match[3] or "")
        if isinstance(piece, Unknown):
            return piece
        pieces.append(piece)
        size += len(piece)
        if size > MAX_LENGTH:
            return Unknown(Why.LONG_TEXT())
    rest = template[position:]
    if "{" in rest or "}" in rest:
        return Unknown(Why.NESTED_FORMAT())
    return "".join([*pieces, rest])


def call_method(receiver: str, name: str, arguments: Sequence[Value]) -> Value:
    """Return the result of a ``str`` method that neither formats nor grows its text."""
    plain = [constants.plain(argument) for argument in arguments]
    unknown = next((item for item in plain if not is_constant(item)), None)
    if name not in TEXT_METHODS or unknown is not None:
        return Unknown(
            unknown.why if isinstance(unknown, Unknown) else Why.RESULT(function=f"{name}()")
        )
    if name == "replace" and len(plain) >= 2:
        growth = len(str(plain[1])) * (len(receiver) + 1)
        if growth > MAX_LENGTH:
            return Unknown(Why.LONG_TEXT())
    if name == "join" and plain and isinstance(plain[0], tuple):
        length = sum(len(item) + len(receiver) for item in plain[0] if isinstance(item, str))
        if length > MAX_LENGTH:
            return Unknown(Why.LONG_TEXT())
    return constants.known(getattr(receiver, name), *plain)
