"""Programs run for real, against modules that record what was asked of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

RECORDER = Path(__file__).parent / "stand_ins" / "recorder.py"


class Recorder:
    """A process that runs programs one after the other.

    Args:
        folder: where the programs are written.
    """

    def __init__(self, folder: Path) -> None:
        self.program = folder / "program.py"
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-W", "ignore", str(RECORDER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # For PyYAML; the modules beside the script come first.
            env={**os.environ, "PYTHONPATH": str(Path(yaml.__file__).parents[1])},
        )

    def run(self, source: str) -> dict[str, Any]:
        """Run a program; return its last call and its error, each None where there was none."""
        self.program.write_text(source)
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{self.program}\n")
        stdin.flush()
        answer: dict[str, Any] = json.loads(stdout.readline())
        return answer

    def finish(self) -> None:
        """End the process."""
        self.process.communicate()
