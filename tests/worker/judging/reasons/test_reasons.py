"""Reasons: their templates in both languages, where the code gives them, and that none decides."""

from __future__ import annotations

import ast
import string
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeGuard

import pytest
import yaml

from worker.judging.field_diff import WEIGHTS, FieldMatch, Relaxed, compare
from worker.judging.reasons.codes import Why
from worker.judging.reasons.texts import TEMPLATES, text
from worker.judging.static.extract import extract

ROOT = Path(__file__).resolve().parents[4]
PROGRAMS = yaml.safe_load((ROOT / "tests/worker/judging/static/programs.yaml").read_text())
LOADED = """\
from diffusers import DDIMScheduler, StableDiffusionPipeline
import torch
pipe = StableDiffusionPipeline.from_pretrained("stable-diffusion-v1-5/stable-diffusion-v1-5")
"""


def gaps(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}


@pytest.mark.parametrize("language", TEMPLATES)
def test_a_language_has_a_template_for_every_code_and_nothing_else(language: str) -> None:
    assert set(TEMPLATES[language]) == set(Why)


@pytest.mark.parametrize("language", TEMPLATES)
def test_a_template_has_the_gaps_that_its_code_declares(language: str) -> None:
    wrong = {
        code.name: (template, code.gaps)
        for code, template in TEMPLATES[language].items()
        if gaps(template) != set(code.gaps)
    }
    assert wrong == {}


def test_no_two_codes_say_the_same_in_one_language_only() -> None:
    said: dict[str, set[str]] = {}
    for code, template in TEMPLATES["en"].items():
        said.setdefault(template, set()).add(TEMPLATES["zh"][code])
    assert {english for english, chinese in said.items() if len(chinese) > 1} == set()


def is_code(node: ast.expr) -> TypeGuard[ast.Attribute]:
    return isinstance(node, ast.Attribute) and ast.unparse(node.value) == "Why"


def uses() -> Iterator[tuple[str, ast.expr]]:
    """Yield every ``Why.CODE(…)`` and ``Why.CODE`` in the package that is not only compared with."""
    files = [file for file in (ROOT / "worker").rglob("*.py") if file.parent.name != "reasons"]
    for file in files:
        nodes = list(ast.walk(ast.parse(file.read_text())))
        taken = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
        taken |= {
            id(code) for node in nodes if isinstance(node, ast.Compare) for code in node.comparators
        }
        for node in nodes:
            if isinstance(node, ast.Call) and is_code(node.func):
                yield node.func.attr, node
            elif isinstance(node, ast.Attribute) and is_code(node) and id(node) not in taken:
                yield node.attr, node


def test_every_code_is_given_somewhere() -> None:
    assert {code.name for code in Why} == {name for name, _ in uses()}


def test_every_reason_is_given_the_arguments_that_its_code_declares() -> None:
    wrong = []
    for name, call in uses():
        given: list[str | None] = []  # of a code in a table
        if isinstance(call, ast.Call):
            given = [keyword.arg for keyword in call.keywords] + ["because"] * bool(call.args)
        if set(given) != set(Why[name].gaps):
            wrong.append(f"{name}: {ast.unparse(call)}")
    assert wrong == []


def test_nested_reasons_are_translated_whole() -> None:
    inner = Why.MAY_BE_CHANGED(Why.EFFECT(function="patch"))
    reason = Why.ENTRIES(
        Why.ENTRY(Why.DEPENDS_ON(inner), key="steps"),
        Why.ENTRY(Why.OFF_BY(difference=0.25), key="interval"),
        Why.ENTRY(Why.ENTRIES(Why.ENTRY(Why.MISSING(), key="ratio")), key="tome"),
    )
    assert text(reason) == (
        "steps: depends on may be changed by what patch does; interval: off by 25%; "
        "tome: ratio: missing"
    )
    assert text(reason, "zh") == (
        "steps：取决于可能被patch 的作用改变；interval：相差 25%；tome：ratio：缺少"
    )


def test_arguments_are_text_even_where_they_look_like_a_template_or_a_reason() -> None:
    reason = Why.FILE_FAILS(Why.HAS_NO_ATTRIBUTE(cls="{because}", name="a list; missing"))
    assert text(reason, "zh") == "文件运行时会出错：{because} 没有属性 a list; missing"


def test_a_chain_longer_than_the_interpreter_can_descend_has_a_text() -> None:
    links = 3 * sys.getrecursionlimit()
    reason = Why.HOME()
    for _ in range(links):
        reason = Why.MAY_BE_CHANGED(reason)
    assert text(reason) == "may be changed by " * links + "the user's home"
    assert len(repr(reason)) < 1_000


def test_a_condition_on_a_condition_is_not_named_again() -> None:
    program = LOADED + (
        "import mine\n"
        "fast = 0\n"
        "if mine.FAST:\n"
        "    fast = 1\n"
        "steps = 20\n"
        "if fast:\n"
        "    steps = 30\n"
        "pipe('a', num_inference_steps=steps)\n"
    )
    why = extract(program.encode()).fields["steps"].why
    assert text(why) == "depends on mine.FAST, which is set elsewhere"


def test_an_attribute_named_depends_is_no_condition() -> None:
    program = LOADED + "steps = 20\nif mine.depends:\n    steps = 30\n"
    program = "import mine\n" + program + "pipe('a', num_inference_steps=steps)\n"
    why = extract(program.encode()).fields["steps"].why
    assert text(why) == "depends on mine.depends, which is set elsewhere"


def answers() -> list[FieldMatch]:
    """Compare every small program with the next; return all but the values, which differ by id."""
    programs = [LOADED + entry["program"] for entry in PROGRAMS["after_loading"].values()]
    found = [extract(program.encode()) for program in programs]
    return [
        replace(item, expected=None, found=None)
        for left, right in zip(found, [*found[1:], found[0]], strict=True)
        for item in compare(left, right, Relaxed(0.05, WEIGHTS))
    ]


def test_a_reworded_template_changes_no_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    before = answers()
    assert {item.match for item in before} == {True, False, None}
    for code in Why:
        said = f"depends {code.name.lower()}" if code is not Why.DEPENDS_ON else ""
        monkeypatch.setitem(TEMPLATES["en"], code, said)
    assert answers() == before


def test_unknown_values_with_the_same_reason_need_not_be_the_same() -> None:
    load = "from diffusers import DiffusionPipeline\nimport mine\n"
    program = load + "pipe = DiffusionPipeline.from_pretrained(mine.model())\npipe('a')\n"
    findings = extract(program.encode())
    matches = {item.field: item.match for item in compare(findings, extract(program.encode()))}
    assert matches["model_id"] is None
    assert matches["height"] is None


def test_an_unknown_value_finds_no_member_of_an_enum() -> None:
    program = LOADED + (
        "from enum import Enum\n"
        "import mine\n"
        "class Steps(Enum):\n"
        "    FEW = mine.count()\n"
        "    MANY = 50\n"
        "pipe('a', num_inference_steps=Steps(mine.count()).value)\n"
    )
    why = extract(program.encode()).fields["steps"].why
    assert text(why) == "a member of Steps"
    known = program.replace("Steps(mine.count())", "Steps(50.0)")
    assert extract(known.encode()).fields["steps"] == 50
