"""``python -m worker check``: say what is wrong with a sweep's tasks, without importing torch."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from worker.config.bounded import parse_json

_EXAMPLE = """example:
  echo '{"tasks": [{"id": "t", "matrix": {"pipe": "SDXL", "sched": "DDMI", "steps": 50}}],
         "args": {"num_samples": 32}, "search": null}' | python -m worker check

It answers {"problems": [{"key": "matrix.sched", "message": "…"}]} and exits 0.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags: there are none, all comes by standard input."""
    parser.epilog = _EXAMPLE


def run(_arguments: argparse.Namespace) -> int:
    """Answer on standard output; the exit code is 2 where the question cannot be read."""
    try:
        tasks, args, section = _read_question(sys.stdin.buffer.read())
    except (ValueError, KeyError, TypeError) as error:
        print(
            f"error: expected a JSON object with tasks, args and search ({error!r}); "
            "see python -m worker check --help",
            file=sys.stderr,
        )
        return 2
    from worker.search.check import find_problems

    problems = find_problems(tasks, args, section)
    answer = {"problems": [{"key": key, "message": message} for key, message in problems]}
    json.dump(answer, sys.stdout, ensure_ascii=False)
    print()
    return 0


def _read_question(data: bytes) -> tuple[list[dict[str, Any]], dict[str, Any], object]:
    """Return the tasks' matrix values, the arguments and the search section that are asked about.

    Raises:
        ValueError, KeyError, TypeError: it is no such question.
    """
    question = parse_json(data)
    if not isinstance(question, dict):
        raise TypeError("it is no object")
    tasks = [task["matrix"] for task in question["tasks"]]
    args = question.get("args") or {}
    if not all(isinstance(values, dict) for values in (args, *tasks)):
        raise TypeError("args and matrix are objects")
    return tasks, args, question.get("search")
