"""The same sweep as a grid and as an adaptive search, under the dispatcher: images, time, answer.

    python benchmarks/adaptive_live.py --out adaptive-live

Both trained miniatures under DDIM at six steps: DeepCache, ToMe and T-GATE alone and together, on up to
--samples prompts, one task after the other, first as a grid and then with `strategy: adaptive` (which also
confirms what it chose, as the grid does not). No GPU is needed. Exit code 1: the adaptive sweep takes more
than half of the grid's images or of its time.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scheduler.storage.paths import SweepPaths

REPOSITORY = Path(__file__).resolve().parent.parent
STRATEGIES = ("grid", "adaptive")
DEMANDED = 0.5
CONFIGURATIONS = [
    {"deepcache": {"cache_interval": [2, 3, 4, 6], "cache_branch_id": [0, 1]}},
    {"tome": {"ratio": [0.3, 0.5, 0.7], "max_downsample": 2}},
    {"tgate": {"gate_step": [2, 3, 4]}},
    {"deepcache": {"cache_interval": [2, 3, 6]}, "tgate": {"gate_step": [2, 3]}},
    {
        "deepcache": {"cache_interval": [2, 3]},
        "tome": {"ratio": 0.5, "max_downsample": 2},
        "tgate": {"gate_step": 3},
    },
]


def sweep_of(strategy: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the sweep file."""
    return {
        "name": strategy,
        "matrix": {"pipe": arguments.pipes, "sched": ["DDIM"], "steps": [6]},
        "worker": {"args": {"num_samples": arguments.samples, "batch_size": 4}},
        "devices": {"cpu_slots": 1},
        "search": {
            "strategy": strategy,
            "max_loss": 0.02,
            "configurations": CONFIGURATIONS[: arguments.grids],
            "controls": {"fewer_steps": [0.5], "guidance_off": []},
            "timing": {"block": 8},
        },
    }


def run(strategy: str, arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Run a sweep from its beginning, and return the checkpoint of each task by its name."""
    out: Path = arguments.out
    paths = SweepPaths(out, strategy)
    for folder in (paths.checkpoints, paths.logs):
        shutil.rmtree(folder, ignore_errors=True)
    file = out / f"{strategy}.yaml"
    file.write_text(json.dumps(sweep_of(strategy, arguments), indent=1))
    command = [sys.executable, "-m", "scheduler", str(file), "--root", str(out), "--plain"]
    ours = {"PYTHONPATH": str(REPOSITORY), "SCHEDULER_LEASES": str(out / "leases")}
    subprocess.run(command, env=os.environ | ours, check=True)
    return {
        path.stem: json.loads(path.read_text()) for path in sorted(paths.checkpoints.glob("*.done"))
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder of both sweeps")
    add("--samples", type=int, default=64, help="prompts at most (default 64)")
    add("--pipes", nargs="+", default=["SHAPES_SD15", "SHAPES_SDXL"], help="the pipelines")
    add("--grids", type=int, default=len(CONFIGURATIONS), help="only so many entries of the grid")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    found = {strategy: run(strategy, arguments) for strategy in STRATEGIES}
    print("| task | search | images | seconds | best within 2 % | confirmed |")
    print("|---|---|---|---|---|---|")
    totals = {}
    for strategy, tasks in found.items():
        for name, done in tasks.items():
            best = f"{done['best']}, {done['speedup']:.2f}×, loss {100 * done['loss']:.2f} %"
            again = done.get("search", {}).get("chosen", {}).get("confirmed", "")
            images = done["images_generated"]
            print(f"| {name} | {strategy} | {images} | {done['seconds']:.0f} | {best} | {again} |")
        totals[strategy] = [
            sum(done[key] for done in tasks.values()) for key in ("images_generated", "seconds")
        ]
    shares = [new / old for new, old in zip(totals["adaptive"], totals["grid"], strict=True)]
    print(f"of the grid's images {100 * shares[0]:.0f} %, of its time {100 * shares[1]:.0f} %")
    return int(max(shares) > DEMANDED)


if __name__ == "__main__":
    sys.exit(main())
