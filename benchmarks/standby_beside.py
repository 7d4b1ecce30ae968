"""Does a standby disturb the task that is being timed beside it?

    python benchmarks/standby_beside.py --out standby-beside --pipe SDXL --cycles 6

One task of a full-size pipeline (random weights, kept in a folder as downloaded ones would be) makes image
after image on one idle GPU, under the real dispatcher; of each call its own time is noted. Meanwhile the next
task's worker prepares, stands by, and is ended again (``scheduler pause`` and ``resume``), cycle after cycle.
The table has the median seconds of a call while it prepares and while it stands by, over that without one in
the same cycle: the median of the cycles, the least and the most. --tiny tries it on a CPU with a miniature
and a stand-in for NVML, which tells nothing of a GPU.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.sharing import environment
from benchmarks.standby_beside_worker import NOTES
from benchmarks.start import BASELINE_UNTIMED, folder_of

WORKER = Path(__file__).resolve().with_name("standby_beside_worker.py")
STATES = ("preparing", "standing by")
LONG = 1000  # images: more than are made
PATIENCE = 180.0  # seconds for anything to happen


class Notes:
    """What the workers have noted so far."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def of(self, kind: str) -> list[dict]:
        if not self._file.exists():
            return []
        lines = self._file.read_text().split("\n")[:-1]  # the last may not be whole yet
        return [note for note in map(json.loads, lines) if note["kind"] == kind]

    def wait(self, kind: str, more_than: int, is_over: Callable[[], bool]) -> dict:
        """Wait for another note of a kind, and return it."""
        end = time.monotonic() + PATIENCE
        while len(self.of(kind)) <= more_than:
            if is_over() or time.monotonic() > end:
                raise SystemExit(f"no {kind} was noted")
            time.sleep(0.02)
        return self.of(kind)[more_than]


def sweep_of(arguments: argparse.Namespace) -> dict:
    """Return the sweep file: a short task, by which the memory of one is known, and two long ones."""
    model = {"dtype": "float32"}
    if not arguments.tiny:
        folder = folder_of(arguments.pipe, arguments)
        model = {"dtype": "float16", "models": {arguments.pipe: folder}}
    words = ["python", str(WORKER), "search", "--pipe", "{pipe}", "--sched", "{sched}"]
    return {
        "name": "beside",
        "matrix": {
            "pipe": [f"TINY_{arguments.pipe}" if arguments.tiny else arguments.pipe],
            "sched": ["DDIM"],
            "images": [2, LONG, LONG + 1],
        },
        "worker": {
            "command": [*words, "--num-samples", "{images}"],
            "args": {"steps": arguments.steps, "batch_size": 1},
            "preload": WORKER.stem,
        },
        "search": {**model, **BASELINE_UNTIMED, "captions": str(captions(arguments))},
        "devices": {"idle_for": "1s", "only": [0]},
        "retries": {"max_attempts": 1},
    }


def captions(arguments: argparse.Namespace) -> Path:
    """Return a file of captions that are enough for the longest task."""
    file = arguments.out / "captions.txt"
    file.write_text(
        "".join(f"picture number {number} of a red box\n" for number in range(LONG + 1))
    )
    return file


def run(arguments: argparse.Namespace) -> list[dict[str, list[float]]]:
    """Return the seconds of each call in each state, of each cycle."""
    out: Path = arguments.out
    file = out / "beside.yaml"
    sweep = sweep_of(arguments)
    file.write_text(json.dumps(sweep, indent=1))
    notes_file = out / "notes.jsonl"
    variables = environment(arguments) | {NOTES: str(notes_file)}
    scheduler = [sys.executable, "-m", "scheduler"]

    def control(word: str, *tasks: str) -> None:
        command = [*scheduler, word, str(file), *tasks, "--root", str(out)]
        subprocess.run(command, env=variables, check=True, stdout=subprocess.DEVNULL)

    dispatcher = subprocess.Popen(
        [*scheduler, str(file), "--root", str(out), "--plain"], env=variables
    )
    notes = Notes(notes_file)
    cycles = []

    def is_over() -> bool:
        return dispatcher.poll() is not None

    try:
        for cycle in range(arguments.cycles):
            begun = notes.wait("begun", cycle, is_over)["at"]
            prepared = notes.wait("prepared", cycle, is_over)["at"]
            time.sleep(prepared - begun)
            paused = time.time()
            control("pause")
            gone = time.time()
            time.sleep(max(2.0, prepared - begun))
            resumed = time.time()
            control("resume")
            spans = {
                "preparing": (begun, prepared),
                "standing by": (prepared, paused),
                "without": (gone, resumed),
            }
            calls = notes.of("call")
            cycles.append(
                {
                    state: [
                        call["seconds"]
                        for call in calls
                        if first <= call["at"] - call["seconds"] / 2 <= last
                    ]
                    for state, (first, last) in spans.items()
                }
            )
            print({state: len(found) for state, found in cycles[-1].items()}, flush=True)
        control("pause")
        control("stop", f"{sweep['matrix']['pipe'][0]}_DDIM_{LONG}")
        while Path(f"/proc/{notes.of('call')[-1]['pid']}").exists():
            time.sleep(0.02)
    finally:
        dispatcher.terminate()
        dispatcher.wait()
    return cycles


def main() -> int:
    """Measure; print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, default=Path("standby-beside"), help="emptied first")
    add("--pipe", choices=("SD15", "SDXL"), default="SDXL")
    add("--cycles", type=int, default=6)
    add("--steps", type=int, default=5)
    add("--tiny", action="store_true", help="try it on a CPU")
    arguments = parser.parse_args()
    arguments.out = arguments.out.absolute()
    shutil.rmtree(arguments.out, ignore_errors=True)
    arguments.out.mkdir(parents=True)
    cycles = run(arguments)
    print(
        "| the next task's worker is | calls | times the seconds of a call without | least | most |"
    )
    print("|---|---|---|---|---|")
    for state in STATES:
        ratios = [
            statistics.median(cycle[state]) / statistics.median(cycle["without"])
            for cycle in cycles
            if cycle[state] and cycle["without"]
        ]
        calls = sum(len(cycle[state]) for cycle in cycles)
        if ratios:
            figures = (statistics.median(ratios), min(ratios), max(ratios))
            print(f"| {state} | {calls} | {' | '.join(f'{ratio:.3f}' for ratio in figures)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
