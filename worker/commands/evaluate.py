"""``python -m worker evaluate``: how fast and how good is what a file builds?"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

from worker.commands.options import (
    add_measure_options,
    by_flags,
    limits_of,
    measure_options_of,
    number,
    warner,
)
from worker.config import numbers
from worker.errors import ConfigurationError, WorkerError

EXAMPLE = """\
example:
  python -m worker evaluate generated.py --target-speedup 1.8 --max-loss 0.05

The file runs apart (see docs/judging.md) up to its pipeline call. What it built is measured with
and without its accelerators, interleaved, by the search's own evaluation.

exit codes: 0 the target is met, or none was given; 1 it is not met, or the file does not run, or
builds what is not written in it; 3 it cannot be told yet, or what the file builds cannot be
measured, or is known by its own word alone and it could have lied; 2 a usage error; 75 a model or
captions are not here and the hub cannot be reached: try again later, or name them by --models,
--captions and --clip."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.epilog = EXAMPLE
    parser.add_argument("file", metavar="GEN.py", help="the file to be judged")
    parser.add_argument(
        "--target-speedup", type=number(numbers.positive), metavar="X", help="demanded speed-up"
    )
    parser.add_argument(
        "--max-loss", type=number(numbers.share), metavar="X", help="largest relative CLIP loss"
    )
    parser.add_argument(
        "--latency", type=number(numbers.positive), metavar="S", help="seconds for one call"
    )
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    add_measure_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Judge the file and return the exit code."""
    try:
        return _run(arguments)
    except WorkerError as error:
        print(f"error: {by_flags(str(error))}", file=sys.stderr)
        return error.exit_code


def _run(arguments: argparse.Namespace) -> int:
    from worker.config.target import Target
    from worker.judging.build import read_models
    from worker.judging.judge import JudgeOptions, judge_program
    from worker.judging.reasons.texts import text as text_of
    from worker.judging.source import SourceError
    from worker.judging.static.extract import SourceFile

    models = read_models(arguments.models)
    try:
        program = SourceFile.read(arguments.file)
    except SourceError as error:
        raise ConfigurationError(f"{arguments.file} {error}") from error
    options = JudgeOptions(
        models=models,
        limits=limits_of(arguments),
        warn=warner("evaluate"),
        measure=measure_options_of(arguments),
        target=Target(arguments.target_speedup, arguments.max_loss, arguments.latency),
        say=_quiet if arguments.json else _say,
    )
    outcome = judge_program(program, None, options)
    answer: dict[str, Any] = {"file": arguments.file}
    if outcome.measurement is not None:
        caveat = outcome.backing.caveat
        answer |= outcome.measurement.as_json()
        answer["caveat"] = None if caveat is None else text_of(caveat)
    elif outcome.unsuitable is not None:
        answer["problem"] = f"not measured: {by_flags(outcome.unsuitable)}"
    elif outcome.problem is not None:
        answer["problem"] = text_of(outcome.problem)
    return _finish(arguments, answer | {"passed": outcome.passed})


def _finish(arguments: argparse.Namespace, answer: Mapping[str, Any]) -> int:
    if arguments.json:
        print(json.dumps(answer, indent=2))
    elif "problem" in answer:
        from worker.judging.report import printable

        print(f"{answer['file']}: {printable(str(answer['problem']))}")
    else:
        for line in in_words(answer):
            print(line)
    return {True: 0, False: 1, None: 3}[answer["passed"]]


def in_words(answer: Mapping[str, Any]) -> list[str]:
    """Return the answer in lines for people."""
    from worker.measure.rows import in_words as row_in_words
    from worker.results.row import Measurement

    what = answer["configuration"]
    lines = [
        f"configuration: {what['model_id']}, {what['scheduler']}, {what['steps']} steps, "
        f"{what['image_size']} px, batch {what['batch']}, guidance {what['guidance']}, "
        f"{what['dtype']}",
        f"accelerators: {answer['label'] if answer['accelerators'] else 'none'}",
        *(f"  {remark}" for remark in answer["remarks"]),
        row_in_words(Measurement.model_validate(answer["baseline"])),
    ]
    if answer["accelerators"]:
        lines.append(row_in_words(Measurement.model_validate(answer["candidate"])))
    lines.append(f"speed-up {_interval(answer['speedup'], '{:.2f}')}")
    if answer["relative_loss"] is not None:
        lines.append(f"relative loss {_interval(answer['relative_loss'], '{:+.2%}')}")
    else:
        lines.append(f"loss not known: {answer['loss_unknown']}")
    lines += [f"{name}: {said}" for name, said in answer["answers"].items()]
    if answer["answers"]:
        words = {True: "passed", False: "not passed", None: "cannot tell yet"}
        lines.append(f"{words[answer['passed']]}, achievement {answer['achievement']:.2f}")
    if answer["caveat"] is not None:
        lines.append(f"what it builds is known {answer['caveat']}")
    return lines


def _interval(estimate: Mapping[str, float | None], form: str) -> str:
    text = form.format(estimate["value"])
    if estimate["low"] is None or estimate["high"] is None:
        return text
    return f"{text} ({form.format(estimate['low'])} to {form.format(estimate['high'])})"


def _say(line: str) -> None:
    print(line, flush=True)


def _quiet(line: str) -> None:
    """Say nothing: standard output is for the JSON."""
