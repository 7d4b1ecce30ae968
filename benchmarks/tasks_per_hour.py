"""How many whole tasks an hour a GPU does: as it was, and with nothing waiting.

    python benchmarks/tasks_per_hour.py --out tasks-per-hour --batch-size 1 --seconds 560

Tasks of SD1.5 at full size (random weights, kept in a folder as downloaded ones would be), 32 images of the
baseline and 32 of DeepCache, wall time alone (no energy, no profile of the device), under the real dispatcher
on one idle GPU, in two ways, one after the other:

* before: each worker is started when its GPU is free, and has it alone from its first import to its end;
* after: workers are forked from a loaded parent, the next one stands by with its weights in memory
  (``worker.preload``), and images that need no clock are made by up to four tasks at a time
  (``devices.share``, with MPS).

A short task before them fills the page cache. Counted is from the first start to the last end, of more tasks
where they run beside each other. What is done is on disk, and a later call goes on behind it. Exit code 75:
there was no time for all of it; 1: tasks were not done. --tiny tries it all on a CPU with a miniature and
stand-ins for NVML and MPS.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.sharing import NOT_ALL, Found, environment, most_at_once, read
from benchmarks.start import folder_of
from scheduler.storage.paths import SweepPaths

CONFIGURATIONS = [{"deepcache": {"cache_interval": 3}}]
NO_CONTROLS = {"fewer_steps": [], "guidance_off": [], "null_arm": False}
SHARE = {"memory": "12GiB", "at_most": 4, "mps": True}
WAYS = {
    "before": ({"preload": "off"}, {}),
    "after": ({}, {"share": SHARE}),
}


def sweep_of(name: str, arguments: argparse.Namespace, tasks: int, images: int) -> dict:
    """Return the sweep file of a way."""
    worker, devices = WAYS[name.split("-", maxsplit=1)[0]]
    full_size = {}
    if not arguments.tiny:
        full_size = {"dtype": "float16", "models": {"SD15": folder_of("SD15", arguments)}}
    return {
        "name": name,
        "matrix": {
            "pipe": ["TINY_SD15" if arguments.tiny else "SD15"],
            "sched": ["DDIM"],
            "steps": [arguments.steps],
            "seed": [1000 * number for number in range(tasks)],
        },
        "worker": worker | {"args": {"num_samples": images, "batch_size": arguments.batch_size}},
        "search": {
            **full_size,
            "captions": "package:captions/tiny.txt",
            "clip": {"model": "built:tiny-clip", "pretrained": ""},
            "configurations": CONFIGURATIONS,
            "controls": NO_CONTROLS,
            "timing": {"energy": False, "device_time": False},
        },
        "devices": {"idle_for": "1s", "only": [0]} | devices,
        "retries": {"max_attempts": 1},
    }


def run(name: str, arguments: argparse.Namespace, tasks: int, images: int) -> Found | None:
    """Run a way from its beginning; None if not all of its tasks were completed."""
    paths = SweepPaths(arguments.out, name)
    for folder in (paths.checkpoints, paths.logs):
        shutil.rmtree(folder, ignore_errors=True)
    file = arguments.out / f"{name}.yaml"
    file.write_text(json.dumps(sweep_of(name, arguments, tasks, images), indent=1))
    command = [sys.executable, "-m", "scheduler", str(file), "--root", str(arguments.out)]
    # on a CPU both stages are to have as many threads, or the one does not take the other's rows
    variables = environment(arguments) | ({"OMP_NUM_THREADS": "1"} if arguments.tiny else {})
    subprocess.run([*command, "--plain"], env=variables, check=False)
    done = [json.loads(path.read_text()) for path in paths.checkpoints.glob("*.done")]
    if len(done) < tasks:
        return None
    spans = [
        (attempt["started"], attempt["ended"])
        for content in done
        for attempt in content["attempts"]
    ]
    seconds = max(ended for _, ended in spans) - min(started for started, _ in spans)
    return Found(tasks, seconds, most_at_once(spans))


def table(found: dict[str, Found]) -> Iterator[str]:
    """Yield the table of what was found."""
    yield "| batch size | way | tasks | at once | seconds | tasks an hour | times |"
    yield "|---|---|---|---|---|---|---|"
    for name, one in found.items():
        way, size = name.split("-")
        before = found.get(f"before-{size}")
        times = "" if before is None else f"{one.per_hour / before.per_hour:.2f} ×"
        row = (size, way, one.tasks, one.at_once, f"{one.seconds:.0f}", f"{one.per_hour:.1f}")
        yield "| " + " | ".join(map(str, (*row, times))) + " |"


def main() -> int:
    """Run what is not done yet; print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, default=Path("tasks-per-hour"), help="where it is kept")
    add("--seconds", type=float, default=3600.0, help="how long a call may take")
    add("--batch-size", type=int, default=1)
    add("--tasks", type=int, default=[2, 6], nargs=2, help="of either way", metavar="N")
    add("--images", type=int, default=32, help="of each configuration")
    add("--steps", type=int, default=20)
    add("--tiny", action="store_true", help="try it on a CPU")
    arguments = parser.parse_args()
    arguments.out = arguments.out.absolute()
    arguments.out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + arguments.seconds
    results = arguments.out / "found.json"
    found = read(results)
    wanted = [f"{way}-{arguments.batch_size}" for way in WAYS]
    if not found and run("before-warm", arguments, 1, 2) is None:
        print("the warm-up task was not completed")
        return 1
    took = 0.0
    for name, tasks in zip(wanted, arguments.tasks, strict=True):
        if name in found:
            continue
        if time.monotonic() + took > end:  # it takes about as long as the one before it
            print(f"no time for: {name}")
            return NOT_ALL
        begun = time.monotonic()
        one = run(name, arguments, tasks, arguments.images)
        took = time.monotonic() - begun
        if one is None:
            print(f"not all tasks were completed: {name}")
            return 1
        found[name] = one
        results.write_text(json.dumps(found))
    print("\n".join(table(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
