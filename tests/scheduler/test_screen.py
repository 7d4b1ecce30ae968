"""The live screen, on a terminal of its own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator

import pytest

from tests.scheduler.box import PATIENCE, Box


class Terminal:
    """A terminal with a dispatcher in its foreground."""

    def __init__(self, box: Box, columns: int = 100) -> None:
        self._side, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.seen = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "scheduler", str(box.file), "--root", str(box.root)],
            cwd=box.folder,
            env={**box.environment, "TERM": "xterm"},
            stdin=other,
            stdout=other,
            stderr=other,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  # no locks
        )
        os.close(other)

    def wait_for(self, text: str) -> None:
        """Read until ``text`` was shown."""
        patience = time.monotonic() + PATIENCE
        while text not in self.seen:
            ready, _, _ = select.select([self._side], [], [], patience - time.monotonic())
            assert ready, f"{text!r} was not shown; seen:\n{self.seen}"
            self._read()

    def _read(self) -> None:
        data = os.read(self._side, 1 << 16)
        self.seen += data.decode(errors="replace")

    def press(self, key: bytes) -> None:
        os.write(self._side, key)

    def end(self) -> int:
        """Read to the end; return the exit code."""
        with contextlib.suppress(OSError):  # EIO: the last of its users has gone
            while True:
                self._read()
        assert "Traceback" not in self.seen, self.seen
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        """Close the window."""
        os.close(self._side)


@pytest.fixture
def terminals(box: Box) -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.process.kill()
        terminal.process.wait()


def test_the_screen_shows_what_runs_and_leaves_the_summary(
    box: Box, terminals: list[Terminal]
) -> None:
    box.write(
        {"a": "print half way \x1b[2J there; gate; ok", "b": "exit 2"}, devices={"cpu_slots": 1}
    )
    terminals.append(terminal := Terminal(box))
    terminal.wait_for("half way [2J there")  # the log's last line, its escape disarmed
    for part in ("cpu:0", "0/2 tasks", "1 running", "1 waiting", "no estimate yet"):
        terminal.wait_for(part)
    box.open_gate("a")
    assert terminal.end() == 1
    assert "1 of 2 completed · 1 failed" in terminal.seen.replace("\r\n", "")
    assert "\x1b[?25h" in terminal.seen  # the cursor is back


def test_a_narrow_terminal(box: Box, terminals: list[Terminal]) -> None:
    box.write({"a" * 60: "ok", "b": "exit 2"})
    terminals.append(terminal := Terminal(box, columns=20))
    assert terminal.end() == 1


def test_ctrl_c_on_the_screen(box: Box, terminals: list[Terminal]) -> None:
    box.write({"a": "gate; ok", "b": "ok"}, devices={"cpu_slots": 1})
    terminals.append(terminal := Terminal(box))
    gate = box.reach_gate("a")
    terminal.press(b"\x03")
    terminal.wait_for("Ctrl-C again stops")
    gate()
    assert terminal.end() == 130
    assert box.states() == {"a": "completed", "b": "waiting"}


def test_a_window_that_is_closed_costs_nothing(box: Box, terminals: list[Terminal]) -> None:
    box.write({"a": "gate; ok", "b": "ok"}, devices={"cpu_slots": 1})
    terminals.append(terminal := Terminal(box))
    gate = box.reach_gate("a")
    terminal.wait_for("1 running")
    terminal.close()
    assert terminal.process.wait(PATIENCE) == 130
    gate()
    assert box.run().code == 0
    assert (box.starts("a"), box.starts("b")) == (1, 1)
