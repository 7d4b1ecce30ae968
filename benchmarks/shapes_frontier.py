"""The frontier of the tiny sweep, drawn from its results.

    python -m scheduler sweeps/tiny.yaml
    python benchmarks/shapes_frontier.py checkpoints/tiny

Speed-up and loss are relative to a task's own baseline, so every task has its own frontier; that of
the sweep is all of them, and what stands on it is counted by tasks. Any other sweep of this
project's worker will do as well.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from worker.accelerators.registry import specs
from worker.results.file import ResultsFile
from worker.results.frontier import frontier
from worker.results.row import MEASURED, Row, read_rows


def frontiers(folder: Path) -> dict[str, list[Row]]:
    """Return the frontier of each task, by the task's id."""
    files = sorted(folder.glob("*.jsonl"))
    return {
        file.stem: frontier(_newest(read_rows(ResultsFile.open(file).lines)[0])) for file in files
    }


def _newest(rows: list[Row]) -> list[Row]:
    """Return what the task itself measured under its last settings, once each configuration."""
    own = [row for row in rows if row.study is None]
    last = {row.key: row for row in own if row.digest == own[-1].digest}
    return [row for row in last.values() if row.status == MEASURED]


def kind(row: Row) -> str:
    """What a configuration is made of, whatever its parameters."""
    if row.has_other_steps:
        return "fewer steps"
    used = [
        spec.title for name, spec in specs().items() if name in row.configuration["accelerators"]
    ]
    return " + ".join(used) or "baseline"


def table(found: dict[str, list[Row]]) -> str:
    """Return the frontiers as Markdown, the slowest configuration of each task first."""
    lines = ["| task | on its frontier | speed-up | CLIP loss |", "|---|---|---|---|"]
    for task, rows in found.items():
        for number, row in enumerate(rows):
            cells = [_cell(row, "speedup", "{:.2f}"), _cell(row, "quality_loss", "{:.1%}")]
            lines.append(f"| {task if number == 0 else ''} | {row.label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def counted(found: dict[str, list[Row]]) -> str:
    """Return one sentence: what stands on the frontiers of how many tasks."""
    tasks = Counter(name for rows in found.values() for name in {kind(row) for row in rows})
    said = ", ".join(f"{name} in {count}" for name, count in sorted(tasks.items(), key=_most_first))
    return f"On the frontiers of {len(found)} tasks: {said}."


def lasted(folder: Path) -> str | None:
    """Return how long the sweep took, by its checkpoints; None where a task has none."""
    done = [json.loads(file.read_text(encoding="utf-8")) for file in folder.glob("*.done")]
    if not done or len(done) < len(list(folder.glob("*.jsonl"))):
        return None
    begun = min(datetime.fromisoformat(item["started"]) for item in done)
    ended = max(datetime.fromisoformat(item["ended"]) for item in done)
    return f"From the first start to the last end: {(ended - begun).total_seconds():.0f} s."


def _most_first(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def _cell(row: Row, name: str, form: str) -> str:
    """A figure with its interval, whose ends too few pairs leave unknown; the baseline has none."""
    metric = row.metric(name)
    if metric is None:
        return ""
    figures = (metric.value, metric.low, metric.high)
    value, low, high = ("?" if figure is None else form.format(figure) for figure in figures)
    return f"{value} ({low} to {high})"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="the sweep's checkpoints, e.g. checkpoints/tiny")
    folder = parser.parse_args().folder
    found = frontiers(folder)
    if not any(found.values()):
        print(f"{folder} holds no results with a frontier; run the sweep first", file=sys.stderr)
        return 1
    print(table(found), counted(found), lasted(folder) or "", sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
