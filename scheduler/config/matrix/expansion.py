"""From the matrix of a sweep file to its tasks: every combination of the axes' values, less and plus some."""

from __future__ import annotations

import glob
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from scheduler.config import sweep as plain
from scheduler.config.matrix.axes import GlobSection, LogSection, RangeSection
from scheduler.config.matrix.ranges import logarithmic, stepped
from scheduler.config.matrix.values import Value, is_meant, task_id, templated_id, value_text
from scheduler.config.placeholders import expand_home, names_in
from scheduler.config.printable import printable
from scheduler.config.schema.sections import SweepSection
from scheduler.config.suggest import nearest

MOST_TASKS = 1_000_000  # what the core was measured with, and what fits into memory
_UNSAFE = re.compile("[/\x00-\x1f\x7f\ud800-\udfff]")  # in a file's name
_MAX_NAME = 200  # bytes; file systems allow 255, and the longest suffix must fit too
_MOST_CLASHES = 3  # that are told of
_LONGEST = 60  # characters of a name that is shown

_Point = tuple[Value, ...]


class Expansion:
    """The axes and tasks of a sweep file; what is wrong with them is added to ``problems``."""

    def __init__(self, model: SweepSection, problems: list[str]) -> None:
        self.axes = tuple(model.matrix)
        self.globbed = tuple(isinstance(axis, GlobSection) for axis in model.matrix.values())
        self._model = model
        self._template = model.name.task
        self._problems = problems
        self._refused: set[str] = set()  # texts of values that cannot be part of a file name

    def tasks(self) -> list[plain.Task]:
        """Return the tasks, in the order of the axes, those of ``include`` last."""
        columns = [self._column(name, axis) for name, axis in self._model.matrix.items()]
        excluded = [dict(rule) for rule in self._model.exclude]
        for index, rule in enumerate(excluded):
            self._check_rule(f"exclude[{index}]", rule, columns)
        if not self._template_holds():
            return []
        count = math.prod(len(column) for column in columns)
        if count > MOST_TASKS:
            self._problems.append(
                f"matrix: its axes make {count:,} tasks; a sweep has at most {MOST_TASKS:,}"
            )
            return []
        points: list[_Point] = [
            values for values in itertools.product(*columns)
            if not any(self._matches(values, rule) for rule in excluded)
        ]  # fmt: skip
        for index, rule in enumerate(self._model.include):
            points += self._included(f"include[{index}]", rule)
        if not points and not self._problems:
            self._problems.append("matrix: no task is left; the exclude rules take all of them")
        return self._named(points)

    # --- axes ------------------------------------------------------------------------------------

    def _column(
        self, name: str, axis: list[Value] | GlobSection | RangeSection | LogSection
    ) -> Sequence[Value]:
        if not re.fullmatch(r"[A-Za-z_]\w*", name) or name in plain.OWN_PLACEHOLDERS:
            self._problems.append(
                f"matrix.{name}: is not a valid axis name; use letters, digits and _, "
                f"but not {', '.join(plain.OWN_PLACEHOLDERS)}"
            )
        found: Sequence[Value]
        if isinstance(axis, GlobSection):
            found = sorted(glob.glob(expand_home(axis.glob)))
            if not found:
                self._problems.append(
                    f"matrix.{name}.glob: nothing matches {axis.glob!r} in {Path.cwd()}"
                )
        elif isinstance(axis, RangeSection | LogSection):
            found = self._range(f"matrix.{name}", axis)
        else:
            found = axis
            if not found:
                self._problems.append(f"matrix.{name}: is empty; it needs at least one value")
        for value in found:
            self._check_value(f"matrix.{name}", value, is_path=isinstance(axis, GlobSection))
        return found

    def _range(self, key: str, axis: RangeSection | LogSection) -> Sequence[Value]:
        try:
            if isinstance(axis, RangeSection):
                return stepped(axis.first, axis.last, axis.step, MOST_TASKS)
            return logarithmic(axis.ends[0], axis.ends[1], axis.n, MOST_TASKS)
        except ValueError as error:
            self._problems.append(f"{key}: {error}")
            return []

    def _check_value(self, key: str, value: Value, *, is_path: bool) -> None:
        """Refuse what cannot be part of a file name, unless the tasks' names are not made of values."""
        if self._template is not None:
            return
        text = value_text(value, is_path=is_path)
        if isinstance(value, list | dict) or _UNSAFE.search(text) or text in ("", ".", ".."):
            self._refused.add(text)
            self._problems.append(
                f"{key}: {_shown(text)!r} cannot be part of a file name; values become names in "
                f"checkpoints/ and logs/ (for paths use {{glob: …}}; `name: {self._example()}` names "
                "the tasks another way)"
            )

    def _example(self) -> str:
        return '"' + "-".join(f"{{{axis}}}" for axis in self.axes[:3]) + '"'

    # --- exclude and include ---------------------------------------------------------------------

    def _check_rule(
        self, key: str, rule: Mapping[str, Value], columns: Sequence[Sequence[Value]]
    ) -> None:
        for axis, value in rule.items():
            if axis not in self.axes:
                self._problems.append(
                    f"{key}.{axis}: the matrix has no such axis{nearest(axis, self.axes)}"
                )
                continue
            index = self.axes.index(axis)
            column, is_path = columns[index], self.globbed[index]
            if column and not any(is_meant(value, entry, is_path=is_path) for entry in column):
                known = [value_text(entry, is_path=is_path) for entry in column[:50]]
                hint = nearest(value_text(value), known)
                self._problems.append(f"{key}.{axis}: {value!r} is not a value of that axis{hint}")

    def _matches(self, values: _Point, rule: Mapping[str, Value]) -> bool:
        return all(
            is_meant(rule[axis], value, is_path=is_path)
            for axis, value, is_path in zip(self.axes, values, self.globbed, strict=True)
            if axis in rule
        )

    def _included(self, key: str, rule: Mapping[str, Value]) -> Iterator[_Point]:
        for axis in rule:
            if axis not in self.axes:
                self._problems.append(
                    f"{key}.{axis}: the matrix has no such axis{nearest(axis, self.axes)}"
                )
        missing = [axis for axis in self.axes if axis not in rule]
        if missing:
            self._problems.append(
                f"{key}: needs a value for each axis; {', '.join(missing)} missing"
            )
            return
        for axis, is_path in zip(self.axes, self.globbed, strict=True):
            self._check_value(f"{key}.{axis}", rule[axis], is_path=is_path)
        yield tuple(rule[axis] for axis in self.axes)

    # --- names -----------------------------------------------------------------------------------

    def _template_holds(self) -> bool:
        unknown = [
            name for name in names_in(self._template or "") if name not in self.axes
        ]  # fmt: skip
        self._problems += [
            f"name: no axis fills {{{name}}}{nearest(name, self.axes)}; for a sweep's own name with "
            f"braces write `name: {{sweep: …}}`"
            for name in unknown
        ]
        return not unknown

    def _named(self, points: Sequence[_Point]) -> list[plain.Task]:
        tasks: dict[str, plain.Task] = {}
        clashes = 0
        for values in points:
            name = self._name(values)
            if name in tasks:
                clashes += 1
                if clashes <= _MOST_CLASHES:
                    self._problems.append(self._clash(name, tasks[name].values, values))
            tasks[name] = plain.Task(name, values)
            if not self._is_refused(values):
                key = "matrix: the task id" if self._template is None else "name: the task id"
                check_file_name(key, name, self._problems)
        if clashes > _MOST_CLASHES:
            self._problems.append(
                f"matrix: {clashes - _MOST_CLASHES:,} more ids stand for two tasks"
            )
        return list(tasks.values())

    def _name(self, values: _Point) -> str:
        if self._template is None:
            return task_id(values, self.globbed)
        return templated_id(self._template, self._texts(values))

    def _texts(self, values: _Point) -> dict[str, str]:
        """Return a task's values as ids show them, by axis."""
        return {
            axis: value_text(value, is_path=is_path)
            for axis, value, is_path in zip(self.axes, values, self.globbed, strict=True)
        }

    def _is_refused(self, values: _Point) -> bool:
        return bool(self._refused) and not self._refused.isdisjoint(self._texts(values).values())

    def _clash(self, name: str, first: _Point, second: _Point) -> str:
        """Return what is said of two tasks that would have the same files."""
        pairs = zip(self.axes, first, second, strict=True)
        differ = [axis for axis, one, other in pairs if one != other]
        what = f"two tasks have the id {_shown(name)!r}"
        if not differ:
            return f"matrix: {what}; remove or rename one value: both are {self._in_words(first)}"
        one, other = self._in_words(first), self._in_words(second)
        if self._template is None:
            return f"matrix: {what}; remove or rename one value: {one} and {other}"
        named = set(names_in(self._template))
        absent = [axis for axis in differ if axis not in named]
        remedy = (
            f"put {{{absent[0]}}} into it" if absent else "put something else between its parts"
        )
        return f"name: {what}, {one} and {other}; {remedy}"

    def _in_words(self, values: _Point) -> str:
        words = (f"{axis} {text}" for axis, text in self._texts(values).items())
        return printable(f"({', '.join(words)})", " ")


def check_file_name(key: str, name: str, problems: list[str]) -> None:
    """Add to ``problems`` what keeps a name from being a file's."""
    shown = _shown(name)
    if _UNSAFE.search(name) or not name:
        problems.append(f"{key}: {shown!r} cannot be a file name; use letters, digits, - and _")
    elif name.startswith("."):
        problems.append(f"{key}: {shown!r} begins with a dot; such files are hidden")
    elif len(name.encode(errors="replace")) > _MAX_NAME:
        problems.append(
            f"{key}: {shown!r} is longer than {_MAX_NAME} bytes, too long for a file name"
        )


def _shown(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
