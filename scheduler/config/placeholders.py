"""What a sweep file's texts become: ``{axis}``, ``~`` and ``$NAME`` in commands, arguments, environments.

There is no shell between, so what stands in the file is what arrives, but for these.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from scheduler.config.strict_yaml import with_numbers

# Braces around a name; JSON, Go templates and ${…} put other things between theirs.
_BRACED = re.compile(r"(\{+)(\w+)(\}+)")
# Go's and Jinja's templates, in which braces around a name that is none of ours are theirs.
_TEMPLATE = re.compile(r"\{\{[^{\w]|\{%")
_VARIABLE = re.compile(r"\$(?:(\$)|([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})")
# What shells expand and we do not: ${NAME:-default}, $(command).
_OF_SHELLS = re.compile(r"\$[({]")
_HOME = re.compile(r"(?:^|(?<=:))~[^/:]*")


class UnsetVariable(Exception):  # noqa: N818  # it is the variable that is unset
    """An environment variable that a text names is not set; the message is its name."""


def as_text(value: object) -> str:
    """Return a value of the sweep file as a command line or an environment holds it: lists as JSON."""
    if isinstance(value, list | tuple | dict):
        return json.dumps(with_numbers(value), ensure_ascii=False, separators=(",", ":"))
    return str(value).lower() if isinstance(value, bool) else str(value)


def fill(text: str, values: Mapping[str, Any]) -> str:
    """Replace ``{name}`` by its value, and ``{{name}}`` by ``{name}``; all other braces stay.

    So does ``{{name}}`` in a template (one with ``{{.X}}``, ``{{ x }}`` or ``{% x %}``), unless the name
    has a value.

    Raises:
        KeyError: no value has that name.
    """
    is_template = _TEMPLATE.search(text) is not None

    def replacement(match: re.Match[str]) -> str:
        opening, name, closing = match.groups()
        depth = min(len(opening), len(closing))
        if depth == 2 and is_template and name not in values:
            return match[0]
        inner = as_text(values[name]) if depth % 2 else name
        braces = depth // 2
        return opening[depth:] + "{" * braces + inner + "}" * braces + closing[depth:]

    return _BRACED.sub(replacement, text)


def names_in(text: str) -> Iterator[str]:
    """Yield the names that `fill` needs a value of."""
    for match in _BRACED.finditer(text):
        if min(len(match[1]), len(match[3])) % 2:
            yield match[2]


def expand_home(text: str) -> str:
    """Replace a ``~`` or ``~user`` that begins a path by that home folder, as shells do."""
    return os.path.expanduser(text) if text.startswith("~") else text


def expand_variables(text: str, environment: Mapping[str, str]) -> str:
    """Replace ``$NAME`` and ``${NAME}``, ``~`` at the beginning of a path, and ``$$`` by a dollar.

    Of a list of paths with ``:`` between, as PATH is one, each may begin with ``~``.

    Raises:
        UnsetVariable: ``environment`` has no such variable.
    """

    def replacement(match: re.Match[str]) -> str:
        name = match[2] or match[3]
        if name is None:
            return "$"
        try:
            return environment[name]
        except KeyError:
            raise UnsetVariable(name) from None

    # Home folders first: a variable's content is not looked at again.
    return _VARIABLE.sub(replacement, _HOME.sub(lambda m: os.path.expanduser(m[0]), text))


def unexpanded(text: str) -> str | None:
    """Return the first thing in a text that a shell would expand and `expand_variables` does not."""
    rest = _VARIABLE.sub(lambda match: " " * len(match[0]), text)
    found = _OF_SHELLS.search(rest)
    return text[found.start() :] if found else None


def texts_in(value: Any) -> list[str]:
    """Return the texts that an argument is, or that its list holds."""
    return [
        part for part in (value if isinstance(value, list) else [value]) if isinstance(part, str)
    ]


def filled(value: Any, values: Mapping[str, Any]) -> Any:
    """Return an argument with placeholders and home folders filled in, also those in its lists."""
    if isinstance(value, list | tuple):
        return [filled(part, values) for part in value]
    return fill(expand_home(value), values) if isinstance(value, str) else value
