"""Time 1,000 static comparisons in one process, and show that none imports torch.

    python benchmarks/compare_static.py

The pairs are those of cases/, taken in turn, each by the command itself. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from worker.commands.main import main as worker  # noqa: E402  # the path is set above


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--comparisons", type=int, default=1_000)
    comparisons = parser.parse_args().comparisons
    cases = sorted(path.parent for path in (ROOT / "cases").glob("*/gt.py"))
    begin = time.process_time()
    for number in range(comparisons):
        case = cases[number % len(cases)]
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            worker(["compare", str(case / "gt.py"), str(case / "gen.py"), "--json"])
    seconds = time.process_time() - begin
    print(
        json.dumps(
            {
                "comparisons": comparisons,
                "pairs": len(cases),
                "cpu_seconds": round(seconds, 3),
                "torch_imported": "torch" in sys.modules,
                "python": platform.python_version(),
                "machine": platform.machine(),
            }
        )
    )
    return 0 if "torch" not in sys.modules else 1


if __name__ == "__main__":
    sys.exit(main())
