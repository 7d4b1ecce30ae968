"""A matrix's tasks: axes that are ranges, lists and mappings as values, names by a template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scheduler.config.loader import SweepError, read_sweep
from scheduler.config.sweep import Sweep
from tests.helpers.sweep_runner import SweepRunner


def read(folder: Path, text: str) -> Sweep:
    path = folder / "s.yaml"
    path.write_text(text)
    return read_sweep(path)


def ids(folder: Path, text: str) -> list[str]:
    return [task.id for task in read(folder, text).tasks]


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(SweepError) as caught:
        read(folder, text)
    return caught.value.problems


def test_axes_that_are_ranges(tmp_path: Path) -> None:
    axes = "g: {from: 0.1, to: 0.3, by: 0.1}, lr: {log: [1e-5, 1e-3], n: 3}, s: {from: 2, to: 1, by: -1}"
    text = f"matrix: {{{axes}}}"
    sweep = read(tmp_path, text)
    assert len(sweep.tasks) == 18
    assert sweep.tasks[-1].id == "0.3_0.001_1"
    assert sweep.spec(sweep.tasks[0], {}, "", "")["matrix"] == {"g": 0.1, "lr": 1e-05, "s": 2}
    excluded = ids(tmp_path, text + "\nexclude: [{g: 0.3}, {lr: 0.001, s: 1}]")
    assert excluded[-1] == "0.2_0.001_2"


@pytest.mark.parametrize(
    ("axis", "said"),
    [
        ("{from: 0, to: 1}", "matrix.x.by: is missing; a range is {from: 0, to: 1, by: 0.25}"),
        ("{form: 0, to: 1, by: 1}", "matrix.x.form: unknown key; did you mean from?"),
        ("{from: 0, to: 1, by: 0}", "matrix.x: by is 0, which leads nowhere"),
        ("{from: 0, to: 1, by: -1}", "matrix.x: by is -1, which leads away from 1; 1 leads there"),
        ("{from: 0, to: .inf, by: 1}", "line 1: matrix.x.to: .inf is no number that JSON can hold"),
        ("{from: 0, to: 1, by: 1e-9}", "matrix.x: makes more than 1,000,000 values"),
        ("{from: 0, to: true, by: 1}", "matrix.x.to: must be a number, not True"),
        ("{from: 0, to: '1', by: 1}", "matrix.x.to: must be a number, not '1'"),
        ("{log: [1, 10]}", "matrix.x.n: is missing; such a range is {log: [1e-5, 1e-2], n: 4}"),
        ("{log: [1, 10], n: 1}", "matrix.x.n: must be at least 2, not 1"),
        ("{log: [1, 10], n: 2000000}", "matrix.x: n: makes more than 1,000,000 values"),
        ("{log: [0, 10], n: 3}", "matrix.x: log: both ends must be greater than 0"),
        ("{log: [1], n: 3}", "matrix.x.log: must be the two ends, as in [1e-5, 1e-2]"),
        ("{log: [1, 2, 3], n: 3}", "matrix.x.log: must be the two ends, as in [1e-5, 1e-2]"),
        ("{glob: a, n: 3}", "matrix.x.n: unknown key; "),
    ],
)
def test_what_is_no_range(tmp_path: Path, axis: str, said: str) -> None:
    assert any(problem.startswith(said) for problem in problems(tmp_path, f"matrix: {{x: {axis}}}"))


def test_a_range_that_is_none_hides_no_other_mistake(tmp_path: Path) -> None:
    text = "matrix: {x: {from: 0, to: 1, by: 0}}\nexclude: [{y: 1}]\nworker: {command: [a, '{z}']}"
    assert [problem.partition(":")[0] for problem in problems(tmp_path, text)] == [
        *("matrix.x", "exclude[0].y", "worker.command[1]")
    ]


# --- names ---------------------------------------------------------------------------------------

HUB = """\
matrix:
  model: [org/small, org/large]
  size: [[1, 2], [3, 4]]
  opt: [{name: adam, lr: 1e-3}]
name: "{model}-{size}-{opt}"
"""


def test_ids_by_a_template(tmp_path: Path) -> None:
    assert ids(tmp_path, HUB) == [
        "org--small-1,2-name=adam,lr=1e-3",
        "org--small-3,4-name=adam,lr=1e-3",
        "org--large-1,2-name=adam,lr=1e-3",
        "org--large-3,4-name=adam,lr=1e-3",
    ]
    rest = ids(tmp_path, HUB + "exclude: [{model: org/small, size: [3, 4]}, {size: [1, 2]}]")
    assert rest == ["org--large-3,4-name=adam,lr=1e-3"]


def test_what_lists_and_mappings_become(tmp_path: Path) -> None:
    sweep = read(tmp_path, HUB + "worker: {command: [run, '{model}', '{size}', '{opt}']}")
    task = sweep.tasks[0]
    words = ["run", "org/small", "[1,2]", '{"name":"adam","lr":0.001}']
    assert sweep.argv(task, {}, "", "") == words
    matrix = sweep.spec(task, {}, "", "")["matrix"]
    assert matrix == {"model": "org/small", "size": [1, 2], "opt": {"name": "adam", "lr": 0.001}}


def test_a_template_and_a_name_of_the_sweep(tmp_path: Path) -> None:
    sweep = read(tmp_path, 'matrix: {x: [1]}\nname: {sweep: "{s}", task: "run-{x}"}')
    assert (sweep.name, sweep.is_named, sweep.tasks[0].id) == ("{s}", True, "run-1")
    sweep = read(tmp_path, "matrix: {x: [1]}\nname: x-{x}")
    assert (sweep.name, sweep.is_named, sweep.tasks[0].id) == ("s", False, "x-1")


def test_completions_hold_under_a_template_that_gives_the_same_ids(tmp_path: Path) -> None:
    before = read(tmp_path, "matrix: {a: [1, 2], b: [x]}")
    after = read(tmp_path, 'matrix: {a: [1, 2], b: [x]}\nname: "{a}_{b}"')
    digests = [{t.id: s.digest(t) for t in s.tasks} for s in (before, after)]
    assert digests[0] == digests[1]
    assert before.fingerprint == after.fingerprint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'matrix: {a: [1, 2], b: [x]}\nname: "{b}"',
            "name: two tasks have the id 'x', (a 1, b x) and (a 2, b x); put {a} into it",
        ),
        (
            'matrix: {a: [x, x-y], b: [y-z, z]}\nname: "{a}-{b}"',
            "name: two tasks have the id 'x-y-z', (a x, b y-z) and (a x-y, b z); put something else",
        ),
        (
            'matrix: {m: [a/b, a--b]}\nname: "{m}"',
            "name: two tasks have the id 'a--b', (m a/b) and (m a--b); put something else",
        ),
        (
            'matrix: {a: [x, x]}\nname: "{a}"',
            "matrix: two tasks have the id 'x'; remove or rename one value: both are (a x)",
        ),
        (
            "matrix: {a: [x, x_y], b: [y_z, z]}",
            "matrix: two tasks have the id 'x_y_z'; remove or rename one value: (a x, b y_z) and (a x_y, ",
        ),
        ('matrix: {a: [1]}\nname: "{b}"', "name: no axis fills {b}; known: a; for a sweep's own name"),
        ('matrix: {a: [1]}\nname: "{task}"', "name: no axis fills {task}; "),
        ('matrix: {a: [1]}\nname: ".{a}"', "name: the task id: '.1' begins with a dot"),
        ('matrix: {a: ["x\\ny"]}\nname: "{a}"', "name: the task id: 'x\\ny' cannot be a file name"),
        ('matrix: {a: [..]}\nname: "{a}"', "name: the task id: '..' begins with a dot"),
        ('matrix: {a: [1]}\nname: "a/{a}"', "name: the task id: 'a/1' cannot be a file name"),
        (f'matrix: {{a: [{"x" * 300}]}}\nname: "{{a}}"', "name: the task id: 'xxx"),
        ("matrix: {a: [1]}\nname: {taks: x}", "name.taks: unknown key; did you mean task?"),
        ("matrix: {a: [1]}\nname: {task: ''}", "name.task: is empty; it needs at least one character"),
        ("matrix: {a: [1]}\nname: [x]", "name: must be text"),
        ("matrix: {a: [o/m]}", "matrix.a: 'o/m' cannot be part of a file name; "),
        ("matrix: {a: [{x: 1}]}", "matrix.a: 'x=1' cannot be part of a file name; "),
    ],
)  # fmt: skip
def test_names_that_cannot_be_used(tmp_path: Path, text: str, said: str) -> None:
    (only,) = problems(tmp_path, text)
    assert only.startswith(said)


@pytest.mark.parametrize("value", ["o/m", "[1]", "{x: 1}"])
def test_what_is_refused_without_a_template_names_the_remedy(tmp_path: Path, value: str) -> None:
    (only,) = problems(tmp_path, f"matrix: {{a: [{value}], b: [1]}}")
    assert '`name: "{a}-{b}"` names the tasks another way' in only


def test_of_many_tasks_with_one_id_a_few_are_told(tmp_path: Path) -> None:
    found = problems(tmp_path, f'matrix: {{a: {list(range(100))}, b: [x]}}\nname: "{{b}}"')
    assert (len(found), found[-1]) == (4, "matrix: 96 more ids stand for two tasks")


_PLAIN = st.one_of(st.text(max_size=8), st.integers(-9, 9), st.booleans())
_VALUES = st.recursive(
    _PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)  # fmt: skip
_TEMPLATES = st.lists(st.sampled_from(["{a}", "{b}", "-", "x/", "{{", "}}", "."]), max_size=6)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(_VALUES, min_size=1, max_size=3),
    st.lists(_VALUES, min_size=1, max_size=3),
    st.none() | _TEMPLATES.map("".join),
)
def test_every_id_is_one_file_of_the_folder_or_the_sweep_is_refused(
    tmp_path: Path, a: list[Any], b: list[Any], template: str | None
) -> None:
    content: dict[str, Any] = {"matrix": {"a": a, "b": b}}
    if template is not None:
        content["name"] = {"task": template}
    try:
        names = ids(tmp_path, json.dumps(content))
    except SweepError as error:
        assert error.problems
        return
    assert len(set(names)) == len(names) == len(a) * len(b)
    for name in names:
        path = tmp_path / "checkpoints" / f"{name}.done"
        assert path.parent == tmp_path / "checkpoints"
        assert name
        assert "/" not in name
        assert "\n" not in name
        assert not name.startswith(".")
        assert len(name.encode()) <= 200


def test_a_sweep_of_hub_ids_lists_and_mappings_runs(runner: SweepRunner) -> None:
    command = ["echo", "{model}", "{size}", "{opt}", "Successfully completed"]
    sweep = {
        "matrix": {"model": ["org/a", "org/b"], "size": [[1, 2]], "opt": [{"lr": 0.1}]},
        "name": {"sweep": "runner", "task": "{model}-{size}"},
        "worker": {"command": command},
    }
    runner.file.write_text(json.dumps(sweep))
    assert runner.run().code == 0
    done = json.loads(runner.paths.done("org--a-1,2").read_text())
    assert done["matrix"] == {"model": "org/a", "size": [1, 2], "opt": {"lr": 0.1}}
    log = runner.paths.log("org--b-1,2").read_text()
    assert 'org/b [1,2] {"lr":0.1} Successfully completed' in log
    assert runner.run().out.count("started") == 0
