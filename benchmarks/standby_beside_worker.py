"""The worker of standby_beside.py: this project's own, which notes when it prepares, and each call's time."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

# the worker counts variables of this beginning as read when they are used
NOTES = "DIFFUSION_SWEEPS_NOTES"
IS_WORKER = NOTES in os.environ
if IS_WORKER and __name__ != "__main__":
    from worker.commands import preloaded


def note(kind: str, **figures: float) -> None:
    """Append a line to the file that all share."""
    with open(os.environ[NOTES], "a") as file:
        file.write(json.dumps({"kind": kind, "at": time.time(), **figures}) + "\n")


def prepare(argv: Sequence[str]) -> None:
    """Prepare as the plain worker does."""
    note("begun")
    preloaded.prepare(argv)
    note("prepared")


def main(argv: Sequence[str]) -> int:
    """Run an attempt."""
    from worker.measure.rounds import loop

    generate = loop.generate

    def generating(*given):
        batch = generate(*given)
        if batch is not None:
            note("call", seconds=batch.seconds, pid=os.getpid())
        return batch

    loop.generate = generating
    if __name__ == "__main__":
        from worker.commands.main import main as run
    else:
        run = preloaded.main
    return run(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
