"""The docs' picture of a run on a terminal: python benchmarks/screen_picture.py docs/screen.svg

It runs sweeps/tiny.yaml in a tmux of 104 columns, until two of its four tasks are completed and others
have begun, and draws what stands on the terminal then.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.helpers.tmux import Tmux

REPOSITORY = Path(__file__).resolve().parent.parent
COLUMNS, LINES = 104, 24
TIME_TO_SHOW = re.compile(r"2/4 completed.* [12] run")
MINUTES = 30


def main() -> int:
    if shutil.which("tmux") is None:
        print("needs tmux")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"SCHEDULER_LEASES": f"{folder}/leases"}
        terminal = Tmux(REPOSITORY, COLUMNS, LINES, environment)
        try:
            words = ["scheduler", "sweeps/tiny.yaml", "--root", folder]
            terminal.run([sys.executable, "-m", *words])
            shown = wait(terminal)
            terminal.press("C-c")
            terminal.press("C-c")
            terminal.wait_for("^over 130$")
        finally:
            terminal.close()
    if shown is None:
        print(f"two tasks were not completed within {MINUTES} minutes")
        return 1
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        console.print(Text.from_ansi(shown.rstrip()))
    svg = console.export_svg(title="python -m scheduler sweeps/tiny.yaml")
    # its fonts would come from elsewhere; the reader's own will do
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    Path(sys.argv[1]).write_text(svg, encoding="utf-8")
    return 0


def wait(terminal: Tmux) -> str | None:
    """Return the screen in colours once it shows what it should; None: it did not in time."""
    end = time.monotonic() + 60 * MINUTES
    while time.monotonic() < end:
        if any(map(TIME_TO_SHOW.search, terminal.screen())):
            time.sleep(5)  # for the tasks that have begun to be somewhere
            return terminal.in_colour()
        time.sleep(1)
    return None


if __name__ == "__main__":
    sys.exit(main())
