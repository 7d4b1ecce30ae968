"""How many tasks an hour a GPU does alone, shared by three, and shared by three through MPS.

    python benchmarks/sharing.py --out sharing-results --seconds 460

Tasks that measure no speed (`timing: off`), SD1.5 at full size with random weights, one image at a time,
under the real dispatcher on one idle GPU: one task at a time, three that share it, three that share it
through MPS. A short task before them fills the page cache. Each way is a sweep of its own; counted are its
tasks, from the first start to the last end, the start of each worker included.

What is done is on disk, and a later call goes on behind it; a way that was interrupted begins anew. Exit
code 75: there was no time for all of it; 1: sharing gains less than it should, or tasks were not done.
--seconds is how long a call may take. --tiny tries it all on a CPU with a miniature, a stand-in for NVML and
one for MPS.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scheduler.storage.paths import SweepPaths

REPOSITORY = Path(__file__).resolve().parent.parent
NOT_ALL = 75
AT_ONCE = 3
# seconds beyond its images that a task takes, at the first guess, and seconds of an image
START, IMAGE = 25.0, 0.6


class Way(NamedTuple):
    """One way to use the GPU."""

    name: str
    words: str
    share: dict[str, object] | None
    # Times the tasks an hour of the first way.
    demanded: float


MEMORY = {"memory": "8GiB", "at_most": AT_ONCE}
WAYS = (
    Way("one", "one at a time", None, 1.0),
    Way("three", "three share it", MEMORY, 1.8),
    Way("mps", "three share it, with MPS", MEMORY | {"mps": True}, 2.5),
)


class Found(NamedTuple):
    """What a way came to."""

    tasks: int
    seconds: float
    # Tasks that ran at the same time, at most.
    at_once: int

    @property
    def per_hour(self) -> float:
        return 3600 * self.tasks / self.seconds


def sweep_of(way: Way, arguments: argparse.Namespace, tasks: int, images: int) -> dict:
    """Return the sweep file of a way."""
    model = {} if arguments.tiny else {"weights": "random", "dtype": "float16"}
    controls = {"fewer_steps": [], "guidance_off": [], "null_arm": False}
    search = {"timing": "off", "configurations": [], "controls": controls}
    return {
        "name": way.name,
        "matrix": {
            "pipe": ["TINY_SD15" if arguments.tiny else "SD15"],
            "sched": ["DDIM"],
            "steps": [arguments.steps],
            "seed": [1000 * number for number in range(tasks)],
        },
        "worker": {"args": {"num_samples": images, "batch_size": 1}},
        "search": model | search,
        "devices": {"idle_for": "1s", "only": [0]} | ({"share": way.share} if way.share else {}),
        "retries": {"max_attempts": 1},
    }


def run(way: Way, arguments: argparse.Namespace, tasks: int, images: int) -> Found | None:
    """Run a way from its beginning; None if not all of its tasks were completed."""
    out: Path = arguments.out
    paths = SweepPaths(out, way.name)
    for folder in (paths.checkpoints, paths.logs):
        shutil.rmtree(folder, ignore_errors=True)
    file = out / f"{way.name}.yaml"
    file.write_text(json.dumps(sweep_of(way, arguments, tasks, images), indent=1))
    command = [sys.executable, "-m", "scheduler", str(file), "--root", str(out), "--plain"]
    subprocess.run(command, env=environment(arguments), check=False)
    done = [json.loads(path.read_text()) for path in paths.checkpoints.glob("*.done")]
    if len(done) < tasks:
        return None
    spans = [(at(content["started"]), at(content["ended"])) for content in done]
    seconds = max(ended for _, ended in spans) - min(started for started, _ in spans)
    return Found(tasks, seconds, most_at_once(spans))


def environment(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the dispatcher's environment."""
    ours = {"PYTHONPATH": str(REPOSITORY), "SCHEDULER_LEASES": str(arguments.out / "leases")}
    if not arguments.tiny:
        return os.environ | ours
    from tests.helpers import fake_mps, fake_nvml

    (arguments.out / "nvml").mkdir(exist_ok=True)
    nvml = fake_nvml.FakeNvml(arguments.out / "nvml", fake_nvml.build(arguments.out / "nvml"))
    nvml.gpus(1)
    programs = fake_mps.install(arguments.out / "bin")
    return nvml.environment() | ours | {"PATH": f"{programs}:{os.environ['PATH']}"}


def at(text: str) -> float:
    """Return a time of day of a checkpoint, in seconds."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def most_at_once(spans: list[tuple[float, float]]) -> int:
    """Return how many spans of time there are at most that have a moment in common."""
    return max(sum(begun <= start < ended for begun, ended in spans) for start, _ in spans)


def table(found: dict[str, Found]) -> Iterator[str]:
    """Yield the table of what was found."""
    yield "| way | tasks | at once | seconds | tasks an hour | times | demanded |"
    yield "|---|---|---|---|---|---|---|"
    for way in WAYS:
        if way.name in found:
            one = found[way.name]
            times = f"{times_one(way, found):.2f} ×" if WAYS[0].name in found else ""
            asked = f"{way.demanded:.1f} ×" if way.demanded > 1 else ""
            row = (way.words, one.tasks, one.at_once, f"{one.seconds:.0f}", f"{one.per_hour:.0f}")
            yield "| " + " | ".join(map(str, (*row, times, asked))) + " |"


def times_one(way: Way, found: dict[str, Found]) -> float:
    return found[way.name].per_hour / found[WAYS[0].name].per_hour


def read(results: Path) -> dict[str, Found]:
    if not results.exists():
        return {}
    return {name: Found(*values) for name, values in json.loads(results.read_text()).items()}


def tasks_of(way: Way, arguments: argparse.Namespace) -> int:
    return arguments.tasks if way.share is None else 2 * arguments.tasks


def expected(way: Way, arguments: argparse.Namespace) -> float:
    """Return how many seconds a way takes at the first guess."""
    work = tasks_of(way, arguments) * (START + IMAGE * arguments.images)
    return 0.0 if arguments.tiny else work / (1.0 if way.share is None else 2.0)


def main() -> int:
    """Run what is not done yet; print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, default=Path("sharing-results"), help="where it is kept")
    add("--seconds", type=float, default=3600.0, help="how long a call may take")
    add(
        "--tasks", type=int, default=3, help="one after the other; of the shared ones twice as many"
    )
    add("--images", type=int, default=40, help="of each task")
    add("--steps", type=int, default=20)
    add("--tiny", action="store_true", help="try it on a CPU")
    add("--write", type=Path, help="write the table to this file as well")
    arguments = parser.parse_args()
    arguments.out = arguments.out.absolute()
    arguments.out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + arguments.seconds
    results = arguments.out / "found.json"
    found = read(results)
    if len(found) < len(WAYS) and run(WAYS[0]._replace(name="warm-up"), arguments, 1, 2) is None:
        print("the warm-up task was not completed")
        return 1
    for way in WAYS:
        if way.name in found:
            continue
        if time.monotonic() + expected(way, arguments) > end:
            print(f"no time for: {way.words}")
            return NOT_ALL
        one = run(way, arguments, tasks_of(way, arguments), arguments.images)
        if one is None:
            print(f"not all tasks were completed: {way.words}")
            return 1
        found[way.name] = one
        results.write_text(json.dumps(found))
    lines = list(table(found))
    print("\n".join(lines))
    if arguments.write is not None:
        arguments.write.write_text("\n".join(lines) + "\n")
    short = [way for way in WAYS if times_one(way, found) < way.demanded]
    return 1 if short and not arguments.tiny else 0


if __name__ == "__main__":
    sys.exit(main())
