"""The answers of `results` as text, Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import IO

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from scheduler.config.printable import printable
from scheduler.views.answers import (
    Answers,
    RowAnswer,
    TaskAnswer,
    halved_in_words,
    interval_in_words,
    some_of,
    without_loss_in_words,
)
from scheduler.views.shortened import shortened

_COLUMNS = ("task", "best", "speed-up", "loss", "s/image")
_ESTIMATES = ("speedup", "loss", "score", "seconds_per_image", "objective")
_PLAIN = ("role", "status", "speed", "bound", "more_images", "beats_fewer_steps", "beside_load")


def as_text(answers: Answers, width: int) -> Iterator[Table | Text | Padding]:
    """Yield a table of the best of each task, then what is to be said of each."""
    tasks = [task for task in answers.tasks if task.rows]
    if not tasks:
        return
    yield _table(tasks, width)
    for task in tasks:
        yield Text("")
        yield Text(printable(_name(task, tasks), " "), style="bold")
        for sentence in sentences(task, answers.metric):
            yield Padding(Text(printable(sentence, " ")), (0, 0, 0, 2), expand=False)
    if (fastest := _fastest(tasks)) is not None:
        yield Text("")
        yield Text(printable(fastest, " "))


def _table(tasks: Sequence[TaskAnswer], width: int) -> Table:
    rows = [_cells(task, tasks) for task in tasks]
    table = Table(box=None, pad_edge=False)
    for number, name in enumerate(_COLUMNS):
        if any(row[number] for row in rows):
            wraps = name == "best"
            table.add_column(
                name,
                justify="left" if number < 2 else "right",
                no_wrap=not wraps,
                overflow="fold" if wraps else "ellipsis",
            )
    kept = [number for number in range(len(_COLUMNS)) if any(row[number] for row in rows)]
    others = sum(max(len(_COLUMNS[n]), *(len(row[n]) for row in rows)) + 2 for n in kept[1:])
    room = max(12, width - others)
    for row in rows:
        table.add_row(shortened(row[0], room), *(row[number] for number in kept[1:]))
    return table


def _cells(task: TaskAnswer, tasks: Sequence[TaskAnswer]) -> list[str]:
    best, mark = task.row(task.best), "" if task.within else "?"
    if best is None:
        leader = task.ranked[0] if task.ranked else None
        cells = ["not known" if leader is None else leader.label, "", "", ""]
        if leader is not None and task.objective == "speedup" and leader.speedup is not None:
            cells = [leader.label, f"{leader.speedup.value:.2f}×", "", _seconds(leader)]
    elif best.role == "baseline":
        cells = ["baseline", "1.00×", "+0.00%", _seconds(best)]
    else:
        gain = f"{best.speedup.value:.2f}×{mark}" if best.speedup is not None else ""
        loss = f"{best.loss.value:+.2%}{mark}" if best.loss is not None else ""
        cells = [best.label, gain, loss, _seconds(best)]
    return [printable(cell, " ") for cell in (_name(task, tasks), *cells)]


def _name(task: TaskAnswer, tasks: Sequence[TaskAnswer]) -> str:
    several = len({other.sweep for other in tasks}) > 1
    return f"{task.sweep}/{task.task}" if several else task.task


def _seconds(row: RowAnswer) -> str:
    return "" if row.seconds_per_image is None else f"{row.seconds_per_image.value:.3g}"


def sentences(task: TaskAnswer, metric: str) -> Iterator[str]:
    """Yield what a task's measurements answer, the best first, and how far it can be trusted."""
    bound = f"{100 * task.max_loss:g}% of {metric}"
    best = task.row(task.best)
    if best is None:
        yield from without_loss_in_words(task, metric)
    elif best.role == "baseline":
        yield f"nothing is told to be faster than the baseline within {bound}"
    else:
        how = "surely within" if task.within else "none surely, but perhaps within"
        yield f"{how} {bound}: {best.label}, {_figures(best, task, metric)}"
        if task.beats:
            yield f"surely faster than {some_of(task.beats)}"
        if best.beats_fewer_steps is not None:
            yield f"faster than fewer steps at the same loss: {best.beats_fewer_steps}"
    yield from _open(task, bound)
    yield from (clause for clause in halved_in_words(task.halved))
    if task.disturbed is not None:
        yield task.disturbed
    if best is not None and best.beside_load:
        yield f"the speed-up of {best.label} is from disturbed rounds"
    lost = [f"{row.label} ({row.status})" for row in task.rows if row.status != "measured"]
    if lost:
        yield f"without figures: {some_of(lost)}"


def _open(task: TaskAnswer, bound: str) -> Iterator[str]:
    named = [row for label in task.undecided if label != task.best and (row := task.row(label))]
    if named:
        yield f"not decided within {bound}: {some_of([_open_row(row) for row in named])}"
    best = task.row(task.best)
    if best is not None and not task.within and best.more_images is not None:
        yield f"about {best.more_images} more images decide {best.label}"


def _open_row(row: RowAnswer) -> str:
    gain = "" if row.speedup is None else f" {row.speedup.value:.2f}×"
    if row.bound == "within":
        return f"{row.label}{gain} (its speed)"
    more = "" if row.more_images is None else f" (about {row.more_images} more images)"
    return f"{row.label}{gain}{more}"


def _figures(row: RowAnswer, task: TaskAnswer, metric: str) -> str:
    parts = []
    if row.speedup is not None:
        parts.append(f"{interval_in_words(row.speedup, '{:.2f}', '×')}")
    if row.loss is not None:
        parts.append(f"loss {interval_in_words(row.loss, '{:+.2%}')}")
    if row.score is not None:
        parts.append(f"{metric} {row.score.value:.4g}")
    base = next((other for other in task.rows if other.role == "baseline"), None)
    if row.seconds_per_image is not None:
        beside = "" if base is None or not _seconds(base) else f" (baseline {_seconds(base)})"
        parts.append(f"{_seconds(row)} s/image{beside}")
    return ", ".join(parts)


def _fastest(tasks: Sequence[TaskAnswer]) -> str | None:
    """Return which task's best takes the least time for an image, where several tasks have one."""
    known = [
        (row.seconds_per_image.value, task, row)
        for task in tasks
        if task.within and (row := task.row(task.best)) is not None and row.seconds_per_image
    ]
    if len(known) < 2:
        return None
    seconds, task, row = min(known, key=lambda item: item[0])
    return (
        f"the fastest of all tasks: {_name(task, tasks)}, {row.label}, {seconds:.3g} s/image "
        "(each loss is against its own task's baseline; compare the scores)"
    )


def print_markdown(answers: Answers) -> None:
    """Print a table, and below it what is to be said of each task."""
    tasks = [task for task in answers.tasks if task.rows]
    if not tasks:
        return
    print(f"| {' | '.join(_COLUMNS)} |\n|---|---|---:|---:|---:|")
    for task in tasks:
        print(f"| {' | '.join(_escaped(cell) for cell in _cells(task, tasks))} |")
    for task in tasks:
        print(f"\n**{_escaped(_name(task, tasks))}**\n")
        for sentence in sentences(task, answers.metric):
            print(f"* {_escaped(sentence)}")


def _escaped(text: str) -> str:
    """Return text in which Markdown and HTML see nothing but text."""
    return "".join(f"\\{sign}" if sign in "\\|*_`[]<>&" else sign for sign in printable(text, " "))


def print_csv(answers: Answers, stream: IO[str]) -> None:
    """Print a line for each configuration of each task."""
    ends = [f"{name}{end}" for name in _ESTIMATES for end in ("", "_low", "_high")]
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(
        ("sweep", "task", "label", "best", *_PLAIN, *ends, "metric", "max_loss", "halved")
    )
    for task in answers.tasks:
        halved = "; ".join(halved_in_words(task.halved))
        for row in task.rows:
            estimates = [getattr(row, name) for name in _ESTIMATES]
            numbers = [
                None if found is None else getattr(found, end)
                for found in estimates
                for end in ("value", "low", "high")
            ]
            named = (task.sweep, task.task, row.label)
            writer.writerow(
                (
                    *(printable(text, " ") for text in named),
                    row.label == task.best,
                    *(getattr(row, name) for name in _PLAIN),
                    *numbers,
                    answers.metric,
                    task.max_loss,
                    halved,
                )
            )


def print_json(answers: Answers) -> None:
    """Print all of it."""
    json.dump(asdict(answers), sys.stdout, indent=1)
    print()


def print_snippets(answers: Answers) -> None:
    """Print, of each task's best, a program that makes images so; say of the others that there is none."""
    tasks = [task for task in answers.tasks if task.rows]
    programs = [task.snippets.get(task.best or "") for task in tasks]
    for task, program in zip(tasks, programs, strict=True):
        if program is None:
            name = printable(_name(task, tasks), " ")
            print(
                f"{name}: there is no program for its best, {_best_in_words(task)}", file=sys.stderr
            )
    print("\n".join(program for program in programs if program is not None), end="")


def _best_in_words(task: TaskAnswer) -> str:
    return "which is not known" if task.best is None else printable(task.best, " ")
