"""Which tasks words mean, and what is said of words that mean none."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.config.matrix.choice import NoSuchTask, choose
from scheduler.config.matrix.values import Value, task_id
from scheduler.config.strict_yaml import NumberText
from scheduler.config.sweep import Sweep, Task


def sweep_of(axes: Mapping[str, Sequence[Value]], ids: Sequence[str] = ()) -> Sweep:
    globbed = tuple(axis == "file" for axis in axes)
    points = itertools.product(*axes.values())
    tasks = [Task(task_id(values, globbed), values) for values in points]
    if ids:
        tasks = [Task(name, task.values) for name, task in zip(ids, tasks, strict=True)]
    return Sweep("s", tuple(axes), tuple(tasks), globbed=globbed)


SWEEP = sweep_of({"sched": ["DDIM", "PNDM", "DPM"], "steps": [20, 50]})
ODD = sweep_of(
    {
        "model": ["org/a", "org/b"],
        "w": [[1, 2], {"x": 1}],
        "on": [True],
        "lr": [NumberText("1e-4")],
    },
    ["org--a-1", "steps=5", "c[1]", "d,e"],
)


def ids(sweep: Sweep, *words: str) -> list[str]:
    return [task.id for task in choose(sweep, words)]


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["DDIM_20"], ["DDIM_20"]),
        (["steps=50"], ["DDIM_50", "PNDM_50", "DPM_50"]),
        (["steps=50,sched=DDIM"], ["DDIM_50"]),
        (["sched=D*,steps=20"], ["DDIM_20", "DPM_20"]),
        (["sched=DDIM,sched=DPM,steps=20"], ["DDIM_20", "DPM_20"]),
        (["*_20"], ["DDIM_20", "PNDM_20", "DPM_20"]),
        (["D??_[25]0"], ["DPM_20", "DPM_50"]),
        (["PNDM_50", "sched=DDIM", "PNDM_50"], ["DDIM_20", "DDIM_50", "PNDM_50"]),
    ],
)
def test_what_words_mean(words: list[str], meant: list[str]) -> None:
    assert ids(SWEEP, *words) == meant


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("steps=5", ["steps=5"]),
        ("c[1]", ["c[1]"]),
        ("d,e", ["d,e"]),
        ("model=org/a", ["org--a-1", "steps=5"]),
        ("model=org--b", ["c[1]", "d,e"]),
        ("w=1,2,model=org/a", ["org--a-1"]),
        ("w=x=1", ["steps=5", "d,e"]),
        ("w=[1,2]", ["org--a-1", "c[1]"]),
        ("on=True,lr=1e-4,model=*/b", ["c[1]", "d,e"]),
        ("on=true,model=*/b", ["c[1]", "d,e"]),
    ],
)
def test_values_are_compared_as_ids_show_them_or_as_the_file_has_them(
    word: str, meant: list[str]
) -> None:
    assert ids(ODD, word) == meant


def test_a_path_is_called_by_its_name_or_as_it_is() -> None:
    sweep = sweep_of({"file": ["cases/a", "cases/b"]})
    assert ids(sweep, "file=a") == ids(sweep, "file=cases/a") == ids(sweep, "a") == ["a"]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("DIM_20", "s has no task 'DIM_20'; did you mean DDIM_20?"),
        ("DDPM*", "s has no task that matches 'DDPM*'; "),
        ("", "s has no task ''; known: DDIM_20, "),
        ("step=50", "'step=50': the matrix has no axis 'step'; did you mean steps?"),
        ("steps=51", "'steps=51': '51' is not a value of steps; known: 20, 50"),
        ("steps=", "'steps=': '' is not a value of steps; known: 20, 50"),
        ("steps=20,sched=DDMI", "'steps=20,sched=DDMI': 'DDMI' is not a value of sched; did you mean DDIM"),
        ("steps=20,DDIM", "'steps=20,DDIM': '20,DDIM' is not a value of steps; "),
        ("steps=20, sched=DDIM", "'steps=20, sched=DDIM': '20, sched=DDIM' is not a value of steps"),
        ("steps=2?,sched=X*", "'steps=2?,sched=X*': 'X*' is not a value of sched; "),
        ("x" * 1000, "s has no task 'xxx"),
    ],
)  # fmt: skip
def test_words_that_mean_nothing(word: str, said: str) -> None:
    with pytest.raises(NoSuchTask) as caught:
        choose(SWEEP, ["DDIM_20", word])
    (only,) = caught.value.problems
    assert only.startswith(said)
    assert len(only) < 300


def test_values_that_no_task_has_together() -> None:
    sweep = Sweep("s", ("a", "b"), (Task("1_1", (1, 1)), Task("2_2", (2, 2))), globbed=(False,) * 2)
    with pytest.raises(NoSuchTask, match=r"'a=1,b=2': no task has all of these values"):
        choose(sweep, ["a=1,b=2"])


def test_every_word_that_means_nothing_is_told() -> None:
    with pytest.raises(NoSuchTask) as caught:
        choose(SWEEP, ["x", "DDIM_20", "y=1"])
    assert len(caught.value.problems) == 2


_TEXTS = st.text("ab=,_", min_size=1, max_size=3)


@given(
    st.lists(_TEXTS, min_size=1, max_size=3, unique=True),
    st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True),
    st.data(),
)
def test_a_task_s_own_values_mean_it(a: list[str], b: list[int], data: st.DataObject) -> None:
    sweep = sweep_of({"n": b, "t": a})
    task = data.draw(st.sampled_from(sweep.tasks))
    word = f"n={task.values[0]},t={task.values[1]}"
    assert ids(sweep, word) == [task.id]


@given(st.text(max_size=12))
def test_any_word_means_tasks_or_is_one_sentence(word: str) -> None:
    try:
        assert ids(SWEEP, word)
    except NoSuchTask as error:
        assert len(error.problems) == 1
