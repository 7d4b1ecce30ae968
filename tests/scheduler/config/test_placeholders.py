"""What is written in a sweep file is what arrives, but for what is filled in."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.config.placeholders import (
    UnsetVariable,
    as_text,
    expand_home,
    expand_variables,
    fill,
    names_in,
    unexpanded,
)

VALUES = {"steps": 20, "fast": True, "pipe": "SDXL"}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{steps} {pipe}", "20 SDXL"),
        ("{fast}", "true"),
        ("{{steps}}", "{steps}"),
        ("{{{steps}}}", "{20}"),
        ("{{{{steps}}}}", "{{steps}}"),
        ('{"unet": {"steps": {steps}}}', '{"unet": {"steps": 20}}'),
        ('{"a": {"b": [{"c": {}}]}}', '{"a": {"b": [{"c": {}}]}}'),
        ("{{.State}} {{ .Name }} {% if %}", "{{.State}} {{ .Name }} {% if %}"),
        ("{{range .X}}{{.Y}}{{end}} {{steps}}", "{{range .X}}{{.Y}}{{end}} {steps}"),
        ("{% if x %}{{title}}{% endif %}", "{% if x %}{{title}}{% endif %}"),
        ("${{HOME}} ${x:-1} }} {{", "${HOME} ${x:-1} }} {{"),
        (r"\frac{{{steps}}}{2, 3} {} {a b}", r"\frac{20}{2, 3} {} {a b}"),
        ("{{steps} {steps}}", "{20 20}"),
    ],
)
def test_fill(text: str, filled: str) -> None:
    assert fill(text, VALUES) == filled


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_json_arrives_as_it_is(data: object) -> None:
    """Where no name stands alone in braces, which JSON never does but inside its texts."""
    text = json.dumps(data)
    if not list(names_in(text)) and "{{" not in text:
        assert fill(text, {}) == text


@given(st.text(alphabet="{}ab ", max_size=20))
def test_names_in_are_those_that_are_filled(text: str) -> None:
    values = dict.fromkeys(names_in(text), "-")
    filled = fill(text, values)
    assert filled.count("-") == len(list(names_in(text)))


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("~/cache", "/home/me/cache"),
        ("~", "/home/me"),
        ("~/bin:$PATH:~/lib", "/home/me/bin:/usr/bin:/bin:/home/me/lib"),
        ("${PATH}x", "/usr/bin:/binx"),
        ("a~/b x:y~", "a~/b x:y~"),
        ("$$PATH costs 5$ or $5", "$PATH costs 5$ or $5"),
        ("$TILDE", "~/not looked at again"),
    ],
)
def test_variables(text: str, expanded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    environment = {"PATH": "/usr/bin:/bin", "TILDE": "~/not looked at again"}
    assert expand_variables(text, environment) == expanded


def test_a_variable_that_is_not_set() -> None:
    with pytest.raises(UnsetVariable, match="CUDA_HOME"):
        expand_variables("$CUDA_HOME/bin", {})


@pytest.mark.parametrize(
    ("text", "left"),
    [("$A ${B} $$(x) $1", None), ("a ${B:-c}", "${B:-c}"), ("$(nproc)", "$(nproc)")],
)
def test_what_only_a_shell_expands(text: str, left: str | None) -> None:
    assert unexpanded(text) == left


def test_a_home_folder_begins_a_word() -> None:
    assert expand_home("~/x") == os.path.expanduser("~/x")
    assert expand_home("a ~/x") == "a ~/x"


def test_true_and_false_are_written_as_yaml_does() -> None:
    assert [as_text(value) for value in (True, False, 1, "True")] == ["true", "false", "1", "True"]
