"""``python -m worker evaluate``: how fast and how good is what a file builds?"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

from worker.commands.options import add_limits, limits_of, number
from worker.config import numbers
from worker.errors import WorkerError

EXAMPLE = """\
example:
  python -m worker evaluate generated.py --target-speedup 1.8 --max-loss 0.05

The file runs apart (see docs/judging.md) up to its pipeline call. What it built is measured with
and without its accelerators, interleaved, by the search's own evaluation.

exit codes: 0 the target is met, or none was given; 1 it is not met, or the file does not run, or
builds what is not written in it; 3 it cannot be told yet, or what the file builds cannot be
measured, or is known by its own word alone and it could have lied; 2 a usage error."""


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
    add_effort(parser)


def add_effort(parser: argparse.ArgumentParser) -> None:
    """Declare how to run and measure; ``judge`` has the same."""
    parser.add_argument("--models", metavar="MAP.yaml", help="model ids to local folders")
    add_limits(parser)
    parser.add_argument(
        "--num-samples",
        type=number(numbers.COUNT),
        default=32,
        help="captions scored (default: %(default)s)",
    )
    parser.add_argument(
        "--batch-size", type=number(numbers.COUNT), help="images at once (default: the file's)"
    )
    parser.add_argument(
        "--repeats",
        type=number(numbers.COUNT),
        default=10,
        help="timed calls at least (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=number(numbers.TASK_NUMBERS["seed"]),
        default=0,
        help="of the first image (default: 0)",
    )
    parser.add_argument("--captions", help="coco2017, or a .txt, .tsv or .jsonl file")
    parser.add_argument(
        "--clip", metavar="MODEL[:WEIGHTS]", help="the scorer, as open_clip names it"
    )


def run(arguments: argparse.Namespace) -> int:
    """Judge the file and return the exit code."""
    try:
        return _run(arguments)
    except WorkerError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _run(arguments: argparse.Namespace) -> int:
    from worker.errors import ConfigurationError
    from worker.judging import build as runtime
    from worker.judging import measure as judge
    from worker.judging import source
    from worker.judging.reasons.texts import text as text_of
    from worker.judging.sandbox import sandbox
    from worker.judging.static.extract import extract

    models = runtime.read_models(arguments.models)
    target = judge.Target(arguments.target_speedup, arguments.max_loss, arguments.latency)
    try:
        text = source.read_source(arguments.file)
        read = extract(text)
    except source.SourceError as error:
        raise ConfigurationError(f"{arguments.file} {error}") from error
    runtime.fetch(read, models)
    built = runtime.build(text, models, limits_of(arguments))
    for line in sandbox.unprotected(built.confined):
        print(f"evaluate: {line}", file=sys.stderr)
    backing = runtime.backing(text, read, built.findings)
    problem = built.problem or backing.problem
    if problem is not None:
        return _finish(
            arguments, {"file": arguments.file, "problem": text_of(problem), "passed": False}
        )
    try:
        program = judge.program_of(built, models)
        say = _quiet if arguments.json else _say
        measured = judge.measure(program, effort_of(arguments), device(), say)
    except judge.UnsuitableError as error:
        answer = {"file": arguments.file, "problem": f"not measured: {error}", "passed": None}
        return _finish(arguments, answer)
    verdict = judge.verdict(measured, target)
    answer = {"file": arguments.file} | judge.as_json(program, measured, verdict)
    if answer["passed"] and not backing.suffices:
        answer["passed"] = None
    caveat = None if backing.caveat is None else text_of(backing.caveat)
    return _finish(arguments, answer | {"caveat": caveat})


def effort_of(arguments: argparse.Namespace) -> Any:  # judge.MeasureOptions, imported late
    """Return how carefully to measure, by the command line."""
    from worker.judging.measure import MeasureOptions

    clip = None
    if arguments.clip:
        model, _, weights = arguments.clip.rpartition(":")
        source = arguments.clip.startswith(("built:", "package:", "local-dir:"))
        clip = (arguments.clip, "") if source or not model else (model, weights)
    return MeasureOptions(
        num_samples=arguments.num_samples,
        batch_size=arguments.batch_size,
        repeats=arguments.repeats,
        seed=arguments.seed,
        captions=arguments.captions,
        clip=clip,
    )


def device() -> str:
    """Return the first visible GPU, or the CPU."""
    import torch

    return "cuda:0" if torch.cuda.is_available() else "cpu"


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
