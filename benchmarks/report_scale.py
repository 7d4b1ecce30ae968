"""How long a report of 10,000 measurements takes to be written, and to be open in Chromium.

    python benchmarks/report_scale.py [--tasks 400]

Rows are made up, 25 to a task. Opening needs playwright, and a chromium on the path.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROWS = 25  # of a task


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", type=int, default=400)
    tasks = parser.parse_args().tasks
    with tempfile.TemporaryDirectory() as folder:
        box = Path(folder)
        write_sweep(box, tasks)
        began = time.perf_counter()
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
        command = [sys.executable, "-m", "scheduler", "report", "many.yaml"]
        subprocess.run(command, cwd=box, env=environment, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(
            f"{tasks * ROWS} measurements written in {seconds:.1f} s "
            f"({used.ru_utime + used.ru_stime:.1f} s of CPU time)"
        )
        page = box / "many-report.html"
        print(f"{page.stat().st_size / 1e6:.1f} MB, open in {seconds_to_open(page):.1f} s")


def write_sweep(box: Path, tasks: int) -> None:
    names = [f"task-{number}" for number in range(tasks)]
    sweep = {"worker": {"command": ["true", "{task}"]}, "matrix": {"t": names}}
    (box / "many.yaml").write_text(json.dumps(sweep))
    folder = box / "checkpoints" / "many"
    folder.mkdir(parents=True)
    chance = random.Random(0)
    for name in names:
        rows = [made_up(number, chance) for number in range(ROWS)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


# What rows of a GPU have: a usual value, whether there is an interval, which way is better.
METRICS: dict[str, tuple[float, bool, str | None]] = {
    "clip_score": (30.0, True, "higher"),
    "psnr": (22.0, True, "higher"),
    "ssim": (0.8, True, "higher"),
    "lpips": (0.2, True, "lower"),
    "seconds_per_image": (2.0, False, "lower"),
    "seconds_per_batch": (4.0, False, "lower"),
    "seconds_per_batch_p95": (4.1, False, "lower"),
    "seconds_per_batch_iqr": (0.05, False, "lower"),
    "images_per_second": (0.5, False, "higher"),
    "seconds_setup": (0.1, False, "lower"),
    "efficiency": (1.5, False, "higher"),
    "peak_memory": (1.4e10, False, "lower"),
    "memory_added": (2e8, False, "lower"),
    "energy_per_image": (900.0, True, "lower"),
    "mean_power": (500.0, False, "lower"),
    "device_seconds": (3.5, False, "lower"),
    "device_busy_share": (0.9, False, None),
    "speedup_device": (1.6, True, "higher"),
    "gpu_utilization": (97.0, False, None),
    "gpu_clock": (1900.0, False, None),
    "cpu_seconds_per_batch": (4.0, False, None),
    "cpu_seconds_per_batch_iqr": (0.01, False, None),
    "host_share": (0.6, False, None),
    "wait_share": (0.01, False, "lower"),
    "core_slowness": (1.02, False, "lower"),
}


def made_up(number: int, chance: random.Random) -> dict[str, object]:
    def metric(name: str, value: float, sure: bool, better: str | None) -> dict[str, object]:
        half = abs(value) / 20
        ends = {"low": value - half, "high": value + half} if sure else {}
        return {"name": name, "value": value, "better": better, **ends}

    metrics = [
        metric(name, usual * (0.9 + chance.random() / 5), sure, better)
        for name, (usual, sure, better) in METRICS.items()
    ]
    if number:
        metrics += [
            metric("speedup", 1 + 2 * chance.random(), True, "higher"),
            metric("quality_loss", chance.random() / 10, True, "lower"),
            {"name": "images_scored", "value": 64},
        ]
    accelerators = {"deepcache": {"cache_interval": number}} if number else {}
    role = "candidate" if number else "baseline"
    label = f"DeepCache {number}" if number else "baseline"
    return {
        "label": label,
        "role": role,
        "metrics": metrics,
        "configuration": {"accelerators": accelerators},
        "environment": {"device": "NVIDIA H200", "versions": {"torch": "2.11.0"}},
        "reproduce": {"command": "python -m worker search --pipe SDXL --sched DDIM --steps 50"},
    }


def seconds_to_open(page: Path) -> float:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        tab = browser.new_page()
        began = time.perf_counter()
        tab.goto(page.as_uri())
        tab.wait_for_selector("#devices", state="attached")
        assert tab.locator("#rows tbody tr").count()
        seconds = time.perf_counter() - began
        browser.close()
    return seconds


if __name__ == "__main__":
    main()
