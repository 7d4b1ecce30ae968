"""The tiny sweep: it can answer its own questions, and its frontier is drawn from its results."""

import subprocess
import sys
from pathlib import Path

import yaml

from worker.results.file import ResultsFile
from worker.results.row import MEASURED, Figures, Row, metric
from worker.results.statistics import FEWEST_IMAGES
from worker.search.section import Search

ROOT = Path(__file__).resolve().parents[3]
TINY = yaml.safe_load((ROOT / "sweeps/tiny.yaml").read_text())


def test_every_task_measures_enough_images_to_decide_its_bound():
    arguments, search = TINY["worker"]["args"], Search.model_validate(TINY["search"])
    assert arguments["num_samples"] >= FEWEST_IMAGES
    # all of a task in one block, paired with one run of the baseline
    configurations = len(search.configurations or ())
    controls = len(search.controls.fewer_steps) + len(search.controls.guidance_off) + 1
    assert configurations + controls <= search.timing.block


def row(label, speed=None, loss=None, **configuration):
    metrics = [metric("clip_score", 88.0, "", "higher"), metric("images_scored", 16, "", None)]
    if speed is not None:
        metrics.append(metric("speedup", speed, "×", "higher", low=speed - 0.2, high=speed + 0.2))
        low, high = loss - 0.01, loss + 0.01
        metrics.append(metric("quality_loss", loss, "", "lower", low=low, high=high))
    return Row(
        label=label,
        role="candidate" if speed and "steps" not in configuration else "control",
        configuration={"accelerators": {}} | configuration,
        status=MEASURED,
        metrics=metrics,
        samples=Figures(),
        settings={"digest": "today's"},
        environment={},
    ).as_json()


def drawn(folder):
    command = [sys.executable, ROOT / "benchmarks/shapes_frontier.py", folder]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_the_frontier_is_drawn_from_the_results(tmp_path):
    deepcache, tgate = {"cache_interval": 3}, {"gate_step": 2}
    baseline = row("baseline") | {"role": "baseline"}
    tasks = {
        "one": [
            baseline,
            row("3 steps", 1.4, 0.047, steps=3),
            row("DeepCache 3/0", 1.76, 0.018, accelerators={"deepcache": deepcache}),
            row("ToMe 0.5/2", 0.8, -0.001, accelerators={"tome": {"ratio": 0.5}}),
            row("T-GATE 2", 1.35, 0.004, accelerators={"tgate": tgate}),
        ],
        "two": [
            baseline,
            row("3 steps", 2.0, 0.03, steps=3),
            row("DeepCache 3/0", 1.5, -0.002, accelerators={"deepcache": deepcache}),
            row("both", 1.9, 0.01, accelerators={"deepcache": deepcache, "tgate": tgate}),
        ],
    }
    for name, rows in tasks.items():
        results = ResultsFile.open(tmp_path / f"{name}.jsonl")
        for item in [*rows, {"summary": {}}]:
            results.append(item)
    assert drawn(tmp_path).splitlines()[2:] == [
        "| one | baseline |  |  |",
        "|  | T-GATE 2 | 1.35 (1.15 to 1.55) | 0.4% (-0.6% to 1.4%) |",
        "|  | DeepCache 3/0 | 1.76 (1.56 to 1.96) | 1.8% (0.8% to 2.8%) |",
        "| two | DeepCache 3/0 | 1.50 (1.30 to 1.70) | -0.2% (-1.2% to 0.8%) |",
        "|  | both | 1.90 (1.70 to 2.10) | 1.0% (0.0% to 2.0%) |",
        "|  | 3 steps | 2.00 (1.80 to 2.20) | 3.0% (2.0% to 4.0%) |",
        "",
        "On the frontiers of 2 tasks: DeepCache in 2, DeepCache + T-GATE in 1, T-GATE in 1, "
        "baseline in 1, fewer steps in 1.",
    ]


def test_only_what_the_task_itself_found_last_is_drawn(tmp_path):
    used = {"accelerators": {"deepcache": {"cache_interval": 3}}}
    results = ResultsFile.open(tmp_path / "one.jsonl")
    old = {"settings": {"digest": "yesterday's"}}
    results.append(row("DeepCache 3/0, other settings", 9.0, 0.0, **used) | old)
    results.append(row("baseline") | {"role": "baseline"})
    results.append(row("DeepCache 3/0, measured before", 1.9, 0.01, **used))
    few = row("DeepCache 3/0", 1.76, 0.018, **used)
    few["metrics"][2] |= {"low": None, "high": None}  # under six pairs
    results.append(few)
    results.append(row("DeepCache 3/0 (seed 9)", 3.0, 0.01, **used) | {"study": "seed 9"})
    assert drawn(tmp_path).splitlines()[2:4] == [
        "| one | baseline |  |  |",
        "|  | DeepCache 3/0 | 1.76 (? to ?) | 1.8% (0.8% to 2.8%) |",
    ]
