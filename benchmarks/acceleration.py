"""What the accelerators give at the real models' size, on one GPU.

Random weights of the published configurations: speed, memory and energy need no download, and the
quality columns stay empty. One command, in as many visits as it takes:

    python benchmarks/acceleration.py --out acceleration-results --budget 360
    python benchmarks/acceleration.py --out acceleration-results --table

Every measurement is appended as it is made; the next visit goes on behind it. --budget (seconds) is
when to start nothing new: leave as much of a visit behind it as a block takes, four minutes for
SDXL on a fast GPU. --tiny tries the whole thing on a CPU with the tiny pipelines.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from worker import search
from worker.catalogue import find_pipe, find_sched
from worker.plan import Task
from worker.results import ResultsFile, value_of
from worker.settings import Search

CONTROLS = {"fewer_steps": [25, 15], "guidance_off": [], "null_arm": False}
NO_CONTROLS = {"fewer_steps": [], "guidance_off": [], "null_arm": False}
DEEPCACHE_3 = {"deepcache": {"cache_interval": 3}}
DEEPCACHE_5 = {"deepcache": {"cache_interval": 5}}
TGATE = {"tgate": {"gate_step": 10}}
TWICE = [DEEPCACHE_3, DEEPCACHE_5, TGATE]


@dataclass(frozen=True)
class Visit:
    """One task of the benchmark, with a results file of its own."""

    name: str
    pipe: str
    sched: str
    steps: int
    batch_size: int
    section: dict
    rounds: int = 10


def tome(pipe: str) -> dict:
    return {"tome": {"ratio": 0.5, "max_downsample": 2 if pipe.endswith("SDXL") else 1}}


def first_visits() -> Iterator[Visit]:
    """The table of the accelerators, then three of them again, then compiled ones."""
    tasks = (("SDXL", 2), ("SD15", 4))
    for pipe, batch in tasks:
        everything = [
            *TWICE,
            tome(pipe),
            DEEPCACHE_3 | TGATE,
            DEEPCACHE_3 | TGATE | tome(pipe),
        ]
        section = {"configurations": everything, "controls": CONTROLS}
        yield Visit(f"{pipe}-eager", pipe, "DDIM", 50, batch, section)
        again = {"configurations": TWICE, "controls": NO_CONTROLS}
        yield Visit(f"{pipe}-again", pipe, "DDIM", 50, batch, again)
    for pipe, batch in tasks:
        compiled = {
            "configurations": [DEEPCACHE_3],
            "controls": NO_CONTROLS,
            "settings": {"compile": True},
        }
        yield Visit(f"{pipe}-compiled", pipe, "DDIM", 50, batch, compiled)


def later_visits() -> Iterator[Visit]:
    """As time on the machine allows."""
    for pipe, batch in (("SDXL", 2), ("SD15", 4)):
        section = {
            "configurations": [TGATE],
            "controls": {"fewer_steps": [], "guidance_off": [10], "null_arm": True},
            "settings": {"compile": True},
        }
        yield Visit(f"{pipe}-compiled-tgate", pipe, "DDIM", 50, batch, section)
    gate = {"tgate": {"gate_step": 10, "sp_interval": 5, "warm_up": 2}}
    for pipe, batch in (("SDXL", 2), ("SD15", 4)):
        more = [
            {"deepcache": {"cache_interval": [2, 8, 10]}},
            {"deepcache": {"cache_interval": [3, 5], "cache_branch_id": [1, 2]}},
            gate,
        ]
        section = {
            "configurations": more,
            "controls": {"fewer_steps": [20, 10], "guidance_off": [10], "null_arm": True},
        }
        yield Visit(f"{pipe}-more", pipe, "DDIM", 50, batch, section)
    both = [DEEPCACHE_3, DEEPCACHE_5, TGATE, DEEPCACHE_3 | TGATE]
    for name, pipe, sched, steps, batch in (
        ("SD21-eager", "SD21", "DDIM", 50, 4),
        ("SDXL-dpm", "SDXL", "DPMSolverMultistep", 50, 2),
        ("SD15-25", "SD15", "DDIM", 25, 4),
        ("SDXL-1", "SDXL", "DDIM", 50, 1),
        ("SD15-1", "SD15", "DDIM", 50, 1),
    ):
        section = {
            "configurations": [*both, tome(pipe)],
            "controls": CONTROLS | {"fewer_steps": [0.5, 0.3]},
        }
        yield Visit(name, pipe, sched, steps, batch, section)


class BudgetSpentError(Exception):
    """Nothing new is to be started."""


def measure(visit: Visit, out: Path, deadline: float, tiny: bool) -> None:
    section = visit.section | {
        "captions": "package:captions/tiny.txt",
        "timing": {"repeats": 2 if tiny else visit.rounds, "warmup": 1, "block": 4},
    }
    if not tiny:
        section |= {"weights": "random", "dtype": "float16"}
    name = f"TINY_{visit.pipe}" if tiny else visit.pipe
    task = Task(find_pipe(name), find_sched(visit.sched), visit.steps)
    request = search.Request(
        task=task,
        search=Search.model_validate(section),
        num_samples=visit.batch_size if tiny else visit.batch_size * visit.rounds,
        batch_size=visit.batch_size,
        command=f"python benchmarks/acceleration.py # {visit.name}",
    )
    results = ResultsFile.open(out / f"{visit.name}.jsonl")
    if results.rows and "summary" in results.rows[-1]:
        return

    def say(line: str) -> None:
        if line.startswith("measuring") and time.monotonic() > deadline:
            raise BudgetSpentError
        if not line.startswith("  "):
            print(f"{time.strftime('%H:%M:%S')} {visit.name}: {line}", flush=True)

    import torch

    search.run(request, results, "cpu" if tiny else "cuda:0", say)
    if not tiny:
        torch.cuda.empty_cache()


def table(out: Path) -> str:
    """Return what was measured as Markdown, one table for each results file."""
    parts = []
    for file in sorted(out.glob("*.jsonl")):
        rows = [row for row in ResultsFile.open(file).rows if "metrics" in row]
        if not rows:
            continue
        first = rows[0]
        settings, machine = first["settings"], first["environment"]
        versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
        parts.append(
            f"### {file.stem}\n\n{settings['pipe']}, {settings['image_size']} px, "
            f"{settings['sched']}, {settings['steps']} steps, batch {settings['batch_size']}, "
            f"{settings['dtype']}, {settings['weights']} weights"
            f"{', compiled' if settings['pipeline']['compile'] else ''}; {machine['device']}, "
            f"driver {machine['driver']}, Python {machine['python']}, {versions}\n"
        )
        parts.append(
            "| configuration | s/image | speed-up (95 % interval) | p95 s/batch | cold s | "
            "peak GiB | J/image | W | runs |\n|---|---|---|---|---|---|---|---|---|"
        )
        parts += [_line(row) for row in rows]
        parts.append("")
    return "\n".join(parts)


def _line(row: dict) -> str:
    gain = next((item for item in row["metrics"] if item["name"] == "speedup"), None)
    interval = f"{gain['value']:.2f} ({gain['low']:.2f} to {gain['high']:.2f})" if gain else "1"
    memory = value_of(row, "peak_memory")
    cells = [
        row["label"] if row["status"] == "measured" else f"{row['label']}: {row['status']}",
        _number(value_of(row, "seconds_per_image"), 3),
        interval,
        _number(value_of(row, "seconds_per_batch_p95"), 3),
        _number(value_of(row, "seconds_cold_batch"), 1),
        _number(memory and memory / 2**30, 2),
        _number(value_of(row, "energy_per_image"), 0),
        _number(value_of(row, "mean_power"), 0),
        _number(value_of(row, "timed_batches"), 0),
    ]
    return f"| {' | '.join(cells)} |"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the results files")
    parser.add_argument(
        "--budget", type=float, default=1e9, help="seconds; then nothing new starts"
    )
    parser.add_argument("--only", help="comma-separated names of visits")
    parser.add_argument("--list", action="store_true", help="print the visits' names")
    parser.add_argument("--tiny", action="store_true", help="tiny pipelines, on a CPU")
    parser.add_argument("--table", action="store_true", help="print the tables and measure nothing")
    arguments = parser.parse_args()
    visits = [*first_visits(), *later_visits()]
    if arguments.only:
        chosen = arguments.only.split(",")
        unknown = set(chosen) - {visit.name for visit in visits}
        if unknown:
            parser.error(f"--only: unknown {', '.join(unknown)}; see --list")
        visits = [visit for visit in visits if visit.name in chosen]
    if arguments.list:
        print("\n".join(visit.name for visit in visits))
        return 0
    if arguments.table:
        print(table(arguments.out))
        return 0
    deadline = time.monotonic() + arguments.budget
    try:
        for visit in visits:
            measure(visit, arguments.out, deadline, arguments.tiny)
    except BudgetSpentError:
        print("the budget is spent; run the same command again to go on")
        return 75
    print(json.dumps({"measured": [visit.name for visit in visits]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
