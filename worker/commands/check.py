"""``python -m worker check``: say what is wrong with a sweep's tasks, without importing torch."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from worker.config.bounded import parse_json

_EXAMPLE = """example:
  echo '{"tasks": [{"id": "t", "matrix": {"pipe": "SDXL", "sched": "DDMI", "steps": 50}}],
         "args": {"num_samples": 32}, "search": null}' | python -m worker check

It answers {"problems": [{"key": "matrix.sched", "message": "…"}], "timed": ["t"], "staged": []}, then
the tasks that measure speed, and those that can do so in a stage by itself, and exits 0.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags: there are none, all comes by standard input."""
    parser.epilog = _EXAMPLE


def run(_arguments: argparse.Namespace) -> int:
    """Answer on standard output; the exit code is 2 where the question cannot be read."""
    try:
        tasks, args, section, results, ahead = _read_question(sys.stdin.buffer.read())
    except (ValueError, KeyError, TypeError) as error:
        print(
            f"error: expected a JSON object with tasks, args and search ({error!r}); "
            "see python -m worker check --help",
            file=sys.stderr,
        )
        return 2
    if ahead:
        json.dump({"problems": [], "ahead": _ahead(tasks, args, section, results)}, sys.stdout)
        print()
        return 0
    if results:
        json.dump({"problems": [], "kept": _kept(tasks, args, section, results)}, sys.stdout)
        print()
        return 0
    from worker.search.check import find_problems, measures_no_speed, tasks_in_stages

    problems = find_problems(list(tasks.values()), args, section)
    answer = {
        "problems": [{"key": key, "message": message} for key, message in problems],
        "timed": [] if measures_no_speed(section) else list(tasks),
        "staged": tasks_in_stages(tasks, args, section),
    }
    json.dump(answer, sys.stdout, ensure_ascii=False)
    print()
    return 0


def _kept(
    tasks: dict[str, dict[str, Any]], args: dict[str, Any], section: object, results: dict[str, Any]
) -> dict[str, list[int]]:
    """Return how many measurements of each task are kept, and of how many, where that is known."""
    from worker.measure.kept import count_kept

    counted = {
        task: count_kept(tasks[task], args, section, Path(str(path)))
        for task, path in results.items()
        if task in tasks
    }
    return {task: list(counts) for task, counts in counted.items() if counts is not None}


def _ahead(
    tasks: dict[str, dict[str, Any]], args: dict[str, Any], section: object, results: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """Return what is left of each task: counts for people, and a number that its time goes with."""
    from worker.search.cost import costs_of_tasks

    kept = {}
    if results:
        from worker.measure.kept import kept_and_wanted

        for task in results.keys() & tasks.keys():
            found = kept_and_wanted(tasks[task], args, section, Path(str(results[task])))
            kept[task] = found[0] if found is not None else set()
    return {
        task: {
            "counts": {
                "images": one.cost.images,
                "calls of the denoiser": one.cost.denoiser_calls,
            },
            "work": one.work,
        }
        for task, one in costs_of_tasks(tasks, args, section, kept).items()
    }


def _read_question(
    data: bytes,
) -> tuple[dict[str, dict[str, Any]], dict[str, Any], object, dict[str, Any], bool]:
    """Return the tasks' matrix values by id, the arguments, the search section, results files by task, and
    whether it is asked what is ahead.

    Raises:
        ValueError, KeyError, TypeError: it is no such question.
    """
    question = parse_json(data)
    if not isinstance(question, dict):
        raise TypeError("it is no object")
    matrices = [task["matrix"] for task in question["tasks"]]
    ids = [str(task.get("id", number)) for number, task in enumerate(question["tasks"])]
    tasks = dict(zip(ids, matrices, strict=True))
    args, results = question.get("args") or {}, question.get("results") or {}
    if not all(isinstance(values, dict) for values in (args, results, *tasks.values())):
        raise TypeError("args, results and matrix are objects")
    return tasks, args, question.get("search"), results, question.get("ahead") is True
