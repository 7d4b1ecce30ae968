"""What an attempt costs on a real Ray, beside a bare Ray task that starts the same program as its child.

    python benchmarks/ray_overhead.py [--tasks 24] [--rounds 5]

Both run the same number of tasks, of which two have room at a time; they take turns. Wall time a task, from
the first task's end to the last one's; the ratio is the median over the rounds. Needs root, and the extra
`ray`.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.helpers.ray_lab import GPUS, RayLab, why_no_ray

BARE = """
import subprocess, sys, time, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
@ray.remote(num_gpus={gpus}, num_cpus=1, max_retries=0)
def task():
    return subprocess.run(["sh", "-c", "echo Successfully completed"], capture_output=True).returncode
left, ends = [task.remote() for _ in range(int(sys.argv[2]))], []
while left:
    done, left = ray.wait(left)
    ends.append(time.monotonic())
    assert ray.get(done) == [0]
print(ends[-1] - ends[0])
"""


def bare(lab: RayLab, tasks: int) -> float:
    """Return the seconds from the end of the first to that of the last of so many bare tasks."""
    words = [sys.executable, "-c", BARE.format(gpus=GPUS), lab.address, str(tasks)]
    return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def ours(lab: RayLab, tasks: int) -> float:
    """Return the seconds from the first to the last checkpoint of so many attempts."""
    with tempfile.TemporaryDirectory() as folder:
        sweep = {
            "matrix": {"n": list(range(tasks))},
            "worker": {"command": ["sh", "-c", "echo Successfully completed"]},
            "executor": {"kind": "ray", "address": lab.address, "gpus": GPUS, "scratch": folder},
        }
        file = Path(folder, "overhead.yaml")
        file.write_text(yaml.safe_dump(sweep))
        running = subprocess.Popen(
            [sys.executable, "-m", "scheduler", file, "--root", folder, "--plain"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert running.stdout is not None
        ends = [time.monotonic() for line in running.stdout if ": completed" in line]
        assert running.wait() == 0
        assert len(ends) == tasks
        return ends[-1] - ends[0]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--tasks", type=int, default=24)
    arguments.add_argument("--rounds", type=int, default=5)
    options = arguments.parse_args()
    if (why := why_no_ray()) is not None:
        sys.exit(why)
    lab = RayLab()
    leave = lab.enter()
    ratios = []
    try:
        for _ in range(options.rounds):
            by_ray, by_us = bare(lab, options.tasks), ours(lab, options.tasks)
            ratios.append(by_us / by_ray)
            each = [f"{1000 * seconds / (options.tasks - 1):.0f} ms" for seconds in (by_ray, by_us)]
            print(f"a bare task {each[0]}, an attempt {each[1]}: {ratios[-1]:.2f} x", flush=True)
    finally:
        leave()
        lab.stop()
    print(f"median {statistics.median(ratios):.2f} x ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
