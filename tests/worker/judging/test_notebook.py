"""Notebooks and their lines, read as Python; what cannot be followed is never taken for nothing."""

from __future__ import annotations

import ast
import json

import pytest

from worker.judging.fields import FIELDS
from worker.judging.notebook import UNKNOWN_CODE, UNKNOWN_VALUE, without_magics
from worker.judging.source import SourceError, parse
from worker.judging.static.extract import extract
from worker.judging.static.values import Unknown

LOAD = "from diffusers import StableDiffusionPipeline as P\npipe = P.from_pretrained('a/b')\n"
CALL = "pipe('a', num_inference_steps=20)"


def notebook(
    *cells: str, counts: list[int | None] | None = None, language: str = "python"
) -> bytes:
    numbers = counts or [None] * len(cells)
    return json.dumps(
        {
            "nbformat": 4,
            "metadata": {"language_info": {"name": language}},
            "cells": [
                {"cell_type": "markdown", "source": ["# not code"]},
                *(
                    {
                        "cell_type": "code",
                        "source": cell.splitlines(keepends=True),
                        "execution_count": number,
                    }
                    for cell, number in zip(cells, numbers, strict=True)
                ),
            ],
        }
    ).encode()


@pytest.mark.parametrize(
    ("line", "plain"),
    [
        ("!pip install -q diffusers", "pass"),
        ("    !nvidia-smi", "    pass"),
        ("%matplotlib inline", "pass"),
        ("%time image = pipe('a')", "image = pipe('a')"),
        ("%timeit -n 1 -r 1 pipe('a')", "pipe('a')"),
        ("%%time", ""),
        ("%env TOKEN=x", "import os; os.environ['TOKEN'] = 'x'"),
        ("%run other.py", UNKNOWN_CODE),
        ("names = !ls", f"names = {UNKNOWN_VALUE}"),
        ("pipe?", "pass"),
        ("??pipe.unet", "pass"),
        ("x = 5 % 3", "x = 5 % 3"),
        ("x = '%s' % 'a'", "x = '%s' % 'a'"),
        ("x != 3", "x != 3"),
    ],
)
def test_a_line(line: str, plain: str) -> None:
    assert without_magics(line) == plain
    ast.parse("if True:\n" + plain if plain.startswith(" ") else plain)


def test_lines_inside_of_a_statement_stay_as_they_are() -> None:
    text = (
        "x = '''\n!pip\n%time\n'''\ny = (5\n% 3)\nz = 5 \\\n% 3\ns = \"it's\"\n!echo \"it's\nw = 1"
    )
    assert without_magics(text) == text.replace("!echo \"it's", "pass")


def test_a_command_over_several_lines_is_dropped_as_a_whole() -> None:
    assert without_magics("!pip install \\\n  diffusers\nx = 1") == "pass\n\nx = 1"


def test_a_cell_of_another_language_is_dropped() -> None:
    text = "x = 1\n%%bash\nfor f in *; do echo; done\n# In[3]:\ny = 2"
    assert without_magics(text) == "x = 1\n\n\n# In[3]:\ny = 2"


def test_code_cells_are_read_in_their_order() -> None:
    file = notebook(LOAD, "%%capture\n" + CALL, "%%bash\nrm x", counts=[1, 2, 5])
    assert extract(file).fields["steps"] == 20


def test_cells_that_were_run_in_another_order_leave_everything_unknown() -> None:
    findings = extract(notebook(LOAD, CALL, counts=[2, 1]))
    assert all(isinstance(findings.fields[name], Unknown) for name in FIELDS)
    assert findings.notes


def test_what_a_magic_of_an_unknown_kind_does_is_not_known() -> None:
    findings = extract(f"{LOAD}%accelerate pipe\n{CALL}\n".encode())
    assert isinstance(findings.fields["accelerators"], Unknown)


def test_a_notebook_in_another_language_is_refused() -> None:
    with pytest.raises(SourceError, match="a notebook in julia"):
        parse(notebook("x = 1", language="julia"))


def test_a_dictionary_that_begins_a_file_is_no_notebook() -> None:
    assert parse(b'{"nbformat": x}\n')
