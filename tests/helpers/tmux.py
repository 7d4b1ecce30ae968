"""A real terminal to look at: tmux, with keys that are sent and a screen that is read."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.helpers.sweep_runner import PATIENCE


class Tmux:
    """A terminal of so many columns and lines with a shell in it, on a server of its own."""

    def __init__(
        self, folder: Path, columns: int, lines: int, environment: Mapping[str, str]
    ) -> None:
        # A socket's path is short, whatever the folder's is.
        self._socket = f"tests-{os.getpid()}"
        self._environment = {**environment, "TERM": "xterm", "PS1": "$ "}
        for name in ("LINES", "COLUMNS", "TMUX"):
            self._environment.pop(name, None)
        size = ["-x", str(columns), "-y", str(lines)]
        self._tmux("new-session", "-d", *size, "-c", str(folder), "sh")

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-L", self._socket, "-f", "/dev/null", *words],
            env=self._environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def run(self, words: Sequence[str]) -> None:
        """Type a command line; ``over N`` follows it when it has ended with N."""
        self._tmux("send-keys", "-l", f"clear; {shlex.join(words)}; echo over $?")
        self.press("Enter")

    def press(self, key: str) -> None:
        self._tmux("send-keys", key)

    def resize(self, columns: int, lines: int) -> None:
        self._tmux("resize-window", "-x", str(columns), "-y", str(lines))

    def screen(self) -> list[str]:
        """Return the lines that stand on the terminal."""
        return self._tmux("capture-pane", "-p").splitlines()

    def in_colour(self) -> str:
        """Return what stands on the terminal with its escape sequences."""
        return self._tmux("capture-pane", "-p", "-e")

    def wait_for(self, *patterns: str) -> list[str]:
        """Wait until lines that match stand there at once, one for each pattern; return all lines.

        A screen that is being drawn may be seen half.
        """
        patience = time.monotonic() + PATIENCE
        while True:
            lines = self.screen()
            if all(any(re.search(pattern, line) for line in lines) for pattern in patterns):
                return lines
            assert time.monotonic() < patience, f"no {patterns}:\n" + "\n".join(lines)
            time.sleep(0.05)

    def is_as_it_was(self) -> bool:
        """Say whether the cursor is shown, on the usual screen."""
        return self._tmux("display-message", "-p", "#{cursor_flag} #{alternate_on}") == "1 0\n"

    def close(self) -> None:
        self._tmux("kill-server")
