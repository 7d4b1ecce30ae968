"""Does quality really fall with acceleration, and does speed really rise on a CPU?

    python benchmarks/shapes_curves.py --out shapes-results
    python benchmarks/shapes_curves.py --out shapes-results --table

The trained miniatures at 50 and at 20 steps of DDIM on held-out captions: DeepCache from interval 2
to 10, fewer steps down to 3, and the null arm (the baseline from other seeds), paired and
interleaved with the baseline. A pipeline's rows at a number of steps are written together, when all
are measured; the same command goes on with what has none. One thread of a quiet machine needs about
seven minutes for the largest of the four.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from worker.measure.settings import TaskRequest
from worker.measure.task.run import run
from worker.models.catalogue import find_pipe, find_sched
from worker.models.task import Task
from worker.results.file import ResultsFile
from worker.results.row import Metric, Row, read_rows
from worker.search.section import Search

PIPES = ("SHAPES_SD15", "SHAPES_SDXL")
TASKS = ((50, 128, 8), (20, 64, 4))  # steps, images, batch size
SECTION = {
    "configurations": [{"deepcache": {"cache_interval": [2, 3, 5, 10]}}],
    "controls": {"fewer_steps": [25, 10, 5, 3], "guidance_off": [], "null_arm": True},
    # all in one block: every row is paired with the same run of the baseline
    "timing": {"block": 16, "repeats": 4},
}
COLUMNS = {"speedup": "speed-up", "quality_loss": "CLIP loss", "psnr": "PSNR, dB", "ssim": "SSIM"}


def measure(pipe: str, steps: int, images: int, batch_size: int, out: Path) -> None:
    results = ResultsFile.open(out / f"{pipe}-{steps}.jsonl")
    if results.lines and "summary" in results.lines[-1]:
        return
    request = TaskRequest(
        task=Task(find_pipe(pipe), find_sched("DDIM"), steps),
        search=Search.model_validate(SECTION),
        num_samples=images,
        batch_size=batch_size,
        command="python benchmarks/shapes_curves.py",
    )
    run(request, results, "cpu", lambda line: print(f"{pipe}: {line}", flush=True))


def table(out: Path) -> str:
    """Return what was measured as Markdown, one table for each pipeline."""
    lines = []
    for file in sorted(out.glob("*.jsonl")):
        rows, _ = read_rows(ResultsFile.open(file).lines)
        if not rows:
            continue
        settings, machine = rows[0].settings, rows[0].environment
        lines += [
            f"### {settings['pipe']}, {settings['steps']} steps\n",
            f"{settings['num_samples']} images, batch {settings['batch_size']}, {settings['sched']}"
            f"; {machine['device']}\n",
            "| configuration | " + " | ".join(COLUMNS.values()) + " |",
            "|---" * (1 + len(COLUMNS)) + "|",
            *(f"| {row.label} | {' | '.join(_cells(row))} |" for row in rows),
            "",
        ]
    return "\n".join(lines)


def _cells(row: Row) -> list[str]:
    return [_cell(row.metric(name)) for name in COLUMNS]


def _cell(metric: Metric | None) -> str:
    if metric is None or metric.value is None:
        return ""
    form = "{:.1%}" if metric.name == "quality_loss" else "{:.2f}"
    value = form.format(metric.value)
    if metric.low is None:
        return value
    return f"{value} ({form.format(metric.low)} to {form.format(metric.high)})"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the results files")
    parser.add_argument("--pipe", choices=PIPES, help="only this one")
    parser.add_argument("--table", action="store_true", help="print the tables and measure nothing")
    options = parser.parse_args()
    if not options.table:
        for pipe in [options.pipe] if options.pipe else PIPES:
            for steps, images, batch_size in TASKS:
                measure(pipe, steps, images, batch_size, options.out)
    print(table(options.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
