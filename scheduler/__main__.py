"""``python -m scheduler``: the command line (see cli/main.py)."""

from __future__ import annotations

import sys


def run() -> int:
    """Return the command line's exit code; Ctrl-C ends it quietly, even while modules are loaded."""
    try:
        from scheduler.cli.main import main

        return main()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(run())
