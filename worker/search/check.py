"""What is wrong with a sweep's tasks: all of it at once, before anything runs. No torch here."""

from __future__ import annotations

import os.path
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from worker.config.numbers import TASK_NUMBERS, digits
from worker.errors import ConfigurationError, WorkerError, nearest
from worker.models.catalogue import PIPES, Sched, find_pipe, find_sched
from worker.models.families.base import Pipe
from worker.models.prompts import COCO, load_captions
from worker.models.sources import is_missing_folder, local_source
from worker.models.suitability import check_source, sched_refusal
from worker.search.incompatible import section_incompatibility
from worker.search.plan import captions_source, impossible_grids
from worker.search.section import Search, read_search
from worker.search.studies import (
    Study,
    confirmation,
    prompts_to_confirm,
    stability,
    stages,
    unfit_to_search,
)

Problem = tuple[str, str]

_FLAGS = ("pipe", "sched", *TASK_NUMBERS)


def find_problems(
    tasks: Sequence[Mapping[str, Any]], args: Mapping[str, Any], section: object
) -> list[Problem]:
    """Return every problem once, as (key of the sweep file, sentence).

    Args:
        tasks: the matrix values of each task.
        args: ``worker.args``, the flags that all tasks share; the matrix goes before them.
        section: the search section, or None.
    """
    search, problems = read_search(section)
    found = dict.fromkeys(problems)
    found |= dict.fromkeys(_names(tasks, args))
    pipes: dict[str, Pipe] = {}
    scheds: dict[str, Sched] = {}
    for key, value in dict.fromkeys(_values(tasks, args)):
        axis = key.rpartition(".")[2]
        try:
            if axis == "pipe":
                pipes[str(value)] = find_pipe(str(value))
            elif axis == "sched":
                scheds[str(value)] = find_sched(str(value))
            elif axis in TASK_NUMBERS:
                TASK_NUMBERS[axis](value)
        except (WorkerError, ValueError) as error:
            found[key, str(error)] = None
    found |= dict.fromkeys(_steps(tasks, args, scheds))
    if search is not None:
        found |= dict.fromkeys(_scheds_of_models(tasks, args, pipes, scheds, search))
        count = _most_captions(tasks, args, search)
        found |= dict.fromkeys(_unfit_to_search(tasks, args, search))
        found |= dict.fromkeys(_in_search(search, list(pipes.values()), count))
    return list(found)


def measures_no_speed(section: object) -> bool:
    """Say whether tasks with this search section only look at images."""
    search, _ = read_search(section)
    return search is not None and search.timing.is_off


def tasks_in_stages(
    tasks: Mapping[str, Mapping[str, Any]], args: Mapping[str, Any], section: object
) -> list[str]:
    """Return the tasks that can be measured in two stages, of which the second needs no clock.

    Args:
        tasks: each task's matrix values by its id.
        args: ``worker.args``; the matrix goes before them.
        section: the search section, or None.
    """
    search, _ = read_search(section)
    found: list[str] = []
    if search is None:
        return found
    for task, matrix in tasks.items():
        values = {**args, **matrix}
        try:
            count, size, confirm = (
                int(str(values.get(name, TASK_NUMBERS[name].default)))
                for name in ("num_samples", "batch_size", "confirm")
            )
        except (TypeError, ValueError):  # said elsewhere
            continue
        if count > 0 and size > 0 and stages(search, Study("", count, size), confirm) is not None:
            found.append(task)
    return found


def _names(tasks: Sequence[Mapping[str, Any]], args: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield axes and arguments that are no flags, and flags that are missing."""
    for name in args:
        if name not in _FLAGS:
            yield f"worker.args.{name}", f"not a setting of a task; {nearest(name, _FLAGS)}"
    for names in dict.fromkeys(frozenset(task) for task in tasks):
        for name in sorted(names.difference(_FLAGS)):
            yield f"matrix.{name}", f"not an axis of a task; {nearest(name, _FLAGS)}"
        for name in ("pipe", "sched", "steps"):
            if name not in names and name not in args:
                yield f"matrix.{name}", "this axis is missing: every task needs pipe, sched, steps"


def _values(
    tasks: Sequence[Mapping[str, Any]], args: Mapping[str, Any]
) -> Iterator[tuple[str, object]]:
    """Yield every value with its key; lists and mappings as text, so that they can be compared."""
    for where, mapping in (("worker.args", args), *(("matrix", task) for task in tasks)):
        for name, value in mapping.items():
            plain = value if isinstance(value, (str, int, float)) else repr(value)
            yield f"{where}.{name}", plain


def _steps(
    tasks: Sequence[Mapping[str, Any]], args: Mapping[str, Any], scheds: Mapping[str, Sched]
) -> Iterator[Problem]:
    """Yield numbers of steps that a task's noise scheduler does not take."""
    for task in tasks:
        sched = scheds.get(str(task.get("sched", args.get("sched"))))
        steps = digits(str(task.get("steps", args.get("steps"))))
        if sched is not None and steps:
            try:
                sched.check_steps(steps)
            except ConfigurationError as error:
                yield "matrix.steps", str(error)


def _most_captions(
    tasks: Sequence[Mapping[str, Any]], args: Mapping[str, Any], search: Search
) -> int:
    """Return how many captions the task that needs most reads for all its studies."""
    wanted = _counts(tasks, args)
    return max((_captions(search, *counts) for counts in wanted), default=0)


def _unfit_to_search(
    tasks: Sequence[Mapping[str, Any]], args: Mapping[str, Any], search: Search
) -> Iterator[Problem]:
    for counts in _counts(tasks, args):
        refused = unfit_to_search(search, *counts)
        if refused is not None:
            yield refused


def _counts(
    tasks: Sequence[Mapping[str, Any]], args: Mapping[str, Any]
) -> Iterable[tuple[int, int]]:
    """Return each pair of a number of samples and of prompts to confirm on once."""
    pairs = ((_given(task, args, "num_samples"), _given(task, args, "confirm")) for task in tasks)
    return dict.fromkeys(pairs)


def _given(task: Mapping[str, Any], args: Mapping[str, Any], name: str) -> int:
    number = digits(str(task.get(name, args.get(name, TASK_NUMBERS[name].default))))
    return min(number or 0, TASK_NUMBERS[name].most)


def _captions(search: Search, num_samples: int, confirm: int) -> int:
    own = Study("", num_samples, batch_size=1)
    confirm = prompts_to_confirm(search, num_samples, confirm)
    studies = (own, *confirmation(own, confirm), *stability(own, search.stability))
    return max(study.end for study in studies)


def _in_search(search: Search, pipes: Sequence[Pipe], count: int) -> Iterator[Problem]:
    """Yield what is wrong with the section for these pipes, though each key by itself is right."""
    architectures = list(dict.fromkeys(pipe.architecture for pipe in pipes))
    for index, reason in impossible_grids(search, architectures):
        yield f"search.configurations.{index}", reason
    for pipe in pipes:
        impossible = section_incompatibility(pipe, search)
        if impossible is not None:
            yield "search.weights", impossible
    pretrained = search.clip.pretrained if search.clip else ""
    files = {"clip.pretrained": pretrained, "lpips": search.lpips, "fid": search.fid}
    for key, file in ((key, file or "") for key, file in files.items()):
        if file.endswith(".safetensors") and not os.path.isfile(file):
            yield f"search.{key}", f"the file {file} does not exist"
    yield from _models(search, pipes)
    for captions in dict.fromkeys(captions_source(pipe, search) for pipe in pipes):
        if captions != COCO:
            try:
                load_captions(local_source(captions), count)
            except WorkerError as error:
                yield "search.captions", str(error).removeprefix("search.captions: ")


def _models(search: Search, pipes: Sequence[Pipe]) -> Iterator[Problem]:
    used = {pipe.name for pipe in pipes}
    for name, source in search.models.items():
        if name not in PIPES:
            yield f"search.models.{name}", f"not a pipe; {nearest(name, PIPES)}"
        elif name not in used and is_missing_folder(source):
            yield f"search.models.{name}", f"the folder {source} does not exist"
    if search.weights == "random":
        return
    for pipe in pipes:
        try:
            check_source(pipe, None, search.source_of(pipe), search.image_size)
        except ConfigurationError as error:
            yield f"search.models.{pipe.name}", str(error)


def _scheds_of_models(
    tasks: Sequence[Mapping[str, Any]],
    args: Mapping[str, Any],
    pipes: Mapping[str, Pipe],
    scheds: Mapping[str, Sched],
    search: Search,
) -> Iterator[Problem]:
    """Yield noise schedulers that do not take the scheduler configuration of a task's model."""
    if search.weights == "random":
        return
    pairs = (
        (task.get("pipe", args.get("pipe")), task.get("sched", args.get("sched"))) for task in tasks
    )
    for pipe, sched in dict.fromkeys((str(pipe), str(sched)) for pipe, sched in pairs):
        if pipe in pipes and sched in scheds and pipe in search.models:
            refused = sched_refusal(search.models[pipe], scheds[sched])
            if refused is not None:
                yield "matrix.sched", f"{search.models[pipe]}: {refused}"
