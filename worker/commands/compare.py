"""``python -m worker compare``: does this file do what the reference does?"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
import traceback
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from worker.commands.options import add_limits, limits_of, number, warner
from worker.config import numbers
from worker.errors import ConfigurationError, WorkerError
from worker.judging import field_diff, report, source
from worker.judging.fields import FIELDS, Findings
from worker.judging.reasons.codes import Reason, Why
from worker.judging.reasons.texts import text as text_of
from worker.judging.static.extract import SourceFile
from worker.judging.static.values import Unknown

if TYPE_CHECKING:
    from worker.judging.judge import Outcome

EXAMPLE = """\
example:
  python -m worker compare reference.py generated.py --lang zh
  python -m worker compare reference.py generated.py --hybrid --models models.yaml

Without --runtime or --hybrid nothing of either file is executed. With one of them both run apart,
without network and with limits, up to their last pipeline call, which is recorded and not made.

exit codes: 0 every field matches, 1 one does not, 3 none mismatches but some cannot be known
without running, or by more than the word of a file that could lie, 2 a usage error, or a file that
cannot be read or does not parse."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.epilog = EXAMPLE
    parser.add_argument("reference", metavar="GT.py", help="the file that does what is asked")
    parser.add_argument("generated", metavar="GEN.py", help="the file to be judged")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--lang", choices=sorted(report.TEXTS), default="en", help="table language")
    parser.add_argument(
        "--relaxed",
        action="store_true",
        help="accept aliases, equivalent noise schedulers and near numbers; print a score",
    )
    parser.add_argument("--weights", metavar="FILE", help="YAML: weight of each field in the score")
    parser.add_argument(
        "--tolerance",
        type=number(numbers.share),
        default=0.05,
        metavar="X",
        help="relative difference of numbers that --relaxed accepts (default: %(default)s)",
    )
    parser.add_argument(
        "--runtime", action="store_true", help="build both pipelines and compare the objects"
    )
    parser.add_argument(
        "--hybrid",
        action="store_true",
        help="compare the objects only where the text matched or could not tell",
    )
    parser.add_argument("--models", metavar="MAP.yaml", help="model ids to local folders")
    add_limits(parser)


def run(arguments: argparse.Namespace) -> int:
    """Compare the two files and return the exit code."""
    try:
        return _run(arguments)
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever it is: its exit code is no verdict
        place = traceback.extract_tb(error.__traceback__)[-1]
        what = report.printable(f"{type(error).__name__}: {error}")
        where = f"{os.path.basename(place.filename)}, line {place.lineno}"
        print(f"compare: the comparison itself failed: {what} ({where})", file=sys.stderr)
        return 2


def _run(arguments: argparse.Namespace) -> int:
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    relaxed: field_diff.Relaxed | None = None
    try:
        if arguments.weights and not arguments.relaxed:
            raise UsageError("--weights gives the weights of --relaxed; give both")
        if arguments.relaxed:
            weights = read_weights(arguments.weights) if arguments.weights else field_diff.WEIGHTS
            relaxed = field_diff.Relaxed(arguments.tolerance, weights)
        models = _models(arguments)
    except (UsageError, WorkerError) as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2
    errors: dict[str, Reason] = {}
    files = [_read(path, errors) for path in (arguments.reference, arguments.generated)]
    sides = [file.findings for file in files]
    matches = field_diff.compare(sides[0], sides[1], relaxed)
    outcome: Outcome | None = None
    if not errors and (arguments.runtime or (arguments.hybrid and exit_code(matches) != 1)):
        outcome = _judge(arguments, files, models, errors)
        if outcome is not None:
            sides = _built_findings(outcome)
            matches = field_diff.compare(sides[0], sides[1], relaxed)
    _print(arguments, Comparison(sides, matches, outcome), relaxed, errors)
    for path, reason in errors.items():
        said = report.said(reason, arguments.lang)
        print(f"compare: {report.printable(path)} {said}", file=sys.stderr)
    if errors:
        return 2
    code = exit_code(matches)
    if outcome is None:
        return code
    if outcome.problem or outcome.differences:
        return 1
    return 3 if code == 0 and not outcome.backing.suffices else code


@dataclass(frozen=True)
class Comparison:
    """Everything there is to print."""

    sides: list[Findings]
    matches: list[field_diff.FieldMatch]
    outcome: Outcome | None
    """None where the pipelines were not built."""


def _models(arguments: argparse.Namespace) -> dict[str, str]:
    if not (arguments.runtime or arguments.hybrid):
        if arguments.models:
            raise UsageError("--models is for --runtime and --hybrid; give one of them")
        return {}
    if arguments.runtime and arguments.hybrid:
        raise UsageError("give --runtime or --hybrid, not both")
    from worker.judging.build import read_models

    return read_models(arguments.models)


def _judge(
    arguments: argparse.Namespace,
    files: list[SourceFile],
    models: dict[str, str],
    errors: dict[str, Reason],
) -> Outcome | None:
    """Build both pipelines; None, and a reason in ``errors``, if the reference does not build."""
    from worker.judging.judge import BuildError, JudgeOptions, judge_program

    reference, generated = files
    options = JudgeOptions(
        models=models,
        limits=limits_of(arguments),
        warn=warner("compare"),
        hidden=[] if generated.path == reference.path else [reference.path],
    )
    try:
        return judge_program(generated, reference, options)
    except BuildError as error:
        errors[error.path] = error.reason
        return None


def _built_findings(outcome: Outcome) -> list[Findings]:
    """Return what both pipelines are, once built, with a note on what is not known for sure."""
    found, caveat = outcome.found.findings, outcome.backing.caveat
    if outcome.found.description is not None and caveat is not None:
        found = replace(found, notes=[Why.KNOWN_BY(caveat)])
    assert outcome.expected is not None  # there is a reference
    return [outcome.expected.findings, found]


class UsageError(Exception):
    """A mistake on the command line."""


def exit_code(matches: list[field_diff.FieldMatch]) -> int:
    """Return 0 if every field matches, 1 if one does not, 3 if some are unknown."""
    answers = {item.match for item in matches}
    if False in answers:
        return 1
    return 3 if None in answers else 0


def _read(path: str, errors: dict[str, Reason]) -> SourceFile:
    try:
        return SourceFile.read(path)
    except source.SourceError as error:
        errors[path] = error.reason
        return SourceFile(path, b"", Findings(dict.fromkeys(FIELDS, Unknown(Why.FILE_NOT_READ()))))


def _print(
    arguments: argparse.Namespace,
    comparison: Comparison,
    relaxed: field_diff.Relaxed | None,
    errors: dict[str, Reason],
) -> None:
    sides, matches, outcome = comparison.sides, comparison.matches, comparison.outcome
    score = field_diff.total_score(matches, relaxed.weights) if relaxed else None
    if arguments.json:
        extra: dict[str, Any] = {
            "notes": {
                side: [text_of(note) for note in findings.notes]
                for side, findings in zip(("expected", "found"), sides, strict=True)
            },
        }
        if score is not None:
            extra["score"] = score.value
            extra["scored"] = {"fields": score.fields, "unknown": score.unknown}
        if outcome is not None:
            extra["objects"] = report.objects_as_json(outcome.items, outcome.problem)
        if errors:
            extra["errors"] = {path: text_of(reason) for path, reason in errors.items()}
        print(report.as_json(matches, extra, scored=relaxed is not None))
        return
    texts = report.TEXTS[arguments.lang]
    # In a pipe or a file nothing wraps at 80 columns: grep must find an id in one piece.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    report.print_table(console, matches, arguments.lang, scored=relaxed is not None)
    if score is not None:
        template = texts["no_score" if score.value is None else "total_score"]
        console.print(Text(template.format(**asdict(score))))
    if outcome is not None:
        report.print_objects(console, outcome.items, outcome.problem, arguments.lang)
    for path, reason in errors.items():
        said = report.said(reason, arguments.lang)
        console.print(Text(texts["not_read"].format(file=report.printable(path), text=said)))
    for path, side in zip((arguments.reference, arguments.generated), sides, strict=True):
        for note in side.notes:
            said = report.said(note, arguments.lang)
            console.print(Text(texts["note"].format(file=report.printable(path), text=said)))


def read_weights(path: str) -> dict[str, float]:
    """Return the weight of every field: the file's, or the default where it names none.

    Raises:
        ConfigurationError: the file cannot be read, or does not map fields to numbers of at least 0.
    """
    from worker.config.yaml_file import read_mapping

    try:
        data = source.read_source(path)
    except source.SourceError as error:
        raise ConfigurationError(f"{path} {error}") from error
    content = read_mapping(data, path, "fields with their weights, as in `accelerators: 4`")
    weights = dict(field_diff.WEIGHTS)
    for name, weight in content.items():
        if name not in FIELDS:
            near = difflib.get_close_matches(str(name), FIELDS, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; valid are {', '.join(FIELDS)}"
            raise ConfigurationError(f"{path}: there is no field {name!r}{hint}")
        is_number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
        if not is_number or not 0 <= weight < float("inf"):
            raise ConfigurationError(f"{path}: the weight of {name} must be a number of at least 0")
        weights[name] = float(weight)
    return weights
