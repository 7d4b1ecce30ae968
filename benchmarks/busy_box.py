"""Do speed-ups hold on a box that others use as well? The same task alone, beside others, and alone.

    python benchmarks/busy_box.py --out busy-box-results --budget 560 --write docs/data/busy-box.md

SD1.5 and SDXL at full size with random weights, one image at a time, which is where the host sets
the pace: the baseline, its null arm, DeepCache 3, T-GATE and half of the steps, interleaved, in four
situations one after the other:

* alone;
* beside a second process that does the same, on another GPU where there is one, else on this one,
  bound to half of the cores;
* beside a process that computes for every second core;
* alone again.

Each situation has a results file of its own; what is measured is on disk, and a later call goes on
behind it. Exit code 75: some of it is still to be done. --budget is how many seconds a call may
take, --at-most how long the rounds of a situation may. --tiny tries it all on a CPU with the
miniatures.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import busy_box_report

from worker.measure.session import Session
from worker.measure.settings import TaskRequest
from worker.measure.task.task_run import TaskRun
from worker.models.catalogue import find_pipe, find_sched
from worker.models.task import Task
from worker.results.file import ResultsFile
from worker.results.summary import in_words, summarise
from worker.search.section import Search
from worker.search.studies import Study

ALL_BUT_DONE = 75  # as the worker says it: try again later
PIPES = ("SD15", "SDXL")
SITUATIONS = ("alone", "neighbour", "load", "alone again")
# seconds that loading a pipeline and measuring one situation take beyond the rounds, about
LOADING, PASSES = 60, 30
SPIN = "while True: pass"


def section(arguments: argparse.Namespace) -> dict:
    """Return the search section of every situation."""
    own = {} if arguments.tiny else {"weights": "random", "dtype": "float16"}
    return own | {
        "configurations": [
            {"deepcache": {"cache_interval": 3}},
            {"tgate": {"gate_step": 0.4}},
        ],
        "controls": {"fewer_steps": [0.5], "guidance_off": []},
        "timing": {
            "block": 8,
            "energy": False,
            "precision": f"{arguments.precision:g}%",
            "at_most": f"{arguments.at_most:g}s",
        },
    }


def request_for(name: str, arguments: argparse.Namespace) -> TaskRequest:
    pipe = find_pipe(f"TINY_{name}" if arguments.tiny else name)
    return TaskRequest(
        task=Task(pipe, find_sched("DDIM"), arguments.steps),
        search=Search.model_validate(section(arguments)),
        num_samples=1,
        batch_size=1,
        command=f"python benchmarks/busy_box.py --out {arguments.out} --only {name}",
    )


def results_of(out: Path, name: str, situation: str) -> Path:
    return out / f"{name}-{situation.replace(' ', '-')}.jsonl"


def is_done(path: Path) -> bool:
    return any("summary" in line for line in ResultsFile.open(path).lines)


def measure(name: str, arguments: argparse.Namespace) -> int:
    """Measure one pipeline in each situation that is not done; load it once."""
    end = time.monotonic() + arguments.budget
    device = "cpu" if arguments.tiny else "cuda:0"
    request = request_for(name, arguments)
    own = Study("", request.num_samples, request.batch_size, seed=request.seed)

    def say(line: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {name}: {line}", flush=True)

    asked = replace(request.task, image_size=request.search.image_size)
    with Session(asked, device, say) as session:
        for situation in SITUATIONS:
            path = results_of(arguments.out, name, situation)
            if is_done(path):
                continue
            if time.monotonic() + arguments.at_most + PASSES > end:
                return ALL_BUT_DONE
            say(f"--- {situation}")
            with beside(situation, name, arguments):
                results = ResultsFile.open(path)
                task = TaskRun(request, results, device, session, say)
                wanted = task.plan(own).configurations
                task.measure(own, wanted)
                rows = task.profile(own, wanted)
            summary = summarise(rows, request.search.max_loss)
            results.append({"situation": situation, "summary": summary.as_json()})
            for line in in_words(summary):
                say(line)
    return 0


@contextlib.contextmanager
def beside(situation: str, name: str, arguments: argparse.Namespace) -> Iterator[None]:
    """Bring a situation about, and end it."""
    if situation == "load":
        cores = len(os.sched_getaffinity(0))
        commands = [[sys.executable, "-c", SPIN]] * (cores // 2)
    elif situation == "neighbour":
        same = [*sys.argv[1:], "--only", name, "--neighbour"]
        commands = [[sys.executable, "-u", __file__, *same]]
    else:
        commands = []
    with contextlib.ExitStack() as stack:
        children = [
            stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            for command in commands
        ]
        for child in children:
            stack.callback(child.kill)
        if situation == "neighbour":
            for line in children[0].stdout:
                if line == "generating\n":
                    break
            else:
                raise RuntimeError(f"the neighbour ended with code {children[0].wait()}")
        yield
        ended = [child.args for child in children if child.poll() is not None]
        if ended:
            raise RuntimeError(f"ended too early: {ended}")


def be_the_neighbour(name: str, arguments: argparse.Namespace) -> int:
    """Make images as fast as it goes, until somebody ends this process."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[len(cores) // 2 :])
    import torch

    from worker.measure.rounds.call import generate
    from worker.measure.samples import Samples
    from worker.measure.settings import settings_of
    from worker.search.configuration import BASELINE

    device = "cpu" if arguments.tiny else f"cuda:{int(torch.cuda.device_count() > 1)}"
    request = request_for(name, arguments)
    study = Study("", 1, 1)
    with Session(request.task, device, print) as session:
        context = session.context(settings_of(request, study, device), study)
        generate(context, Samples(BASELINE), [0])
        print("generating", flush=True)
        while True:
            generate(context, Samples(BASELINE), [0])


def go_on(arguments: argparse.Namespace) -> int:
    """Do what is not done yet and fits into the budget; return the exit code."""
    end = time.monotonic() + arguments.budget
    code = 0
    for name in PIPES if arguments.only is None else [arguments.only]:
        if all(is_done(results_of(arguments.out, name, item)) for item in SITUATIONS):
            continue
        left = end - time.monotonic()
        needed = LOADING + arguments.at_most + PASSES
        if left < needed:
            print(f"still to do: {name}, of which {needed:.0f} s are the least", flush=True)
            code = code or ALL_BUT_DONE
            continue
        own = [*sys.argv[1:], "--only", name, "--job", "--budget", f"{left:.0f}"]
        done = subprocess.run([sys.executable, __file__, *own], check=False)
        code = code or done.returncode
    return code


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder of the results files")
    add("--budget", type=float, default=1e9, help="seconds that a call may take")
    add("--steps", type=int, default=20, help="of the baseline (default 20)")
    add("--precision", type=float, default=2, help="half of the intervals' width, percent")
    add("--at-most", type=float, default=300, help="seconds of rounds in a situation")
    add("--only", choices=PIPES, help="one of the pipelines")
    add("--tiny", action="store_true", help="tiny pipelines, on a CPU")
    add("--write", type=Path, help="write what was measured to this page")
    add("--job", action="store_true", help=argparse.SUPPRESS)  # as this program starts itself
    add("--neighbour", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.neighbour:
        return be_the_neighbour(arguments.only, arguments)
    if arguments.job:
        return measure(arguments.only, arguments)
    arguments.out.mkdir(parents=True, exist_ok=True)
    code = go_on(arguments) if arguments.budget > 0 else 0
    if arguments.write:
        arguments.write.write_text(busy_box_report.page(arguments.out), encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main())
