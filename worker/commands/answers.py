"""``python -m worker answers``: what results files answer under a bound, without measuring anything."""

from __future__ import annotations

import argparse
import gc
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from worker.config.bounded import parse_json
from worker.errors import ConfigurationError, WorkerError, nearest

_EXAMPLE = """example:
  echo '{"results": {"SDXL_DDIM_50": "checkpoints/sdxl/SDXL_DDIM_50.jsonl"},
         "max_loss": 0.01, "metric": "clip_score"}' | python -m worker answers

It is how `python -m scheduler results` asks; docs/reading-results.md describes the answer.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags: there are none, all comes by standard input."""
    parser.epilog = _EXAMPLE


def run(_arguments: argparse.Namespace) -> int:
    """Answer on standard output; the exit code is 2 where the question cannot be read or answered."""
    # ten thousand rows are millions of objects that all stay: to look for garbage takes longer than to read
    gc.disable()
    try:
        return _answer()
    finally:
        gc.enable()


def _answer() -> int:
    try:
        files, metric, max_loss, snippets = _read_question(sys.stdin.buffer.read())
        answer = answers(files, metric, max_loss, snippets=snippets)
    except (ValueError, KeyError, TypeError) as error:
        print(
            f"error: expected a JSON object with results, and perhaps max_loss and metric ({error!r}); "
            "see python -m worker answers --help",
            file=sys.stderr,
        )
        return 2
    except WorkerError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(answer))
    return 0


def answers(
    files: Mapping[str, Path],
    metric: str | None,
    max_loss: float | None,
    *,
    snippets: bool = False,
) -> dict[str, Any]:
    """Return what the files of tasks answer.

    Args:
        files: of each task.
        metric: whose loss is bounded; None: the usual one.
        max_loss: a share; None: each task's own.
        snippets: whether programs are wanted that make images as the chosen configurations do.

    Raises:
        ConfigurationError: no row has such a metric, or the baseline has none of it.
    """
    from worker.results.answers.bounded import USUAL, Answers
    from worker.results.answers.reading import read

    notices: list[str] = []
    rows = {}
    for task, path in files.items():
        try:
            rows[task] = read(path)
        except WorkerError as error:
            notices.append(str(error))
    names = _names(row for one in rows.values() for row in one.counting)
    if metric is not None and names and metric not in names:
        raise ConfigurationError(f"no row has a metric {metric!r}: {nearest(metric, names)}")
    found = {task: Answers.of(one, metric or USUAL, max_loss) for task, one in rows.items()}
    if metric is not None and names and not any(one.has_loss for one in found.values()):
        known = [n for n in names if any(Answers.of(r, n, None).has_loss for r in rows.values())]
        others = f"; those that have one: {', '.join(known)}" if known else ""
        raise ConfigurationError(
            f"a loss of {metric} is not known: the baseline has none of it{others}"
        )
    return {
        "metric": metric or USUAL,
        "notices": [*notices, *_on_devices(one.device for one in rows.values())],
        "tasks": {
            task: one.as_json() | ({"snippets": one.snippets()} if snippets else {})
            for task, one in found.items()
        },
    }


def _on_devices(devices: Iterable[str | None]) -> Iterator[str]:
    """Yield a sentence where tasks were measured on devices of several models."""
    models = Counter(device for device in devices if device is not None)
    if len(models) > 1:
        each = ", ".join(f"{model} ({count})" for model, count in models.most_common())
        yield (
            f"tasks were measured on devices of {len(models)} models: {each}; each speed-up is of one "
            "device, and need not be the same on another"
        )


def _names(rows: Iterable[Any]) -> Sequence[str]:
    return sorted({item.name for row in rows for item in row.metrics})


def _read_question(data: bytes) -> tuple[dict[str, Path], str | None, float | None, bool]:
    """Return the results files by task, the metric, the bound, and whether snippets are wanted.

    Raises:
        ValueError, KeyError, TypeError: it is no such question.
    """
    question = parse_json(data)
    if not isinstance(question, dict) or not isinstance(question["results"], dict):
        raise TypeError("it is no object with results")
    metric, max_loss = question.get("metric"), question.get("max_loss")
    if metric is not None and not isinstance(metric, str):
        raise TypeError("metric is a name")
    if max_loss is not None and (
        isinstance(max_loss, bool) or not isinstance(max_loss, int | float)
    ):
        raise TypeError("max_loss is a number")
    files = {task: Path(str(path)) for task, path in question["results"].items()}
    return files, metric, max_loss, question.get("snippets") is True
