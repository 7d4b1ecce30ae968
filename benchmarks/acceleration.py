"""What the accelerators give at the real models' size, on one GPU.

Random weights of the published configurations: speed, memory and energy need no download, and the
quality columns stay empty. One command, in as many calls as it takes:

    python benchmarks/acceleration.py --out acceleration-results --budget 540 \\
        --write docs/data/acceleration.md

Each job (the baseline and up to four configurations, interleaved) is a process of its own, and
its measurements are on disk when it ends; a later call goes on behind it. --budget is how many
seconds a call may take: a job is started only if what it took last time on this machine (or a
guess) still fits, and is stopped when the budget ends. What stands first matters most. --first
keeps to the first list, about 25 minutes on an H100. After two failures in a row a call ends.
--tiny tries the whole thing on a CPU with the tiny pipelines.

The folder is all that a later call needs. From a machine that is lent for each call, and gives
back few files, take it as one: `tar cf results.tar acceleration-results`, and unpack it before the
next. Where there is no checkout, DIFFUSION_SWEEPS_COMMIT may name the commit. --budget 0 measures
nothing and only writes the page, also where there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import acceleration_report
from run_log import RunLog

from worker.errors import WorkerError
from worker.measure.settings import TaskRequest
from worker.measure.task.run import run
from worker.models.catalogue import find_pipe, find_sched
from worker.models.task import Task
from worker.results.file import ResultsFile
from worker.search.section import Search

ALL_BUT_DONE = 75  # as the worker says it: try again later
# what fails twice is not the job's fault, and a lent machine's time is short
FAILURES_IN_A_ROW = 2
TITLE = "# What the accelerators give, all figures\n\n"
# above it stands what a person read from the tables
MARK = "<!-- what follows is written by benchmarks/acceleration.py -->"

NO_CONTROLS = {"fewer_steps": [], "guidance_off": [], "null_arm": False}
FEWER_STEPS = NO_CONTROLS | {"fewer_steps": [0.5, 0.3]}
DEEPCACHE_3 = {"deepcache": {"cache_interval": 3}}
DEEPCACHE_5 = {"deepcache": {"cache_interval": 5}}
TGATE = {"tgate": {"gate_step": 0.2}}  # 10 of 50 steps
TWICE = [DEEPCACHE_3, DEEPCACHE_5, TGATE]
COMPILED = {"settings": {"compile": True}}


@dataclass(frozen=True)
class Job:
    """What one process measures, with a results file of its own."""

    name: str
    pipe: str
    batch_size: int
    section: dict = field(default_factory=dict)
    sched: str = "DDIM"
    steps: int = 50
    rounds: int = 10
    guess: float = 200
    """Seconds that it may take where it was never measured."""
    packages: bool = False
    """Compare with the published packages instead."""
    scoring: bool = False
    """Time what scores the images instead."""


def tome(pipe: str) -> dict:
    return {"tome": {"ratio": 0.5, "max_downsample": 2 if pipe == "SDXL" else 1}}


def of(configurations: list, controls: dict = NO_CONTROLS, **more) -> dict:
    return {"configurations": configurations, "controls": controls, **more}


TASKS = (("SDXL", 2), ("SD15", 4))

# The jobs of the first list and the seconds that each is guessed to take on an H100, rather too
# many than too few: one that is stopped is lost, a call that ends early is made again. The order is
# what is to be known first; the cheapest begins, so that what cannot work costs little.
FIRST = (
    ("SD15-cached", 110),
    ("SDXL-cached", 210),
    ("SDXL-packages", 230),
    ("SD15-again", 100),
    ("SDXL-combined", 250),
    ("SDXL-again", 200),
    ("SD15-packages", 120),
    ("SDXL-compiled", 420),
    ("SD15-compiled", 230),
    ("SD15-combined", 110),
    ("SD15-scoring", 60),
    ("SDXL-scoring", 60),
    ("SDXL-tgate", 280),
    ("SDXL-tgate-again", 280),
)


def first_jobs() -> Iterator[Job]:
    """The table of the accelerators, three of them again, the packages, and compiled ones."""
    for name, guess in FIRST:
        pipe, kind = name.split("-")[:2]
        batch = dict(TASKS)[pipe]
        combined = [TGATE, tome(pipe), DEEPCACHE_3 | TGATE, DEEPCACHE_3 | TGATE | tome(pipe)]
        more = {
            "cached": {"section": of([DEEPCACHE_3, DEEPCACHE_5], FEWER_STEPS)},
            "combined": {"section": of(combined)},
            "again": {"section": of(TWICE)},
            "packages": {"packages": True, "rounds": 7},  # enough for an interval
            "scoring": {"scoring": True},
            "compiled": {"section": of([DEEPCACHE_3], **COMPILED)},
            # the host sets its pace, and hosts have stalls: more rounds
            "tgate": {"section": of([TGATE]), "rounds": 30},
        }
        yield Job(name, pipe, batch, guess=guess, **more[kind])


def later_jobs() -> Iterator[Job]:
    """As time on the machine allows."""
    rest = NO_CONTROLS | {"guidance_off": [0.2], "null_arm": True}
    waiting = {"tgate": {"gate_step": 0.2, "sp_interval": 5, "warm_up": 2}}
    for pipe, batch in TASKS:
        yield Job(f"{pipe}-compiled-tgate", pipe, batch, of([TGATE], **COMPILED), guess=400)
        intervals = [{"deepcache": {"cache_interval": [2, 8, 10]}}]
        yield Job(f"{pipe}-intervals", pipe, batch, of(intervals))
        branches = [{"deepcache": {"cache_interval": [3, 5], "cache_branch_id": [1, 2]}}]
        yield Job(f"{pipe}-branches", pipe, batch, of(branches))
        steps = rest | {"fewer_steps": [0.4, 0.2]}
        yield Job(f"{pipe}-controls", pipe, batch, of([], steps))
        yield Job(f"{pipe}-tgate-intervals", pipe, batch, of([waiting]))
    both = [DEEPCACHE_3, TGATE, DEEPCACHE_3 | TGATE]
    for name, pipe, batch, sched, steps in (
        ("SD21", "SD21", 4, "DDIM", 50),
        ("SD21-dpm-25-1", "SD21", 1, "DPMSolverMultistep", 25),
        ("SDXL-dpm", "SDXL", 2, "DPMSolverMultistep", 50),
        ("SD15-25", "SD15", 4, "DDIM", 25),
        ("SDXL-1", "SDXL", 1, "DDIM", 50),
        ("SD15-1", "SD15", 1, "DDIM", 50),
    ):
        section = of([*both, tome(pipe)])
        yield Job(name, pipe, batch, section, sched=sched, steps=steps)
        section = of([DEEPCACHE_5], FEWER_STEPS)
        yield Job(f"{name}-steps", pipe, batch, section, sched=sched, steps=steps)


def measure(job: Job, out: Path, tiny: bool) -> None:
    """Measure one job in this process."""
    device, steps = ("cpu", job.steps // 10) if tiny else ("cuda:0", job.steps)
    name, rounds = (f"TINY_{job.pipe}", 2) if tiny else (job.pipe, job.rounds)
    results = ResultsFile.open(out / f"{job.name}.jsonl")
    if job.packages:
        import against_packages

        task = (name, steps, job.batch_size, rounds, device)
        for found in against_packages.measure(*task, known=[*results.lines]):
            print(json.dumps(found), flush=True)
            results.append(found)
        return
    if job.scoring:
        results.append({"scoring": time_scoring(name, job.batch_size, rounds, device)})
        return
    section = job.section | {
        "captions": "package:captions/tiny.txt",
        "timing": {"repeats": rounds, "warmup": 1, "block": 4},
    }
    if not tiny:
        section |= {"weights": "random", "dtype": "float16"}
    request = TaskRequest(
        task=Task(find_pipe(name), find_sched(job.sched), steps),
        search=Search.model_validate(section),
        num_samples=job.batch_size * rounds,
        batch_size=job.batch_size,
        command=f"python benchmarks/acceleration.py --out {out} --only {job.name}",
    )

    def say(line: str) -> None:
        if not line.startswith("  "):
            print(f"{time.strftime('%H:%M:%S')} {job.name}: {line}", flush=True)

    run(request, results, device, say)


def time_scoring(name: str, batch_size: int, rounds: int, device: str) -> dict:
    """Time CLIP score, PSNR and SSIM of a batch, by a scorer of the size of the pipe's own.

    Its weights are random as well: that makes it no slower and no faster.
    """
    import torch

    from worker.metrics.clip import ClipScorer
    from worker.metrics.similarity import psnr, ssim
    from worker.results import environment, statistics

    pipe = find_pipe(name)
    model, weights = pipe.clip
    scorer = ClipScorer(model, None if pipe.is_published else weights, device)
    captions = scorer.encode(["a cat"] * batch_size)
    images = torch.rand(batch_size, 3, pipe.image_size, pipe.image_size, device=device)
    seconds = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        scorer.score(images, captions)
        psnr(images, images)
        ssim(images, images)  # each of them waits for the device: its figures are Python's floats
        seconds.append(time.perf_counter() - start)
    return {
        "pipe": name,
        "batch_size": batch_size,
        "scorer": model,
        "seconds_per_batch": statistics.percentile(seconds[1:], 50),
        "environment": environment.describe(device),
    }


def machine(tiny: bool) -> str:
    """Return the GPU's name and its driver, without becoming a process that uses it."""
    if tiny:
        return "cpu"
    import pynvml

    try:
        pynvml.nvmlInit()
        gpu = pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(0))
        return f"{gpu}, driver {pynvml.nvmlSystemGetDriverVersion()}"
    except pynvml.NVMLError as error:
        raise SystemExit(f"no GPU here ({error}); --tiny needs none") from error


def go_on(jobs: list[Job], arguments: argparse.Namespace) -> int:
    """Start what still fits into the budget, and return the exit code."""
    end = time.monotonic() + arguments.budget
    run_log = RunLog(arguments.out, machine(arguments.tiny))
    failed, in_a_row = False, 0
    waiting = []
    for job in jobs:
        left = end - time.monotonic()
        if run_log.is_done(job.name):
            continue
        if run_log.expected(job.name, job.guess) > left or in_a_row == FAILURES_IN_A_ROW:
            waiting.append(job)
            continue
        run_log.note(job.name, "started", left)
        command = [sys.executable, __file__, "--out", arguments.out, "--job", job.name]
        start = time.monotonic()
        try:
            child = subprocess.run([*command, *["--tiny"] * arguments.tiny], timeout=left)
        except subprocess.TimeoutExpired:
            run_log.note(job.name, "stopped", left)
            print(f"{job.name}: stopped, the budget is spent", flush=True)
            waiting.append(job)
            continue
        took = time.monotonic() - start
        if child.returncode == 0:
            run_log.note(job.name, "ended", took)
            print(f"{job.name}: ended after {took:.0f} s", flush=True)
            in_a_row = 0
        else:  # a negative code is a signal, of which the job could not tell itself
            code = child.returncode
            print(f"{job.name}: failed with code {code} after {took:.0f} s", flush=True)
            failed, in_a_row = True, in_a_row + 1
    if in_a_row == FAILURES_IN_A_ROW:
        print(f"{in_a_row} jobs failed one after the other: nothing else was started")
    for job in waiting:
        print(f"still to do: {job.name}, about {run_log.expected(job.name, job.guess):.0f} s")
    return 1 if failed else ALL_BUT_DONE if waiting else 0


def write(page: Path, text: str) -> None:
    """Write the page whole or not at all; what stands above its marked line is kept."""
    page.parent.mkdir(parents=True, exist_ok=True)
    before = page.read_text(encoding="utf-8") if page.exists() else ""
    head, marked, _ = before.partition(MARK)
    half = page.with_name(f"{page.name}.new")
    half.write_text((head if marked else TITLE) + f"{MARK}\n\n{text}", encoding="utf-8")
    half.replace(page)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the results files")
    parser.add_argument("--budget", type=float, default=1e9, help="seconds that a call may take")
    parser.add_argument("--first", action="store_true", help="only the first list")
    parser.add_argument("--only", help="comma-separated names of jobs")
    parser.add_argument("--list", action="store_true", help="print the jobs' names")
    parser.add_argument("--tiny", action="store_true", help="tiny pipelines, on a CPU")
    parser.add_argument(
        "--write", type=Path, help="write all that was measured to this page, below its marked line"
    )
    parser.add_argument("--job", help=argparse.SUPPRESS)  # what this program starts itself as
    arguments = parser.parse_args()
    jobs = [*first_jobs(), *([] if arguments.first else later_jobs())]
    wanted = arguments.job or arguments.only
    if wanted:
        unknown = set(wanted.split(",")) - {job.name for job in jobs}
        if unknown:
            parser.error(f"unknown {', '.join(sorted(unknown))}; see --list")
        jobs = [job for job in jobs if job.name in wanted.split(",")]
    if arguments.list:
        print("\n".join(job.name for job in jobs))
        return 0
    if arguments.job:
        try:
            measure(jobs[0], arguments.out, arguments.tiny)
        except WorkerError as error:
            print(f"error: {error}", file=sys.stderr)
            return error.exit_code
        return 0
    code = go_on(jobs, arguments) if arguments.budget > 0 else 0
    if arguments.write:
        write(arguments.write, acceleration_report.page(arguments.out))
    return code


if __name__ == "__main__":
    sys.exit(main())
