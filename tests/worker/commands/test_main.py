"""What every command of the worker does with its words."""

import pytest

from worker.commands.main import understand


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("compare a.py b.py --tolerance -5%", "'-5%' is not a number from 0 to 1"),
        ("evaluate a.py --max-loss -inf", "'-inf' is not a number from 0 to 1"),
        ("judge case --timeout -5s", "'-5s' is not a number of seconds"),
        ("plan --pipe SDXL --sched DDIM --steps -1e3", "from 1 on, found '-1e3'"),
    ],
)
def test_a_negative_value_is_answered_like_any_other_bad_one(words, said, capsys):
    with pytest.raises(SystemExit, match="2"):
        understand(words.split())
    assert said in capsys.readouterr().err
