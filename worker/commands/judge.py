"""``python -m worker judge``: one case of a folder of cases, for a sweep over them."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from worker.commands.options import (
    add_measure_options,
    by_flags,
    limits_of,
    measure_options_of,
    warner,
)
from worker.errors import WorkerError

EXAMPLE = """\
example:
  python -m worker judge cases/4-sd15-deepcache --models models.yaml

A case is a folder with gt.py (what is asked for), gen.py (what is judged) and perhaps target.yaml
(target_speedup, max_loss, latency). Three stages, each only for what passed the one before: the
text, the objects, and, where there is a target, the measurement. A case that is judged wrong is a
result; the exit code is 0. Others: 2 a usage error; 75 a model or captions are not here and the hub
cannot be reached."""

# What a row tells of the answer beside its metrics.
_TOLD = ("stage", "passed", "problem", "caveat", "mismatches", "wrong", "files")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.epilog = EXAMPLE
    parser.add_argument("case", type=Path, metavar="CASE", help="the case's folder")
    parser.add_argument(
        "--results",
        type=Path,
        help="append the verdict to this file (default $SWEEP_RESULTS or results.jsonl)",
    )
    add_measure_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Judge the case and return the exit code."""
    try:
        return _run(arguments)
    except WorkerError as error:
        print(f"error: {by_flags(str(error))}", file=sys.stderr, flush=True)
        return error.exit_code


def _run(arguments: argparse.Namespace) -> int:
    from worker.judging.build import read_models
    from worker.judging.case import Case, judge_case
    from worker.judging.judge import JudgeOptions
    from worker.results.file import ResultsFile

    path = arguments.results or Path(os.environ.get("SWEEP_RESULTS") or "results.jsonl")
    results = ResultsFile.open(path)
    options = JudgeOptions(
        models=read_models(arguments.models),
        limits=limits_of(arguments),
        warn=warner("judge"),
        measure=measure_options_of(arguments),
    )
    answer = judge_case(Case.read(arguments.case), options)
    for row in _rows(arguments, answer):
        results.append(row)
    results.append({"summary": _summary(arguments.case, answer)})
    # What went wrong in a judged file stands in the results, not here: a scheduler reads this log
    # for failures of the judge's own.
    words = {True: "passed", False: "not passed", None: "cannot be told"}
    print(
        f"{arguments.case.name}: {words[answer['passed']]} ({answer['stage']}), results in {path}"
    )
    print("Successfully completed", flush=True)
    return 0


def _rows(arguments: argparse.Namespace, answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the lines of the results file: what was measured, and the verdict over it."""
    from worker.metrics.device import choose_device
    from worker.results import environment
    from worker.results.row import metric

    stamp = {
        "settings": {"case": arguments.case.name},
        "reproduce": {"command": _command(arguments)},
        "environment": {},
    }
    metrics = [metric("achievement", answer["achievement"], "", "higher").model_dump()]
    if answer["passed"] is not None:
        passed = metric("passed", float(answer["passed"]), "", "higher")
        metrics.insert(0, passed.model_dump())
    row = {
        "role": "candidate",
        "label": arguments.case.name,
        "configuration": {},
        "metrics": metrics,
        "status": "measured",
        "files": [],
        "verdict": {
            "level": _level(arguments.case),
            **{key: answer[key] for key in _TOLD},
        },
    }
    measured = answer.get("measured")
    if measured is None:
        return [row | stamp]
    stamp["environment"] = environment.describe(choose_device())
    row["configuration"] = measured["candidate"]["configuration"]
    row["metrics"] = [*metrics, *measured["candidate"]["metrics"]]
    return [measured["baseline"] | stamp, row | stamp]


def _summary(case: Path, answer: dict[str, Any]) -> dict[str, Any]:
    """Return the last line; its keys stand at the top of the task's checkpoint."""
    summary: dict[str, Any] = {
        "level": _level(case),
        "passed": answer["passed"],
        "achievement": answer["achievement"],
        "stage": answer["stage"],
    }
    measured = answer.get("measured")
    if measured is not None:
        loss = measured["relative_loss"]
        summary |= {
            "speedup": measured["speedup"]["value"],
            "loss": None if loss is None else loss["value"],
        }
    return summary


def _level(case: Path) -> str:
    return case.name.partition("-")[0]


def _command(arguments: argparse.Namespace) -> str:
    """Return the command line that repeats the verdict."""
    words = ["python", "-m", "worker", "judge", str(arguments.case)]
    for flag in ("models", "num_samples", "batch_size", "repeats", "seed", "captions", "clip"):
        value = getattr(arguments, flag)
        if value is not None:
            words += [f"--{flag.replace('_', '-')}", str(value)]
    return shlex.join(words)
