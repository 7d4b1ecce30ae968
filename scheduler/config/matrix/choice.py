"""Which tasks of a sweep are meant: by id, by a pattern of ids, by values of axes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from scheduler.config.matrix.values import Value, value_text
from scheduler.config.placeholders import as_text
from scheduler.config.suggest import nearest
from scheduler.config.sweep import Sweep, Task

# Commas that begin another condition; a value may hold others.
_CONDITIONS = re.compile(r",(?=[A-Za-z_]\w*=)")
_CONDITION = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_PATTERN = re.compile(r"[*?[]")
_MOST_NAMED = 50  # ids or values among which the nearest is looked for
_LONGEST = 60  # characters of a word that is shown


class NoSuchTask(Exception):  # noqa: N818  # it is the task that is missing
    """Words mean no task; ``problems`` has a sentence for each of them."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


def choose(sweep: Sweep, words: Sequence[str]) -> tuple[Task, ...]:
    """Return the tasks that any of the words means, in the sweep's order.

    A word is a task's id, a pattern of ids (``SDXL_*``), or conditions as in ``steps=50,sched=DD*``: all of
    them hold, of several for one axis any. Values are compared as ids show them, or as the file has them.

    Raises:
        NoSuchTask: a word means none.
    """
    chosen: set[str] = set()
    problems: list[str] = []
    for word in words:
        try:
            chosen.update(_meant(sweep, word))
        except NoSuchTask as error:
            problems += error.problems
    if problems:
        raise NoSuchTask(problems)
    return tuple(task for task in sweep.tasks if task.id in chosen)


def _meant(sweep: Sweep, word: str) -> list[str]:
    """Return the ids of the tasks that one word means."""
    if any(task.id == word for task in sweep.tasks):
        return [word]
    is_pattern = _PATTERN.search(word) is not None
    found = [task.id for task in sweep.tasks if is_pattern and fnmatchcase(task.id, word)]
    if not found and (parts := [_CONDITION.fullmatch(part) for part in _CONDITIONS.split(word)]):
        pairs = [(part[1], part[2]) for part in parts if part is not None]
        if len(pairs) == len(parts):
            found = _fulfilling(sweep, word, pairs)
    if not found:
        known = [task.id for task in sweep.tasks[:_MOST_NAMED]]
        what = (
            f"has no task that matches {_shown(word)}"
            if is_pattern
            else f"has no task {_shown(word)}"
        )
        raise NoSuchTask([f"{sweep.name} {what}{nearest(word, known)}"])
    return found


def _fulfilling(sweep: Sweep, word: str, pairs: Sequence[tuple[str, str]]) -> list[str]:
    wanted: dict[str, list[str]] = {}
    for axis, value in pairs:
        wanted.setdefault(axis, []).append(value)
    problems = [
        f"{_shown(word)}: the matrix has no axis {axis!r}{nearest(axis, sweep.axes)}"
        for axis in wanted
        if axis not in sweep.axes
    ]
    if problems:
        raise NoSuchTask(problems)
    rest: list[Task] = list(sweep.tasks)
    for axis, values in wanted.items():
        index = sweep.axes.index(axis)
        is_path = sweep.globbed[index]
        problems += _unknown_values(sweep, word, axis, values)
        rest = [
            task
            for task in rest
            if any(_is_value(value, task.values[index], is_path=is_path) for value in values)
        ]
    if not rest and not problems:
        problems.append(f"{_shown(word)}: no task has all of these values")
    if problems:
        raise NoSuchTask(problems)
    return [task.id for task in rest]


def _unknown_values(sweep: Sweep, word: str, axis: str, values: Sequence[str]) -> Iterator[str]:
    index = sweep.axes.index(axis)
    is_path = sweep.globbed[index]
    for value in values:
        if not any(_is_value(value, task.values[index], is_path=is_path) for task in sweep.tasks):
            texts = (value_text(task.values[index], is_path=is_path) for task in sweep.tasks)
            known = list(dict.fromkeys(texts))[:_MOST_NAMED]
            yield f"{_shown(word)}: {_shown(value)} is not a value of {axis}{nearest(value, known)}"


def _is_value(written: str, value: Value, *, is_path: bool) -> bool:
    shown = value_text(value, is_path=is_path)
    texts = (shown, shown.replace("/", "--"), as_text(value))
    return written in texts or (
        _PATTERN.search(written) is not None and any(fnmatchcase(text, written) for text in texts)
    )


def _shown(word: str) -> str:
    return repr(word if len(word) <= _LONGEST else f"{word[:_LONGEST]}…")
