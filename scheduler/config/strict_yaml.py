"""Reads YAML as plain data: text, numbers, true and false, lists, mappings with texts as keys.

What YAML would let pass silently, or turn into something else than it looks like or than a command line
or JSON can hold, is reported with its line and its key: a key written twice, a key that is no text, a
text with a NUL byte, `on` (which is true), `1:30` (which is 90), `.nan`. A date stays the text it is.

The scheduler and the worker each have this file, word for word, because neither imports the other:
a change to one is copied to the other (``tests/test_yaml_readers.py`` compares them).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.reader import Reader

try:
    from yaml import CSafeLoader as SafeLoader  # libyaml's: ten times as fast
except ImportError:
    from yaml import SafeLoader  # type: ignore[assignment]

_AS_IT_LOOKS = re.compile(
    r"true|false|[-+]?(0|[1-9][\d_]*)|[-+]?[\d_]*\.[\d_]*([eE][-+]?\d+)?", re.I
)
# What YAML 1.2 and JSON read as a number, and YAML 1.1 as a text: 1e-4.
_SCIENTIFIC = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
_UNUSABLE = re.compile("[\x00\ud800-\udfff]")  # in a command line, an environment or a file name
_PLAIN_NAME = re.compile(r"[\w-]+")
_MOST_LEVELS = 100  # libyaml's loader recurses in C, and would die of thousands
# Ten lines of aliases to aliases can stand for more text than memory holds.
_MOST_ALIASED = 1_000_000  # characters
_CORE = "tag:yaml.org,2002:"
_TEXTS = (f"{_CORE}str", f"{_CORE}timestamp")
_VALUES = (f"{_CORE}bool", f"{_CORE}int", f"{_CORE}float")


class YamlError(Exception):
    """The bytes are no YAML that can be read; the message says where and why."""


class Unusable:
    """Stands in the data for what is no plain data; one of the problems says why."""


class NumberText(str):
    """A number in scientific notation (``1e-4``): as a text what was written, see `with_numbers`."""

    __slots__ = ()


def with_numbers(data: Any) -> Any:
    """Return data with numbers for its `NumberText`, as JSON is to hold them."""
    if isinstance(data, dict):
        return {key: with_numbers(value) for key, value in data.items()}
    if isinstance(data, list):
        return [with_numbers(value) for value in data]
    return float(data) if isinstance(data, NumberText) else data


def load(data: bytes, words: Collection[tuple[str, str]] = ()) -> tuple[object, list[str]]:
    """Return the data in a file's bytes, and what is questionable in it, one sentence each.

    Args:
        data: the file's content.
        words: keys, as people write them, each with a word that is text there though YAML takes it for true
            or false: ``("devices.cores", "off")``; as a key too: ``on`` below ``("notify", "on")``.

    Raises:
        YamlError: it is not text in UTF-8, no YAML, nested too deeply, or its aliases stand for
            too much.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise YamlError(f"is not text in UTF-8 (byte {error.start})") from None
    unprintable = Reader.NON_PRINTABLE.search(text)
    if unprintable:
        line = text.count("\n", 0, unprintable.start()) + 1
        raise YamlError(
            f"line {line}: is not valid YAML: the character {unprintable[0]!r} is not allowed"
        )
    try:
        _check_size(text)
        root = yaml.compose(text, Loader=SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        what = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise YamlError(f"{where}is not valid YAML: {what}") from None
    if root is None:
        return None, []
    builder = _Builder(words)
    return builder.build(root, ""), list(builder.problems.values())


@dataclass
class _Collection:
    """A list or mapping whose end has not been read yet."""

    anchor: str | None
    size: int = 1
    height: int = 1


def _check_size(text: str) -> None:
    """Refuse what would take too deep a recursion, or too much memory, to be built.

    Sizes are in characters, and count what aliases stand for.
    """
    opened: list[_Collection] = []
    ended: dict[str, _Collection] = {}
    aliased = 0
    for event in yaml.parse(text, Loader=SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            opened.append(_Collection(event.anchor))
            item = _Collection(None, size=0, height=0)
        elif isinstance(event, yaml.AliasEvent):
            if any(event.anchor == collection.anchor for collection in opened):
                raise YamlError(f"{_line(event)}: is not valid YAML: *{event.anchor} holds itself")
            item = ended.get(str(event.anchor), _Collection(None))
            aliased += item.size
        elif isinstance(event, yaml.ScalarEvent):
            item = _Collection(event.anchor, size=1 + len(event.value), height=0)
        elif isinstance(event, yaml.CollectionEndEvent):
            item = opened.pop()
        else:
            continue
        if len(opened) + item.height > _MOST_LEVELS:
            raise YamlError(f"{_line(event)}: is nested more than {_MOST_LEVELS} levels deep")
        if aliased > _MOST_ALIASED:
            raise YamlError(
                f"{_line(event)}: its aliases stand for more than {_MOST_ALIASED:,} characters"
            )
        if item.anchor is not None:
            ended[item.anchor] = item
        if opened and not isinstance(event, yaml.CollectionStartEvent):
            opened[-1].size += item.size
            opened[-1].height = max(opened[-1].height, item.height + 1)


class _Builder:
    """Makes plain data of YAML's nodes, noting what is questionable, once for each place."""

    def __init__(self, words: Collection[tuple[str, str]]) -> None:
        self._words = words
        self.problems: dict[tuple[int, int], str] = {}
        self._values = yaml.SafeLoader("")

    def build(self, node: yaml.Node, key: str) -> Any:
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_CORE}map":
            return self._mapping(node, key)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_CORE}seq":
            return [self.build(item, f"{key}[{n}]") for n, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            if node.tag == f"{_CORE}null":
                return None
            if node.tag in _TEXTS or (key, node.value) in self._words:
                return self._text(node, key)
            if node.tag in _VALUES:
                return self._value(node, key)
        self._complain(node, key, f"{node.tag.replace(_CORE, '!!')} is no kind of plain data")
        return Unusable()

    def _text(self, node: yaml.ScalarNode, key: str) -> str:
        text = str(node.value)
        if _UNUSABLE.search(text):
            self._complain(node, key, f"{text!r} holds a character that no command line can hold")
        if not node.style and _SCIENTIFIC.fullmatch(text) and math.isfinite(float(text)):
            return NumberText(text)
        return text

    def _value(self, node: yaml.ScalarNode, key: str) -> bool | int | float | Unusable:
        text = str(node.value)
        construct = yaml.SafeLoader.yaml_constructors[node.tag]
        try:
            value: bool | int | float = construct(self._values, node)
        except (ValueError, LookupError):  # a number of 5,000 digits, `!!bool perhaps`
            kind = node.tag.removeprefix(_CORE)
            self._complain(node, key, f"{_shortened(text)} cannot be read as YAML's {kind}")
            return Unusable()
        if not _fits(value):
            what = "is no number that JSON can hold"
            self._complain(node, key, f"{_shortened(text)} {what}; as a text, put it in quotes")
            return Unusable()
        if not _AS_IT_LOOKS.fullmatch(text):
            means = json.dumps(value)
            self._complain(
                node, key, f"{text} means {means} in YAML; write {means}, or put it in quotes"
            )
        return value

    def _mapping(self, node: yaml.MappingNode, key: str) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            if key_node.tag == f"{_CORE}merge":  # `<<: *defaults`: these may be written again
                for source in self._merged(value_node, key):
                    merged = self._mapping(source, key) | merged
                continue
            name = self._key(key_node, key)
            if name is None:
                continue
            if name in lines:
                first = f"it is on line {lines[name]} already"
                self._complain(key_node, key, f"duplicate key {name!r}; {first}")
            lines.setdefault(name, key_node.start_mark.line + 1)
            own[name] = self.build(value_node, _below(key, name))
        return merged | own

    def _merged(self, node: yaml.Node, key: str) -> Iterator[yaml.MappingNode]:
        """Yield the mappings after `<<`: one, or a list of which the first counts most."""
        for item in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if isinstance(item, yaml.MappingNode):
                yield item
            else:
                self._complain(item, key, "<< takes a mapping, or a list of them")

    def _key(self, node: yaml.Node, key: str) -> str | None:
        if not isinstance(node, yaml.ScalarNode):
            self._complain(node, key, "a key that is a list or mapping; a key is text")
            return None
        if node.tag in _TEXTS or (key, node.value) in self._words:
            return self._text(node, key)
        name = str(node.value)
        self._complain(node, key, f"the key {_shortened(name)} is not text; put it in quotes")
        return name

    def _complain(self, node: yaml.Node, key: str, what: str) -> None:
        place = (node.start_mark.line, node.start_mark.column)
        self.problems.setdefault(place, f"{_line(node)}: {f'{key}: ' if key else ''}{what}")


def _fits(value: bool | int | float) -> bool:
    """Say whether a number is finite, and no larger than a float can be."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _line(marked: yaml.Node | yaml.Event) -> str:
    mark = marked.start_mark
    assert mark is not None  # what was read from a text has one
    return f"line {mark.line + 1}"


def _below(key: str, name: str) -> str:
    """Return a key as people write it: ``exclude[2].pipe``."""
    part = f".{name}" if _PLAIN_NAME.fullmatch(name) else f"[{name!r}]"
    return f"{key}{part}".removeprefix(".")


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}…"
