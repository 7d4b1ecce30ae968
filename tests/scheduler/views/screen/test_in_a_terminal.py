"""The live screen and `status --watch` in a real terminal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator

import pytest
from rich.cells import cell_len

from tests.helpers.fake_nvml import NOT_SUPPORTED, FakeNvml
from tests.helpers.sweep_runner import SweepRunner
from tests.helpers.tmux import Tmux

if shutil.which("tmux") is None:
    pytest.skip("no tmux to look at a terminal with", allow_module_level=True)

PROGRESS = "print progress: 3 of 9 configurations, 16 of 64 images; print \x1b[31mred; gate; ok"
Open = Callable[[int, int], Tmux]


@pytest.fixture
def terminal(runner: SweepRunner) -> Iterator[Open]:
    opened: list[Tmux] = []

    def open_one(columns: int, lines: int) -> Tmux:
        opened.append(Tmux(runner.folder, columns, lines, runner.environment))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def command(runner: SweepRunner, *words: str) -> list[str]:
    return [sys.executable, "-m", "scheduler", *words, str(runner.file), "--root", str(runner.root)]


@pytest.fixture
def gpus(runner: SweepRunner, fake_nvml: FakeNvml) -> FakeNvml:
    runner.environment.update(fake_nvml.environment())
    return fake_nvml


@pytest.mark.parametrize(("columns", "lines"), [(60, 15), (100, 30), (200, 60)])
def test_a_row_for_each_gpu_at_any_size(
    runner: SweepRunner, gpus: FakeNvml, terminal: Open, columns: int, lines: int
) -> None:
    gpus.gpus(2, utilization=97, power=412_000, temperature=63)
    gpus.set(1, fails={"nvmlDeviceGetPowerUsage": NOT_SUPPORTED})
    long = "SDXL_DPMSolverMultistep_of_a_long_name_50"
    script = {"a": PROGRESS, long: PROGRESS, "c": "ok"}
    runner.write(script, devices={"idle_for": "0s", "max_utilization": 100})
    screen = terminal(columns, lines)
    screen.run(command(runner))
    gates = [runner.reach_gate("a"), runner.reach_gate(long)]
    row = "97%.*36% 3/9 16/64"
    shown = screen.wait_for(
        f"GPU 0 .*{row}",
        f"GPU 1 .*{row}",
        "0/3 .* 2 run.* 1 wait.* left",  # by the pace of what runs
    )
    assert len(shown) <= lines
    assert all(cell_len(line) <= columns for line in shown)
    (first,) = (line for line in shown if line.startswith("GPU 0"))
    (second,) = (line for line in shown if line.startswith("GPU 1"))
    if columns >= 100:
        assert ("412W" in first, "63°C" in first, long in second) == (True, True, True)
        assert ("412W" in second, "–" in second) == (False, True)
    else:
        assert "SDXL" in second
        assert "_50" in second
    for open_gate in gates:
        open_gate()
    screen.wait_for("^over 0$")
    assert screen.is_as_it_was()


def test_ctrl_c_gives_the_terminal_back(runner: SweepRunner, terminal: Open) -> None:
    runner.write({"a": "gate; ok"}, devices={"cpu_slots": 1})
    screen = terminal(80, 24)
    screen.run(command(runner))
    runner.reach_gate("a")
    screen.wait_for("0/1 completed")
    screen.press("C-c")
    screen.wait_for("Ctrl-C again stops")
    screen.press("C-c")
    screen.wait_for("^over 130$")
    assert screen.is_as_it_was()


def test_a_crash_gives_the_terminal_back(runner: SweepRunner, terminal: Open) -> None:
    runner.write({"a": "gate; ok"}, devices={"cpu_slots": 1})
    code = (
        "import scheduler.views.screen.picture as p, sys\n"
        "whole, turns = p.Picture.draw, iter(range(9))\n"
        "p.Picture.draw = lambda *a, **k: whole(*a, **k) if next(turns) < 2 else 1 / 0\n"
        "from scheduler.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    screen = terminal(80, 24)
    screen.run([sys.executable, "-c", code, *command(runner)[3:]])
    runner.reach_gate("a")
    screen.wait_for("ZeroDivisionError")
    screen.wait_for("^over 1$")
    assert screen.is_as_it_was()


def test_a_terminal_of_another_size_holds_no_rows_of_before(
    runner: SweepRunner, terminal: Open
) -> None:
    runner.write({"a": "gate; ok", "b": "exit 2"}, devices={"cpu_slots": 1})
    screen = terminal(100, 30)
    screen.run(command(runner))
    open_gate = runner.reach_gate("a")
    screen.wait_for("0/2 completed")
    screen.resize(70, 20)
    open_gate()
    shown = screen.wait_for("^over 1$")
    assert sum("0/2 completed" in line for line in shown) == 0
    assert any("b: failed for good" in line for line in shown)  # it lasts


def test_status_is_kept_on_the_screen(runner: SweepRunner, terminal: Open) -> None:
    runner.write({"a": PROGRESS, "b": "print why; exit 2", "c": "ok"}, devices={"cpu_slots": 1})
    runner.script({"b": "print why; exit 2"})
    screen = terminal(80, 24)
    screen.run(command(runner, "status", "--watch"))
    screen.wait_for("no dispatcher runs")
    runner.script({"a": PROGRESS, "b": "print why; exit 2", "c": "ok"})
    running = runner.start()
    open_gate = runner.reach_gate("a")
    screen.wait_for("cpu:0 .*36% 3/9 16/64", "a dispatcher runs")
    open_gate()
    assert running.end().code == 1
    screen.wait_for("failed: b: exit code 2: why")
    screen.press("C-c")
    shown = screen.wait_for("^over 130$")
    assert screen.is_as_it_was()
    assert not any("completed" in line for line in shown)


def test_no_terminal_is_watched(runner: SweepRunner) -> None:
    runner.write({"a": "ok"})
    ended = runner.run("status", runner.file, "--watch")
    said = "--watch redraws a terminal, and standard output is none; leave it out\n"
    assert (ended.code, ended.out, ended.err) == (2, "", said)
