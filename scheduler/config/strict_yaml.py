"""Reads YAML as plain data: text, numbers, true/false, lists, mappings with texts as keys.

What YAML would let pass silently, or turn into something else than it looks like or than a command line
or JSON can hold, is told with its line: a key written twice, a key that is no text, a text with a NUL
byte, `on` (which is true), `1:30` (which is 90), `.nan`.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, TextIO

import yaml

try:
    from yaml import CSafeLoader as SafeLoader  # libyaml's: ten times as fast
except ImportError:
    from yaml import SafeLoader  # type: ignore[assignment]

_AS_IT_LOOKS = re.compile(
    r"true|false|[-+]?(0|[1-9][\d_]*)|[-+]?[\d_]*\.[\d_]*([eE][-+]?\d+)?", re.I
)
_UNUSABLE = re.compile("[\x00\ud800-\udfff]")  # in a command line, an environment or a file name
_DEEPEST = 100  # levels; libyaml's loader recurses in C, and would die of thousands
_MERGE = "tag:yaml.org,2002:merge"


class PlainYamlError(Exception):
    """The text is no YAML; the message says where and why."""


class _Loader(SafeLoader):
    """``yaml.safe_load``'s loader, noting what is questionable; a date stays the text it is."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.problems: list[str] = []

    def construct_text(self, node: yaml.ScalarNode) -> str:
        text = str(self.construct_scalar(node))
        if _UNUSABLE.search(text):
            self.complain(node, f"{text!r} holds a character that no command line can hold")
        return text

    def construct_value(self, node: yaml.ScalarNode) -> bool | int | float:
        text = str(node.value)
        value: bool | int | float = yaml.SafeLoader.yaml_constructors[node.tag](self, node)
        if not math.isfinite(value):
            self.complain(
                node, f"{text} is no number that JSON can hold; as a text, put it in quotes"
            )
        elif not _AS_IT_LOOKS.fullmatch(text):
            means = json.dumps(value)
            self.complain(node, f"{text} means {means} in YAML; write {means}, or put it in quotes")
        return value

    def construct_unique_mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        written: set[str] = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:  # `<<: *defaults`: these may be written again
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                self.complain(key_node, f"the key {key!r} is not text; put it in quotes")
            elif key in written:
                self.complain(key_node, f"the key {key!r} stands twice")
            written.add(str(key))
        self.flatten_mapping(node)
        return {
            str(self.construct_object(key_node, deep=True)): self.construct_object(value, deep=True)
            for key_node, value in node.value
        }

    def complain(self, node: yaml.Node, what: str) -> None:
        self.problems.append(f"line {node.start_mark.line + 1}: {what}")


_CORE = ("null", "seq")
_Loader.yaml_constructors = {
    tag: constructor
    for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag in [f"tag:yaml.org,2002:{name}" for name in _CORE]
}
for _tag in ("str", "timestamp"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _Loader.construct_text)
for _tag in ("bool", "int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _Loader.construct_value)
_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.construct_unique_mapping)


def load(stream: TextIO) -> tuple[Any, list[str]]:
    """Return the data in ``stream``, and what is questionable in it, one sentence each.

    Raises:
        PlainYamlError: it is no YAML.
        UnicodeDecodeError: it is no text.
    """
    text = stream.read()
    try:
        _check_depth(text)
        loader = _Loader(text)
        try:
            return loader.get_single_data(), loader.problems
        finally:
            loader.dispose()
    except ValueError as error:  # a number of 5,000 digits
        raise PlainYamlError(f"is not valid YAML: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        what = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise PlainYamlError(f"{where}is not valid YAML: {what}") from None


def _check_depth(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _DEEPEST:
            raise PlainYamlError("is nested too deeply to be a sweep")
