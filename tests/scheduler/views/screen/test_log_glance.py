"""What the end of a running task's log tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from scheduler.views.screen.log_glance import LogGlance, glance_at


@pytest.mark.parametrize(
    ("progress", "share", "short"),
    [
        ("", None, ""),
        ("loading", None, ""),
        ("12 of 100 epochs", 0.12, "12/100"),
        ("3 of 9 configurations, 16 of 64 images", (3 + 16 / 64) / 9, "3/9 16/64"),
        ("9 of 9 configurations, 64 of 64 images", 1.0, "9/9 64/64"),
        ("5 of 0 things, 7 of 3 others", None, ""),
        ("99999999999999999999 of 99999999999999999999", None, ""),
    ],
)
def test_how_far_a_task_is(progress: str, share: float | None, short: str) -> None:
    glance = LogGlance(progress)
    assert (glance.share, glance.in_short) == (share, short)


def test_the_newest_line_of_progress_and_the_last_of_the_others(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    assert glance_at(log) == LogGlance()
    log.write_text("progress: 1 of 4\n\x1b[31mone\nprogress: 2 of 4\n\n")
    assert glance_at(log) == LogGlance("2 of 4", "one")
    with log.open("a") as file:
        file.truncate(1 << 40)  # only the end is read
        file.seek(1 << 40)
        file.write("\nlast\n")
    assert glance_at(log) == LogGlance("", "last")
