"""`python -m worker search`: mistakes get one sentence."""

import subprocess

import pytest

from tests.helpers.tiny_task import COMMAND


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        ("--pipe SDLX --sched DDIM --steps 4", 2, "did you mean SDXL"),
        ("--pipe TINY_SD15 --sched DDMI --steps 4", 2, "did you mean DDIM"),
        ("--pipe TINY_SD15 --sched PNDM --steps 1", 2, "takes 2 to 999 steps"),
        ("--pipe TINY_SD15 --sched DDIM --steps 0", 2, "whole number from 1 on"),
        ("--pipe TINY_SD15 --sched DDIM --steps 4 --search nowhere.yaml", 2, "cannot be read"),
    ],
)
def test_mistakes_get_one_sentence(tmp_path, flags, code, words):
    done = subprocess.run(
        [*COMMAND, *flags.split(), "--results", str(tmp_path / "r.jsonl")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr
