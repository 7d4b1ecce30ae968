"""The live screen, on a terminal of its own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping

import pytest

from tests.helpers.sweep_runner import PATIENCE, SweepRunner
from tests.helpers.waiting import readable
from tests.scheduler.dispatch.test_wishes import hand


class Terminal:
    """A terminal with a dispatcher in its foreground."""

    def __init__(self, runner: SweepRunner, columns: int = 100, lines: int = 40) -> None:
        self._side, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.seen = ""
        environment = {**runner.environment, "TERM": "xterm"}
        for name in ("LINES", "COLUMNS"):  # readline exports the size of the tests' own terminal
            environment.pop(name, None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "scheduler", str(runner.file), "--root", str(runner.root)],
            cwd=runner.folder,
            env=environment,
            stdin=other,
            stdout=other,
            stderr=other,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  # no locks
        )
        os.close(other)

    def wait_for(self, pattern: str) -> None:
        """Read until ``pattern`` was shown."""
        self._read_until(lambda: re.search(pattern, self.seen, re.DOTALL), pattern)

    def wait_for_lines(self, numbers: Mapping[str, int]) -> list[str]:
        """Read until each text stands on so many lines at once; return all lines.

        What was read may end in the middle of a screen, of which the rest is wiped already.
        """

        def stand() -> bool:
            lines = self.lines()
            return all(sum(t in line for line in lines) == n for t, n in numbers.items())

        self._read_until(stand, numbers)
        return self.lines()

    def _read_until(self, condition: Callable[[], object], what: object) -> None:
        patience = time.monotonic() + PATIENCE
        while not condition():
            ready = readable(self._side, max(0, patience - time.monotonic()))
            assert ready, f"{what!r} was not shown; seen:\n{self.seen}"
            self._read()

    def _read(self) -> None:
        data = os.read(self._side, 1 << 16)
        self.seen += data.decode(errors="replace")

    def lines(self) -> list[str]:
        """Return what stands on the terminal, scrolled lines included: letters, line ends, CSI K and A."""
        lines, row, column = [""], 0, 0
        for move, letter, plain in re.findall(
            r"\x1b\[([?\d;]*)([A-Za-z])|([^\x1b])", self.seen, re.DOTALL
        ):
            if letter == "A":
                row -= int(move or 1)
            elif letter == "K":
                lines[row] = ""
            elif plain == "\r":
                column = 0
            elif plain == "\n":
                row += 1
                lines += [""] * (row == len(lines))
            elif plain:
                lines[row] = lines[row][:column].ljust(column) + plain + lines[row][column + 1 :]
                column += 1
        return [line.rstrip() for line in lines]

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
def terminals(runner: SweepRunner) -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.process.kill()
        terminal.process.wait()


def test_the_screen_shows_what_runs_and_leaves_the_summary(
    runner: SweepRunner, terminals: list[Terminal]
) -> None:
    runner.write(
        {"a": "print \x1b]0;title\x07half \x1b[2Kway\x1b[1;31m there; gate; ok", "b": "exit 2"},
        devices={"cpu_slots": 1},
    )
    terminals.append(terminal := Terminal(runner))
    terminal.wait_for("half way there")  # the log's last line, without its escapes
    for part in ("cpu:0", "0/2 completed", "1 running", "1 waiting", "no estimate yet"):
        terminal.wait_for(part)
    runner.open_gate("a")
    assert terminal.end() == 1
    assert "1 of 2 completed · 1 failed" in terminal.seen.replace("\r\n", "")
    assert "\x1b[?25h" in terminal.seen  # the cursor is back


def test_what_must_be_known_next_day_stays_on_the_terminal(
    runner: SweepRunner, terminals: list[Terminal]
) -> None:
    runner.write({"a": ["exit 1", "gate; ok"], "b": "exit 2"}, devices={"cpu_slots": 1})
    terminals.append(terminal := Terminal(runner))
    terminal.wait_for("attempt 2 started")
    runner.open_gate("a")
    assert terminal.end() == 1
    stays = "\n".join(terminal.lines())
    assert "a: attempt 1 on cpu:0: failed: exit code 1" in stays
    assert "b: failed for good: exit code 2" in stays
    assert "attempt 2 started" not in stays


def test_many_devices_on_a_small_terminal(runner: SweepRunner, terminals: list[Terminal]) -> None:
    runner.write(dict.fromkeys(map(str, range(100, 117)), "hang"), devices={"cpu_slots": 16})
    terminals.append(terminal := Terminal(runner, columns=80, lines=14))
    numbers = {"16 running": 1, "9 more devices": 1, "attempt 1 started on": 3}
    shown = terminal.wait_for_lines(numbers)
    assert len(shown) <= 14
    assert "0/17 completed · 16 running · 1 waiting · no estimate yet" in shown[0]
    terminal.press(b"\x03")
    terminal.wait_for("Ctrl-C again stops")
    terminal.press(b"\x03")
    assert terminal.end() == 130


def test_a_narrow_terminal(runner: SweepRunner, terminals: list[Terminal]) -> None:
    runner.write({"a" * 60: "ok", "b": "exit 2"})
    terminals.append(terminal := Terminal(runner, columns=20))
    assert terminal.end() == 1


def test_ctrl_c_on_the_screen(runner: SweepRunner, terminals: list[Terminal]) -> None:
    runner.write({"a": "gate; ok", "b": "ok"}, devices={"cpu_slots": 1})
    terminals.append(terminal := Terminal(runner))
    gate = runner.reach_gate("a")
    terminal.press(b"\x03")
    terminal.wait_for("Ctrl-C again stops")
    gate()
    assert terminal.end() == 130
    assert runner.states() == {"a": "completed", "b": "waiting"}


def test_what_is_asked_for_from_another_shell_is_shown(
    runner: SweepRunner, terminals: list[Terminal]
) -> None:
    runner.write({"a": ["gate; ok", "ok"], "b": "ok"}, devices={"cpu_slots": 1})
    terminals.append(terminal := Terminal(runner))
    runner.reach_gate("a")
    hand(runner, "pause")
    terminal.wait_for(r"paused by hand \(\w+\): nothing new is started; `resume` lets it go on")
    hand(runner, "drain", "cpu:0")
    terminal.wait_for("cpu:0: drained by hand")
    hand(runner, "stop", "a")
    terminal.wait_for("a: .* asked for it to be stopped; it goes back to waiting")
    terminal.wait_for_lines({"0/2 completed · 0 running · 2 waiting": 1})
    runner.write({"a": ["gate; ok", "ok"], "b": "ok", "c": "ok"}, devices={"cpu_slots": 1})
    hand(runner, "reload")
    terminal.wait_for("the sweep file was read again")
    terminal.wait_for_lines({"0/3 completed · 0 running · 3 waiting": 1})
    hand(runner, "drain", "cpu:0", "--undo")
    terminal.wait_for("no longer drained by hand")
    hand(runner, "resume")
    assert terminal.end() == 0
    assert "resumed by hand" in terminal.seen
    assert "3 of 3 completed" in terminal.seen.replace("\r\n", "")


def test_a_window_that_is_closed_costs_nothing(
    runner: SweepRunner, terminals: list[Terminal]
) -> None:
    runner.write({"a": "gate; ok", "b": "ok"}, devices={"cpu_slots": 1})
    terminals.append(terminal := Terminal(runner))
    gate = runner.reach_gate("a")
    terminal.wait_for("1 running")
    terminal.close()
    assert terminal.process.wait(PATIENCE) == 130
    gate()
    assert runner.run().code == 0
    assert (runner.starts("a"), runner.starts("b")) == (1, 1)


def test_a_run_that_goes_on_estimates_by_what_was_completed_before(
    runner: SweepRunner, terminals: list[Terminal]
) -> None:
    runner.write({"a": "ok"})
    assert runner.run().code == 0
    runner.write({"a": "ok", "b": "gate; ok"})
    terminals.append(terminal := Terminal(runner))
    terminal.wait_for("1/2 completed · 1 running · 0 waiting · about .* left")
    runner.open_gate("b")
    assert terminal.end() == 0
