"""How axes and arguments become words, so that any worker understands them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scheduler.config.loader import SweepError, read_sweep
from scheduler.config.spelling import Spelling, parse_spelling
from scheduler.config.sweep import Sweep
from tests.helpers.sweep_runner import SweepRunner

ARGS = {"batch_size": 8, "fast": True, "slow": False, "sizes": [1, 2], "name": "a b"}


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--a-b", ["--batch-size", "8", "--fast", "--sizes", "1", "2", "--name", "a b"]),
        ("--a_b", ["--batch_size", "8", "--fast", "--sizes", "1", "2", "--name", "a b"]),
        ("a=b", ["batch_size=8", "fast=true", "slow=false", "sizes=[1,2]", "name=a b"]),
        (
            "--{name}={value}",
            ["--batch_size=8", "--fast=true", "--slow=false", "--sizes=[1,2]", "--name=a b"],
        ),
        (
            "-D {name} {value}",
            [
                *["-D", "batch_size", "8", "-D", "fast", "-D", "sizes", "1", "2", "-D", "name"],
                "a b",
            ],
        ),
        ("{value}", ["8", "true", "false", "1", "2", "a b"]),
    ],
)
def test_words(option: str, words: list[str]) -> None:
    spelling = parse_spelling(option)
    assert [word for name, value in ARGS.items() for word in spelling.words(name, value)] == words


def test_flags_that_are_there_or_not() -> None:
    spelling = parse_spelling("{name}={value}", "--{name}", "--no-{dashed}")
    assert [spelling.words("a_b", value) for value in (True, False, 1)] == [
        *(["--a_b"], ["--no-a-b"], ["a_b=1"])
    ]
    assert parse_spelling("--a_b", if_false="").words("x", False) == []
    assert parse_spelling("--a-b") == Spelling()


def read(folder: Path, worker: dict[str, Any], **more: Any) -> Sweep:
    path = folder / "s.yaml"
    matrix = {"lr": [0.1], "use_ema": [True], "seed": [1]}
    path.write_text(json.dumps({"matrix": matrix, "worker": worker, **more}))
    return read_sweep(path)


def words(sweep: Sweep, **overrides: Any) -> list[str]:
    return sweep.argv(sweep.tasks[0], overrides, "R", "S")


def test_axes_that_the_command_does_not_name_are_spelt_too(tmp_path: Path) -> None:
    worker = {"command": ["train", "lr={lr}"], "args": {"out": "x/{seed}"}, "spelling": "a=b"}
    assert words(read(tmp_path, worker)) == ["train", "lr=0.1", "use_ema=true", "out=x/1"]
    del worker["spelling"]
    assert words(read(tmp_path, worker)) == ["train", "lr=0.1", "--out", "x/1"]


def test_the_default_command_in_another_spelling(tmp_path: Path) -> None:
    sweep = read(tmp_path, {"args": {"a_b": 1}, "spelling": "--a_b"})
    assert words(sweep)[4:] == ["--lr", "0.1", "--use_ema", "--seed", "1", "--a_b", "1"]


def test_an_argument_that_the_command_names_is_filled_in_there(tmp_path: Path) -> None:
    worker = {
        "command": ["train", "optim.bs={bs}", "{sizes}", "{seed}"],
        "args": {"bs": 8, "sizes": [1, 2], "seed": 3, "n": 1},
    }
    sweep = read(tmp_path, worker, retries={"on_oom": {"bs": "halve"}})
    # An axis goes before an argument of that name, as it always has.
    assert words(sweep, bs=4) == ["train", "optim.bs=4", "[1,2]", "1", "--seed", "3", "--n", "1"]
    assert sweep.spec(sweep.tasks[0], {"bs": 4}, "", "")["args"]["bs"] == 4


def test_completions_answer_for_the_spelling_only_where_one_is_given(tmp_path: Path) -> None:
    before = read(tmp_path, {"command": ["x"], "args": {"a_b": 1}})
    today = read(tmp_path, {"command": ["x"], "args": {"a_b": 1}, "spelling": "--a_b"})
    assert before.digest(before.tasks[0]) != today.digest(today.tasks[0])
    assert before.fingerprint != today.fingerprint
    assert "spelling" not in before.settings
    assert today.settings["spelling"]["option"] == ("--{name}", "{value}")


@pytest.mark.parametrize(
    ("worker", "said"),
    [
        ({"spelling": "--x"}, "worker.spelling: '--x' has no {value}; write --a-b, --a_b, a=b, or a t"),
        ({"spelling": "--{nam} {value}"}, "worker.spelling: nothing fills {nam} here; did you mean name"),
        ({"spelling": {"option": "a=b", "if_true": "{value}"}}, "worker.spelling: nothing fills {value}"),
        ({"spelling": {"if_true": "x"}}, "worker.spelling.option: is missing; it is a template"),
        ({"spelling": {"options": "a=b"}}, "worker.spelling.options: unknown key; did you mean option?"),
        ({"spelling": 3}, "worker.spelling: must be text, not 3"),
        ({"args": {"seed": 1}, "spelling": "a=b"}, "worker.args.seed: matrix.seed gives seed= already"),
        ({"args": {"a_b": 1, "a-b": 2}}, "worker.args.a-b: worker.args.a_b gives --a-b already"),
        ({"command": ["x", "{bs}"], "args": {"b": 1}}, "worker.command[1]: no axis fills {bs}; "),
    ],
)  # fmt: skip
def test_what_cannot_be_spelt(tmp_path: Path, worker: dict[str, Any], said: str) -> None:
    with pytest.raises(SweepError) as caught:
        read(tmp_path, worker)
    assert any(problem.startswith(said) for problem in caught.value.problems), caught.value.problems


def test_names_that_differ_only_in_their_dashes_are_two_where_both_are_as_written(
    tmp_path: Path,
) -> None:
    worker = {"command": ["x"], "args": {"a_b": 1, "a-b": 2}, "spelling": "--a_b"}
    assert words(read(tmp_path, worker))[-4:] == ["--a_b", "1", "--a-b", "2"]


@pytest.mark.parametrize(
    ("worker", "option"),
    [
        ({"spelling": "--a_b"}, "--train_batch_size 8"),
        ({"spelling": "a=b"}, "train_batch_size=8"),
        ({"command": ["optim.bs={train_batch_size}"]}, "optim.bs=8"),
    ],
)
def test_out_of_memory_halves_the_argument_of_any_worker(
    runner: SweepRunner, worker: dict[str, Any], option: str
) -> None:
    script = runner.folder / "train.sh"
    script.write_text(
        'echo "given: $*"\n'
        f'case "$*" in *"{option}"*) echo "torch.OutOfMemoryError: CUDA out of memory."; exit 1;; esac\n'
        "echo Successfully completed\n"
    )
    command = ["sh", str(script), *worker.get("command", [])]
    section = {"args": {"train_batch_size": 8}, **worker, "command": command}
    sweep = {"matrix": {"x": [1]}, "worker": section, "devices": {"cpu_slots": 1}}
    sweep["retries"] = {"backoff": "1ms", "on_oom": {"train_batch_size": "halve"}}
    runner.file.write_text(json.dumps(sweep))
    assert runner.run().code == 0
    assert option.replace("8", "4") in runner.log("1")
    assert len(runner.done("1")["attempts"]) == 2
