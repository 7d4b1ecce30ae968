"""Tables on terminals of every width: what does not fit beside the rest stands below it, and none is lost."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from scheduler.views.tables import TaskTable

CAUSE = "best is DeepCache 3/0; biased: the baseline with other seeds came out at 1.07 [1.05, 1.09]"
CELLS = ("completed", "1", "cpu:0", "1 min 03 s", "1.78×?", "+0.63%?")


def printed(width: int, *rows: tuple[str, ...]) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, highlight=False, markup=False, emoji=False)
    console.print(TaskTable([tuple(map(Text, row)) for row in rows]))
    text = file.getvalue()
    assert all(cell_len(line) <= width for line in text.splitlines())
    return text


@pytest.mark.parametrize("width", [50, 60, 80, 100, 120, 121, 180])
def test_a_conclusion_is_whole_on_a_terminal_of_any_width(width: int) -> None:
    names = ("SHAPES_SD15_DDIM_6", "SHAPES_SDXL_DDIM_12")
    text = printed(width, (names[0], *CELLS, CAUSE), (names[1], *CELLS, ""))
    assert "…" not in text
    words = text.split()
    assert [word for word in words if word in CAUSE.split()] == CAUSE.split()
    for cell in ("completed", "1.78×?", "+0.63%?"):
        assert words.count(cell) == 2
    below = f"\n{names[0]}: best is DeepCache" in text
    assert below == (width < 121)
    assert f"{names[1]}:" not in text, "there is nothing to be said of it"


@pytest.mark.parametrize(("width", "shown"), [(78, True), (77, False)])
def test_what_matters_least_gives_way_first(width: int, shown: bool) -> None:
    text = printed(width, ("SHAPES_SD15_DDIM_6", *CELLS, ""))
    assert ("cpu:0" in text) == ("attempts" in text) == shown
    assert "SHAPES_SD15_DDIM_6  completed" in text


def test_a_short_cause_needs_little_room() -> None:
    (_, line) = printed(90, ("SD15_DDIM_6", *CELLS, "disk full")).splitlines()
    assert line.split()[-2:] == ["disk", "full"]
