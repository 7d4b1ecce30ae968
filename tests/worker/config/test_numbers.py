"""Numbers of command lines and sweep files: what is read, and what is said of what is none."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.config.units import parse_duration
from worker.commands.main import main
from worker.config import numbers

COMMANDS = {
    "search": ["search", "--pipe", "TINY_SD15", "--sched", "DDIM", "--steps", "4"],
    "plan": ["plan", "--pipe", "TINY_SD15", "--sched", "DDIM"],
    "compare": ["compare", "gt.py", "gen.py"],
    "evaluate": ["evaluate", "gen.py"],
    "judge": ["judge", "case"],
}


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (numbers.COUNT, "7", 7),
        (numbers.COUNT, 7, 7),
        (numbers.TASK_NUMBERS["seed"], "0", 0),
        (numbers.TASK_NUMBERS["seed"], str(2**62), 2**62),
        (numbers.share, "0", 0.0),
        (numbers.share, "1", 1.0),
        (numbers.positive, "1e9", 1e9),
        (numbers.seconds, "0.5", 0.5),
        (numbers.size, "800MiB", 800 * 2**20),
        (numbers.size, "1.5 GiB", 1.5 * 2**30),
        (numbers.percentage, "2%", 0.02),
        (numbers.percentage, " 0.5 % ", 0.005),
        (numbers.percentage, "99.9%", 0.999),
        (numbers.percentage, 0.02, 0.02),
    ],
)
def test_numbers(read, text, value):
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "texts", "words"),
    [
        (numbers.COUNT, ["0", "-1", "+1", "1.5", "x", "", True, "9" * 5000], "whole number from 1"),
        (numbers.COUNT, ["1000001"], "at most 1000000"),
        (numbers.TASK_NUMBERS["seed"], [str(2**62 + 1)], "at most 4611686018427387904"),
        (numbers.share, ["-0.1", "1.1", "nan", "x"], "not a number from 0 to 1"),
        (numbers.positive, ["0", "-1", "inf", "nan", "2e9"], "not a number above 0"),
        (numbers.seconds, ["0", "-1", "1e6", "nan", "1s"], "not a number of seconds"),
        (
            numbers.percentage,
            [
                *("0%", "0.0%", "100%", "1000%", "-2%", "2", "2 percent", "%", "nan%", "٢%", ""),
                *(0.0, 1.0, 2, 0, 1, -0.1, math.nan, math.inf, True, None, [0.1]),
            ],
            "more than 0% and less than 100%, as 2% or 0.02, found ",
        ),
        (numbers.size, ["24", "24GB", "0GiB", "٣GiB"], "not a size such as 24GiB"),
    ],
)
def test_what_is_no_number(read, texts, words):
    for text in texts:
        with pytest.raises(ValueError, match=words):
            read(text)


@given(
    text=st.one_of(
        st.text("0123456789. smhdin", max_size=12),
        st.from_regex(r"(\d{1,5}(\.\d)? ?(ms|s|min|m|h|d) ?){1,3}", fullmatch=True),
        st.sampled_from(["9" * 400 + "s", 30, 1.5, None, True, ["1s"], "٣s", "1h30m"]),
    )
)
def test_both_packages_read_durations_alike(text):
    found = []
    for read in (numbers.duration, parse_duration):
        try:
            found.append(read(text))
        except ValueError as error:
            found.append(str(error))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("command", "flag", "text", "words"),
    [
        ("search", "--steps", "0", "whole number from 1 on, found '0'"),
        ("search", "--num-samples", "x", "whole number from 1 on, found 'x'"),
        ("search", "--batch-size", "9999999", "at most 1000000, found '9999999'"),
        ("search", "--confirm", "-1", "whole number from 0 on, found '-1'"),
        ("plan", "--steps", "0", "whole number from 1 on, found '0'"),
        ("compare", "--tolerance", "2", "'2' is not a number from 0 to 1"),
        ("compare", "--timeout", "0", "'0' is not a number of seconds"),
        ("evaluate", "--target-speedup", "0", "'0' is not a number above 0"),
        ("evaluate", "--max-loss", "1.5", "'1.5' is not a number from 0 to 1"),
        ("evaluate", "--latency", "soon", "'soon' is not a number above 0"),
        ("evaluate", "--seed", "-1", "whole number from 0 on, found '-1'"),
        ("judge", "--repeats", "0", "whole number from 1 on, found '0'"),
        ("judge", "--memory", "24GB", "'24GB' is not a size such as 24GiB"),
    ],
)
def test_a_flag_that_is_no_number(command, flag, text, words, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*COMMANDS[command], flag, text])
    assert ended.value.code == 2
    assert f"argument {flag}: " in (said := capsys.readouterr().err)
    assert words in said
