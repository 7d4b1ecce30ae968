"""What the methods declare holds together, and is what the rest of the worker goes by."""

from __future__ import annotations

import ast
import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import worker
from worker.accelerators.registry import from_inside_out, specs
from worker.accelerators.spec import (
    REQUIRED,
    AcceleratorSpec,
    Choice,
    Flag,
    Integer,
    Number,
    Parameter,
)
from worker.config.settings import PipelineSettings
from worker.models.catalogue import PIPES, find_sched
from worker.models.task import Task
from worker.search.configuration import Configuration
from worker.search.incompatible import incompatibility
from worker.search.section import read_search
from worker.search.simplify import simplify

PACKAGE = Path(worker.__file__).parent
CANDIDATES = [spec for spec in specs().values() if spec.role == "candidate"]
PARAMETERS = [(spec, parameter) for spec in CANDIDATES for parameter in spec.parameters]
TASK = Task(PIPES["SD15"], find_sched("DDIM"), 50)


def inside(parameter: Parameter) -> list[Any]:
    """Return values of a parameter, those at the ends of its range among them."""
    kind = parameter.kind
    if isinstance(kind, Integer):
        return [kind.least, kind.least + 2]
    if isinstance(kind, Number):
        return [kind.most, (kind.above or 0) + 0.01 if kind.least is None else kind.least]
    if isinstance(kind, Choice):
        return list(kind.among)
    return [False, True] if isinstance(kind, Flag) else [0.5, 1, 3]


def outside(parameter: Parameter) -> Iterator[Any]:
    """Yield values that a parameter's declaration excludes."""
    yield from ("many", {"a": 1}, float("nan"), float("inf"), [])
    yield from [] if parameter.default is None else [None]
    kind = parameter.kind
    if isinstance(kind, Integer):
        yield from (kind.least - 1, kind.least + 0.5, float(kind.least), True)
    elif isinstance(kind, Number):
        yield from (kind.most + 0.01, "0.5", True)
        yield kind.above if kind.least is None else kind.least - 0.01
    elif isinstance(kind, Choice):
        yield from (max(kind.among) + 1, float(kind.among[0]), True)
    elif isinstance(kind, Flag):
        yield from (0, 1, "true")
    else:
        yield from (0, -1, 0.0, 1.0, 1.5, True)


def complete(spec: AcceleratorSpec) -> dict[str, Any]:
    """Return values of a method that are all right."""
    required = {item.name: inside(item)[-1] for item in spec.parameters if item.default is REQUIRED}
    return spec.complete(required)


def problems_of(spec: AcceleratorSpec, values: dict[str, Any]) -> list[tuple[str, str]]:
    return read_search({"configurations": [{spec.name: values}]})[1]


def name_of(item: object) -> str:
    return getattr(item, "name", repr(item))


@pytest.mark.parametrize(("spec", "parameter"), PARAMETERS, ids=name_of)
def test_a_parameter_s_range_is_enforced_and_refused_in_a_sentence(
    spec: AcceleratorSpec, parameter: Parameter
) -> None:
    for value in inside(parameter):
        assert problems_of(spec, complete(spec) | {parameter.name: value}) == []
    for value in outside(parameter):
        problems = problems_of(spec, complete(spec) | {parameter.name: value})
        place = f"search.configurations.0.{spec.name}.{parameter.name}"
        assert problems, f"{parameter.name}: {value!r} passes"
        for key, sentence in problems:
            assert key.startswith(place)
            assert len(sentence.split()) > 3
            assert "pydantic" not in sentence


@pytest.mark.parametrize("spec", CANDIDATES, ids=name_of)
def test_a_parameter_without_a_default_is_required(spec: AcceleratorSpec) -> None:
    required = {item.name for item in spec.parameters if item.default is REQUIRED}
    missing = {key.rpartition(".")[2]: sentence for key, sentence in problems_of(spec, {})}
    assert missing == dict.fromkeys(required, "this key is required")


@pytest.mark.parametrize("spec", specs().values(), ids=name_of)
def test_labels_tell_apart_what_differs(spec: AcceleratorSpec) -> None:
    found: dict[str, str] = {}
    for values in points(spec):
        wanted = {spec.name: values}
        if incompatibility(wanted, TASK.pipe.architecture, PipelineSettings(), TASK) is not None:
            continue
        simplest, _ = simplify(Configuration.accelerated(wanted), TASK, guided=True)
        assert found.setdefault(simplest.label, simplest.key) == simplest.key
    assert len(found) > 1


@pytest.mark.parametrize("spec", specs().values(), ids=name_of)
def test_what_is_tried_by_default_is_in_range(spec: AcceleratorSpec) -> None:
    for pipe in PIPES.values():
        for values in (spec.alone(pipe.architecture), spec.combined(pipe.architecture)):
            if values:
                assert problems_of(spec, dict(values)) == []
    if spec.control is not None:
        values = list(spec.control.default)
        assert read_search({"controls": {spec.control.key: values}})[1] == []


def test_methods_name_only_methods_that_there_are() -> None:
    for spec in specs().values():
        others = {*spec.excludes, *itertools.chain(*spec.combinations)}
        assert others <= set(specs()) - {spec.name}


def test_a_pair_is_excluded_by_one_of_the_two() -> None:
    """Two files that spoke of the same pair could contradict each other."""
    pairs = [frozenset((spec.name, other)) for spec in specs().values() for other in spec.excludes]
    assert len(set(pairs)) == len(pairs)


def test_exclusions_hold_whichever_is_named_first() -> None:
    refused = set()
    for one, other in itertools.combinations(specs().values(), 2):
        for mine, theirs in itertools.product(points(one), points(other)):
            answers = {
                incompatibility(dict(pair), TASK.pipe.architecture, PipelineSettings(), TASK)
                for pair in itertools.permutations([(one.name, mine), (other.name, theirs)])
            }
            assert len(answers) == 1
            if answers != {None}:
                refused.add((one.name, other.name))
    assert refused >= {("tome", "tgate"), ("tgate", "guidance_cutoff")}


def points(spec: AcceleratorSpec) -> Iterator[dict[str, Any]]:
    """Yield values of a method that differ in one parameter from a whole set, with and without
    those that may be left out.
    """
    optional = {item.name: inside(item)[-1] for item in spec.parameters if item.default is None}
    for base in (complete(spec), complete(spec) | optional):
        for parameter in spec.parameters:
            for value in inside(parameter):
                yield spec.reduced(spec.in_calls(base | {parameter.name: value}, TASK))


def test_two_methods_that_drop_guidance_exclude_each_other() -> None:
    both = {"tgate": {"gate_step": 10}, "guidance_cutoff": {"step": 20}}
    found = incompatibility(both, TASK.pipe.architecture, PipelineSettings())
    assert (
        found == "T-GATE and guidance off each drop guidance at a call of their own: leave one out"
    )


def test_a_method_whose_package_is_missing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(specs()["tome"]), "needs", ("no-such-package",))
    found = incompatibility({"tome": {"ratio": 0.5}}, TASK.pipe.architecture, PipelineSettings())
    assert found == "ToMe needs the package no-such-package, which is not installed"


def test_roles_are_what_the_methods_say() -> None:
    roles = {
        name: Configuration.accelerated({name: complete(spec)}).role
        for name, spec in specs().items()
    }
    assert roles.pop("guidance_cutoff") == "control"
    assert set(roles.values()) == {"candidate"}
    assert Configuration.fewer_steps(3).role == Configuration.other_seeds().role == "control"
    assert Configuration.accelerated({}).role == "baseline"


def test_methods_are_installed_from_the_inside_out() -> None:
    names = [spec.name for spec in from_inside_out()]
    assert names == ["tome", "tgate", "guidance_cutoff", "deepcache"]


def test_declarations_need_no_torch() -> None:
    for module, more in (("search.plan", ""), ("accelerators.registry", ", 'pydantic'")):
        heavy = f"{{'torch', 'diffusers', 'transformers', 'tomesd', 'numpy'{more}}}"
        program = f"import sys, worker.{module}, worker.accelerators.registry as registry;"
        program += f"registry.specs(); sys.exit(str({heavy} & sys.modules.keys()))"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert done.stderr.strip() == "set()", module


def code_words(file: Path) -> Iterator[str]:
    """Yield the names and texts of a module; what its docstrings and comments say is no code."""
    tree = ast.parse(file.read_text())
    texts = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in texts:
            yield node.value
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.alias):
            yield node.name


NAMELESS = [
    *("config", "models", "search", "metrics", "results", "measure", "judging/sandbox/capture.py"),
    *("judging/facts", "judging/measure_program.py", "judging/sandbox/hooks.py"),
    *(f"accelerators/{name}.py" for name in ("base", "compose", "registry", "spec")),
]


def test_no_method_is_named_outside_its_own_file() -> None:
    known = {spec.name for spec in specs().values()} | {spec.title for spec in specs().values()}
    known |= {spec.package.name for spec in specs().values() if spec.package is not None}
    known = {name.casefold() for name in known}
    for place in NAMELESS:
        path = PACKAGE / place
        for file in [path] if path.is_file() else path.rglob("*.py"):
            for words in code_words(file):
                found = {name for name in known if name in words.casefold().split()}
                assert not found, f"{file} names {', '.join(found)}: {words!r}"
