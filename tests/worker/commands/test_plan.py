"""`python -m worker plan`: what would be measured, and what is wrong with a search file."""

import os
import subprocess
import sys

import pytest

from worker.commands.main import main

PLAN = [sys.executable, "-m", "worker", "plan", "--pipe", "SDXL", "--sched", "DDIM", "--steps"]


def test_plan_says_what_is_left_out():
    done = subprocess.run([*PLAN, "10"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "candidate  T-GATE 4" in done.stdout
    done = subprocess.run([*PLAN, "1"], capture_output=True, text=True)
    assert "so it is measured as 'baseline'" in done.stdout


@pytest.mark.parametrize("command", [["--help"], ["plan", "--help"], [*PLAN[3:], "10"]])
def test_a_reader_that_has_seen_enough(command):
    """As `python -m worker … | head`: no traceback."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [*PLAN[:3], *command], stdout=write_end, stderr=subprocess.PIPE, env=environment, text=True
    )
    os.close(write_end)
    assert "Traceback" not in done.stderr, done.stderr
    assert "BrokenPipe" not in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "max_loss: 0.05\nmax_loss: 0.5",
            "line 2: duplicate key 'max_loss'; it is on line 1 already",
        ),
        ("max_loss: 2020-13-45", "search.max_loss: "),
        (f"seed: {'9' * 5000}", "line 1: seed: 9999"),
        ("[" * 300, "line 1: is nested more than 100 levels deep"),
    ],
)
def test_what_is_wrong_with_a_search_file(tmp_path, capsys, text, words):
    (tmp_path / "search.yaml").write_text(text)
    flags = ["--pipe", "TINY_SD15", "--sched", "DDIM", "--steps", "4"]
    assert main(["plan", *flags, "--search", str(tmp_path / "search.yaml")]) == 2
    assert words in capsys.readouterr().err


def test_a_sweep_file_without_a_search_section_has_the_defaults(tmp_path, capsys):
    (tmp_path / "sweep.yaml").write_text("matrix: {pipe: [SD15]}")
    flags = ["--pipe", "TINY_SD15", "--sched", "DDIM", "--steps", "4"]
    assert main(["plan", *flags, "--search", str(tmp_path / "sweep.yaml")]) == 0
    assert "candidate  DeepCache 2/0" in capsys.readouterr().out


def test_a_plan_that_cannot_be_run_is_none(tmp_path, capsys):
    (tmp_path / "search.yaml").write_text("weights: random")
    flags = ["--pipe", "TINY_SD15", "--sched", "DDIM", "--steps", "4"]
    assert main(["plan", *flags, "--search", str(tmp_path / "search.yaml")]) == 2
    said = capsys.readouterr()
    assert "search.weights" in said.err
    assert said.out == ""
