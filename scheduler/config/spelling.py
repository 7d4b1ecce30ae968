"""How axes and arguments become words of a command line: ``--batch-size 8``, ``batch_size=8``, …"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scheduler.config.placeholders import as_text, fill, names_in
from scheduler.config.suggest import nearest

_VALUE = "{value}"
_NAMES = ("name", "dashed")
_KNOWN = {"--a-b": "--{dashed} {value}", "--a_b": "--{name} {value}", "a=b": "{name}={value}"}


@dataclass(frozen=True, slots=True)
class Spelling:
    """Words with ``{name}`` (as it is written), ``{dashed}`` (with ``-`` for ``_``) and ``{value}``.

    Where ``{value}`` is a word of its own, a list becomes several; within a word it is JSON.
    """

    option: tuple[str, ...] = ("--{dashed}", _VALUE)
    # What stands for true and false; None: they are values like any other.
    if_true: tuple[str, ...] | None = ("--{dashed}",)
    if_false: tuple[str, ...] | None = ()

    def words(self, name: str, value: Any) -> list[str]:
        """Return the words that give ``value`` to the option ``name``."""
        template: tuple[str, ...] | None = None
        if isinstance(value, bool):
            template = self.if_true if value else self.if_false
        named = {"name": name, "dashed": name.replace("_", "-")}
        words: list[str] = []
        for word in self.option if template is None else template:
            if word == _VALUE and isinstance(value, list | tuple):
                words += map(as_text, value)
            else:
                words.append(fill(word, {**named, "value": value}))
        return words

    def option_of(self, name: str) -> str:
        """Return what two options with the same words have in common; empty: they have no names."""
        if not any(part in _NAMES for word in self.option for part in names_in(word)):
            return ""
        return " ".join(self.words(name, "")).strip()


def parse_spelling(
    option: str, if_true: str | None = None, if_false: str | None = None
) -> Spelling:
    """Return the spelling that a sweep file asks for.

    Args:
        option: ``--a-b``, ``--a_b``, ``a=b``, or a template with ``{value}``.
        if_true: a template of what stands for true; None: the option without its value, where that is a
            word of its own, else it is written ``true``.
        if_false: the same of false; None: nothing, or ``false``.

    Raises:
        ValueError: a template has no value, or what nothing fills.
    """
    words = _KNOWN.get(option, option).split()
    _check("" if option in _KNOWN else option, (*_NAMES, "value"))
    if "value" not in {part for word in words for part in names_in(word)}:
        known = ", ".join(_KNOWN)
        raise ValueError(f"{option!r} has no {{value}}; write {known}, or a template that has it")
    bare = tuple(word for word in words if word != _VALUE)
    is_flag = _VALUE in words and bool(bare)
    for template in (if_true, if_false):
        _check(template or "", _NAMES)
    return Spelling(
        tuple(words),
        bare if if_true is None and is_flag else _split(if_true),
        () if if_false is None and is_flag else _split(if_false),
    )


def _split(template: str | None) -> tuple[str, ...] | None:
    return None if template is None else tuple(template.split())


def _check(template: str, known: tuple[str, ...]) -> None:
    for name in names_in(template):
        if name not in known:
            raise ValueError(f"nothing fills {{{name}}} here{nearest(name, known)}")
