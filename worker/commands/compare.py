"""``python -m worker compare``: does this file do what the reference does?"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
import traceback
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console
from rich.text import Text

from worker.commands.options import add_limits, limits_of, number
from worker.config import numbers
from worker.config.yaml_file import read_mapping
from worker.errors import ConfigurationError, WorkerError
from worker.judging import field_diff as match
from worker.judging import object_diff as objects
from worker.judging import report, source
from worker.judging.fields import FIELDS, Findings
from worker.judging.reasons.codes import Reason, Why
from worker.judging.reasons.texts import text as text_of
from worker.judging.static.extract import extract
from worker.judging.static.values import Unknown

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
    relaxed: match.Relaxed | None = None
    try:
        if arguments.weights and not arguments.relaxed:
            raise UsageError("--weights gives the weights of --relaxed; give both")
        if arguments.relaxed:
            weights = read_weights(arguments.weights) if arguments.weights else match.WEIGHTS
            relaxed = match.Relaxed(arguments.tolerance, weights)
        models = _models(arguments)
    except (UsageError, WorkerError) as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2
    errors: dict[str, Reason] = {}
    sides = [_read(path, errors) for path in (arguments.reference, arguments.generated)]
    matches = match.compare(sides[0], sides[1], relaxed)
    compared: Compared | None = None
    if not errors and (arguments.runtime or (arguments.hybrid and exit_code(matches) != 1)):
        compared = _objects(arguments, sides, models, errors)
        if compared is not None:
            sides = [compared.expected, compared.found]
            matches = match.compare(sides[0], sides[1], relaxed)
    _print(arguments, Judged(sides, matches, compared), relaxed, errors)
    for path, reason in errors.items():
        said = report.said(reason, arguments.lang)
        print(f"compare: {report.printable(path)} {said}", file=sys.stderr)
    if errors:
        return 2
    code = exit_code(matches)
    if compared is None:
        return code
    if compared.problem or compared.differences:
        return 1
    return 3 if code == 0 and not compared.is_sure else code


@dataclass(frozen=True)
class Compared:
    """What building both pipelines showed."""

    expected: Findings
    found: Findings
    items: list[objects.Item]
    problem: Reason | None
    is_sure: bool
    """Whether that they are the same is known by more than the generated file's own word."""

    @property
    def differences(self) -> list[objects.Item]:
        """The paths at which the objects differ."""
        return [item for item in self.items if item.kind != "match"]


@dataclass(frozen=True)
class Judged:
    """Everything there is to print."""

    sides: list[Findings]
    matches: list[match.FieldMatch]
    compared: Compared | None


def _models(arguments: argparse.Namespace) -> dict[str, str]:
    if not (arguments.runtime or arguments.hybrid):
        if arguments.models:
            raise UsageError("--models is for --runtime and --hybrid; give one of them")
        return {}
    if arguments.runtime and arguments.hybrid:
        raise UsageError("give --runtime or --hybrid, not both")
    from worker.judging.build import read_models

    return read_models(arguments.models)


def _objects(
    arguments: argparse.Namespace,
    sides: list[Findings],
    models: dict[str, str],
    errors: dict[str, Reason],
) -> Compared | None:
    """Build both pipelines; None, and a message in ``errors``, if the reference does not build."""
    from worker.judging import build as runtime
    from worker.judging.sandbox import sandbox

    built = []
    limits = limits_of(arguments)
    for path, side in zip((arguments.reference, arguments.generated), sides, strict=True):
        try:
            runtime.fetch(side, models)
        except WorkerError as error:
            errors[path] = Why.MODEL_NOT_FETCHED(error=str(error))
            return None
        hidden = [] if path == arguments.reference else [arguments.reference]
        program = source.read_source(path)
        built.append(runtime.build(program, models, limits, hidden))
        if path == arguments.reference and built[0].problem is not None:
            errors[path] = Why.REFERENCE_NOT_BUILT(built[0].problem)
            return None
    for line in sandbox.unprotected(built[1].confined):
        print(f"compare: {line}", file=sys.stderr)
    left, right = built[0].description, built[1].description
    items = objects.compare(left, right) if left is not None and right is not None else []
    backing = runtime.backing(program, sides[1], built[1].findings)
    found = built[1].findings
    if right is not None and backing.caveat is not None:
        found = replace(found, notes=[Why.KNOWN_BY(backing.caveat)])
    problem = built[1].problem or backing.problem
    return Compared(built[0].findings, found, items, problem, backing.suffices)


class UsageError(Exception):
    """A mistake on the command line."""


def exit_code(matches: list[match.FieldMatch]) -> int:
    """Return 0 if every field matches, 1 if one does not, 3 if some are unknown."""
    answers = {item.match for item in matches}
    if False in answers:
        return 1
    return 3 if None in answers else 0


def _read(path: str, errors: dict[str, Reason]) -> Findings:
    try:
        return extract(source.read_source(path))
    except source.SourceError as error:
        errors[path] = error.reason
        return Findings(dict.fromkeys(FIELDS, Unknown(Why.FILE_NOT_READ())))


def _print(
    arguments: argparse.Namespace,
    judged: Judged,
    relaxed: match.Relaxed | None,
    errors: dict[str, Reason],
) -> None:
    sides, matches, compared = judged.sides, judged.matches, judged.compared
    score = match.total_score(matches, relaxed.weights) if relaxed else None
    if arguments.json:
        extra: dict[str, Any] = {
            "notes": {
                side: [text_of(note) for note in findings.notes]
                for side, findings in zip(("expected", "found"), sides, strict=True)
            },
        }
        if relaxed:
            extra["score"] = score
        if compared is not None:
            extra["objects"] = report.objects_as_json(compared.items, compared.problem)
        if errors:
            extra["errors"] = {path: text_of(reason) for path, reason in errors.items()}
        print(report.as_json(matches, extra, scored=relaxed is not None))
        return
    texts = report.TEXTS[arguments.lang]
    # In a pipe or a file nothing wraps at 80 columns: grep must find an id in one piece.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    report.print_table(console, matches, arguments.lang, scored=relaxed is not None)
    if relaxed:
        text = texts["no_score"] if score is None else texts["total_score"].format(score=score)
        console.print(Text(text))
    if compared is not None:
        report.print_objects(console, compared.items, compared.problem, arguments.lang)
    for path, side in zip((arguments.reference, arguments.generated), sides, strict=True):
        for note in side.notes:
            said = report.said(note, arguments.lang)
            console.print(Text(texts["note"].format(file=report.printable(path), text=said)))


def read_weights(path: str) -> dict[str, float]:
    """Return the weight of every field: the file's, or the default where it names none.

    Raises:
        ConfigurationError: the file cannot be read, or does not map fields to numbers of at least 0.
    """
    try:
        data = source.read_source(path)
    except source.SourceError as error:
        raise ConfigurationError(f"{path} {error}") from error
    content = read_mapping(data, path, "fields with their weights, as in `accelerators: 4`")
    weights = dict(match.WEIGHTS)
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
