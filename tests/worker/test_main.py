"""The worker's command line: mistakes get one sentence, and exit code 2 as the scheduler's do."""

from __future__ import annotations

import subprocess
import sys

import pytest

PLAN = ["plan", "--pipe", "SDXL", "--sched", "DDIM", "--steps", "20"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["serch", "--pipe", "SDXL"], "there is no command 'serch'; did you mean search?"),
        (["xyz"], "there is no command 'xyz'; Known: answers, check, compare, "),
        ([*PLAN, "--serch=x"], "there is no option '--serch'; did you mean --search?"),
        (["judge", "case", "another"], "too many arguments: another"),
    ],
)
def test_usage_errors_end_with_2(words: list[str], said: str) -> None:
    ended = subprocess.run([sys.executable, "-m", "worker", *words], capture_output=True, text=True)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_help_names_every_command() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "worker", "--help"], capture_output=True, text=True, check=True
    )
    assert "usage: python -m worker [-h] COMMAND ..." in ended.stdout
    for command in ("search", "plan", "check", "compare", "evaluate", "judge"):
        assert f"\n    {command} " in ended.stdout
