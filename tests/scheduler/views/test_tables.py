"""Tables on terminals of every width: what does not fit beside the rest stands below it, and none is lost."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from scheduler.views.tables import TaskTable

CAUSE = "best is DeepCache 3/0; biased: the baseline with other seeds came out at 1.07 [1.05, 1.09]"
BEST = "DeepCache 3/0"
CELLS = ("completed", "1", "cpu:0", "1 min 03 s", BEST, "1.78×?", "+0.63%?")


def printed(width: int, *rows: tuple[str, ...]) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, highlight=False, markup=False, emoji=False)
    console.print(TaskTable([tuple(map(Text, row)) for row in rows]))
    text = file.getvalue()
    assert all(cell_len(line) <= width for line in text.splitlines())
    return text


@pytest.mark.parametrize("width", [60, 80, 100, 120, 136, 180])
def test_a_conclusion_is_whole_on_a_terminal_of_any_width(width: int) -> None:
    names = ("SHAPES_SD15_DDIM_6", "SHAPES_SDXL_DDIM_12")
    text = printed(width, (names[0], *CELLS, CAUSE), (names[1], *CELLS, ""))
    assert ("…" in text) == (width == 60), "but for names"
    words = text.split()
    assert CAUSE in " ".join(words)
    for cell in ("completed", "1.78×?", "+0.63%?"):
        assert words.count(cell) == 2
    below = f"\n{names[0]}: best is DeepCache" in text
    assert below == (width < 136)
    assert f"{names[1]}:" not in text, "there is nothing to be said of it"


@pytest.mark.parametrize(("width", "shown"), [(93, True), (92, False)])
def test_what_matters_least_gives_way_first(width: int, shown: bool) -> None:
    text = printed(width, ("SHAPES_SD15_DDIM_6", *CELLS, ""))
    assert ("cpu:0" in text) == ("attempts" in text) == shown
    assert "SHAPES_SD15_DDIM_6  completed" in text


def test_a_short_cause_needs_little_room() -> None:
    (_, line) = printed(105, ("SD15_DDIM_6", *CELLS, "disk full")).splitlines()
    assert line.split()[-2:] == ["disk", "full"]


LONG = "stabilityai-stable-diffusion-xl-base-1.0-DDIM-{}"


@pytest.mark.parametrize("width", [60, 80])
def test_long_names_give_way_from_their_middle_and_nothing_else_does(width: int) -> None:
    best = "DeepCache 3/0 + T-GATE 10"
    cells = (*CELLS[:4], best, *CELLS[5:])
    failed = ("failed", "3", "cpu:0", "2 s", "", "", "")
    text = printed(
        width, (LONG.format(12), *cells, ""), (LONG.format(25), *failed, "exit code 1: out of disk")
    )
    lines = text.splitlines()
    first = next(line for line in lines if "completed" in line)
    assert first.startswith("stab")
    assert "…" in first
    assert "M-12 " in first
    assert first.split()[-2:] == ["1.78×?", "+0.63%?"]
    words = text.split()
    assert [word for word in words if word in best.split()] == best.split()
    assert f"{LONG.format(25)}: exit code 1: out of disk" in " ".join(words)


def test_where_no_worker_names_a_best_there_is_no_column_of_it() -> None:
    text = printed(90, ("SD15_DDIM_6", *CELLS[:4], "", "", "", ""))
    assert "best" not in text
