"""Where the GPU-seconds of a task's start go: started as a program, forked, and with weights loaded ahead.

    python benchmarks/start.py --out start-results --seconds 480

Short tasks of SD1.5 and SDXL at full size (random weights, kept in a folder as downloaded ones would be),
one after the other on one idle GPU under the real dispatcher, in three ways: ``worker.preload: off``; forked
from a loaded parent; the same with the next task standing by. Each task notes when a part of its start is
over; the table has the medians, the seconds from a task's last kernel to the next one's first step, and how
many processes NVML listed on the GPU at a time while the way ran, at most: a standby is to be none of them.

Each way is a sweep of its own; what is done is on disk, and a later call goes on behind it. Exit code 75:
there was no time for all of it; 1: tasks were not done. --tiny tries it all on a CPU with miniatures and a
stand-in for NVML.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pynvml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.sharing import NOT_ALL, environment
from scheduler.storage.paths import SweepPaths

WORKER = Path(__file__).resolve().with_name("start_worker.py")
BETWEEN_LOOKS = 0.02  # seconds
# what loads the worker ahead, and seconds that a task takes at the first guess
WAYS = {"cold": ("off", 30.0), "forked": ("start_forked", 20.0), "standby": ("start_worker", 20.0)}
PARTS = {
    "entered": "start",
    "imported": "imports",
    "context": "CUDA",
    "scored": "scorer",
    "loaded": "load",
    "moved": "to the GPU",
    "prompted": "prompt",
    "stepped": "first step",
    "last": "measuring",
    "returned": "rows",
}
NO_CONTROLS = {"fewer_steps": [], "guidance_off": [], "null_arm": False}
BASELINE_UNTIMED = {
    "clip": {"model": "built:tiny-clip", "pretrained": ""},
    "configurations": [],
    "controls": NO_CONTROLS,
    "timing": "off",
}
MAKE_FOLDER = """
import sys, torch
from worker.models.random_weights import cache_folder, random_pipeline
folder = cache_folder() / f"{sys.argv[1]}-full-size"
if not folder.is_dir():
    device = "cuda" if torch.cuda.is_available() else "cpu"
    random_pipeline(sys.argv[1], device, torch.float16).save_pretrained(folder)
print(folder)
"""


def sweep_of(pipe: str, way: str, arguments: argparse.Namespace) -> dict:
    """Return the sweep file of a way."""
    model = {"dtype": "float32"}
    if not arguments.tiny:
        model = {"dtype": "float16", "models": {pipe: folder_of(pipe, arguments)}}
    words = ["python", str(WORKER), "search", "--pipe", "{pipe}", "--sched", "{sched}"]
    return {
        "name": f"{pipe}-{way}",
        "matrix": {
            "pipe": [f"TINY_{pipe}" if arguments.tiny else pipe],
            "sched": ["DDIM"],
            "seed": [1000 * number for number in range(arguments.tasks)],
        },
        "worker": {
            "command": [*words, "--seed", "{seed}"],
            "args": {"steps": arguments.steps, "num_samples": arguments.images, "batch_size": 1},
            "preload": WAYS[way][0],
        },
        "search": {**model, **BASELINE_UNTIMED, "captions": "package:captions/tiny.txt"},
        "devices": {"idle_for": "1s", "only": [0]},
        "retries": {"max_attempts": 1},
    }


def folder_of(pipe: str, arguments: argparse.Namespace) -> str:
    """Return where a pipeline's weights are, made if need be."""
    made = subprocess.run(
        [sys.executable, "-c", MAKE_FOLDER, pipe.lower()],
        env=environment(arguments),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return made.stdout.splitlines()[-1]


def run(pipe: str, way: str, arguments: argparse.Namespace) -> bool:
    """Run what is not done of a way; say whether all of its tasks are."""
    sweep = sweep_of(pipe, way, arguments)
    file = arguments.out / f"{sweep['name']}.yaml"
    file.write_text(json.dumps(sweep, indent=1))
    command = [sys.executable, "-m", "scheduler", str(file), "--root", str(arguments.out)]
    run = subprocess.Popen([*command, "--plain"], env=environment(arguments))
    most, looks = 0, 0
    with suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        gpu = pynvml.nvmlDeviceGetHandleByIndex(0)
        while run.poll() is None:
            most = max(most, len(pynvml.nvmlDeviceGetComputeRunningProcesses(gpu)))
            looks += 1
            time.sleep(BETWEEN_LOOKS)
    run.wait()
    if looks:
        (arguments.out / f"{sweep['name']}.seen").write_text(json.dumps([most, looks]))
    return len(tasks_of(pipe, way, arguments)) == arguments.tasks


def most_on_the_gpu(seen: Path) -> str:
    """Return how many processes NVML listed on the GPU at most, and in how many looks."""
    return "{} in {}".format(*json.loads(seen.read_text())) if seen.exists() else "-"


def tasks_of(pipe: str, way: str, arguments: argparse.Namespace) -> list[dict]:
    """Return the last attempt of each completed task with the times that it noted, in their order."""
    paths = SweepPaths(arguments.out, f"{pipe}-{way}")
    found = []
    for done in paths.checkpoints.glob("*.done"):
        attempt = json.loads(done.read_text())["attempts"][-1]
        log = paths.log(done.stem).read_text(errors="replace").splitlines()
        marks = next((line for line in reversed(log) if line.startswith("marks: ")), None)
        if marks is not None:
            found.append(attempt | {"marks": json.loads(marks.removeprefix("marks: "))})
    return sorted(found, key=lambda attempt: attempt["started"])


def table(arguments: argparse.Namespace) -> Iterator[str]:
    """Yield the table of what was found."""
    titles = (*PARTS.values(), "end", "last kernel to first step", "processes on the GPU")
    yield f"| pipe | way | tasks | {' | '.join(titles)} |"
    yield "|---" * (3 + len(titles)) + "|"
    for pipe in arguments.pipes:
        for way in arguments.ways:
            tasks = tasks_of(pipe, way, arguments)
            # the first tasks of a sweep start as programs, since nothing is loaded yet
            meant = [n for n, task in enumerate(tasks) if (task.get("launch") or "cold") == way]
            gaps = [
                tasks[n]["marks"]["stepped"] - tasks[n - 1]["marks"]["last"] for n in meant if n
            ]
            if gaps:
                parts = zip(*(parts_of(tasks[n]) for n in meant), strict=True)
                figures = [*map(statistics.median, parts), statistics.median(gaps)]
                words = [pipe, way, str(len(meant)), *(f"{figure:.2f}" for figure in figures)]
                words.append(most_on_the_gpu(arguments.out / f"{pipe}-{way}.seen"))
                yield "| " + " | ".join(words) + " |"


def parts_of(task: dict) -> list[float]:
    """Return the seconds of each part of a task, from its start to its end.

    What was over before its device was known takes none.
    """
    times = [task["started"]]
    for name in PARTS:
        times.append(max(times[-1], task["marks"][name]))
    times.append(max(times[-1], task["ended"]))
    return [after - before for before, after in itertools.pairwise(times)]


def main() -> int:
    """Run what is not done yet; print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, default=Path("start-results"), help="where it is kept")
    add("--seconds", type=float, default=480.0, help="how long a call may take")
    add("--pipes", nargs="+", choices=("SD15", "SDXL"), default=["SD15", "SDXL"])
    add("--ways", nargs="+", choices=tuple(WAYS), default=list(WAYS))
    add("--tasks", type=int, default=5, help="of each way")
    add("--images", type=int, default=4, help="of each task")
    add("--steps", type=int, default=20)
    add("--tiny", action="store_true", help="try it on a CPU")
    arguments = parser.parse_args()
    arguments.out = arguments.out.absolute()
    arguments.out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + arguments.seconds
    for pipe in arguments.pipes:
        for way in arguments.ways:
            seconds = WAYS[way][1]
            left = arguments.tasks - len(tasks_of(pipe, way, arguments))
            if left <= 0:
                continue
            if not arguments.tiny and time.monotonic() + left * seconds > end:
                print("\n".join(table(arguments)))
                print(f"no time for: {pipe}, {way}")
                return NOT_ALL
            if not run(pipe, way, arguments):
                print(f"not all tasks were completed: {pipe}, {way}")
                return 1
    print("\n".join(table(arguments)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
