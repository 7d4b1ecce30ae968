"""What no fake can show: the scheduler on a real GPU, with real CUDA work, failures and deaths.

    python benchmarks/real_gpu.py [FOLDER]

Takes about two minutes on one idle GPU and prints a transcript; exit code 1 if a promise is broken.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent

WORKER = """
import argparse, os, sys, time
import torch
parser = argparse.ArgumentParser()
parser.add_argument("--mode")
parser.add_argument("--batch-size", type=int)
parser.add_argument("--witness")
a = parser.parse_args()
def tell(what):
    with open(a.witness, "a") as file:
        file.write(f"{time.time():.3f} {what} {os.environ['SWEEP_TASK']} {os.getpid()}\\n")
tell("start")
total = torch.cuda.get_device_properties(0).total_memory
if a.mode == "oom":
    block = torch.empty(a.batch_size * int(total * 0.3), dtype=torch.uint8, device="cuda")
    block.fill_(1)
    torch.cuda.synchronize()
else:
    x = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    over = time.time() + {"short": 1, "long": 12, "endless": 600}[a.mode]
    print("computing", flush=True)
    while time.time() < over:
        for _ in range(200):
            x = (x @ x).clamp(-1, 1)
        torch.cuda.synchronize()
tell("end")
print("Successfully completed")
"""
HOLDER = """
import os, sys, time
import torch
block = torch.empty(3 * 2**30, dtype=torch.uint8, device="cuda")
torch.cuda.synchronize()
print("holding", flush=True)
sys.stdin.read()
"""

broken: list[str] = []


def say(text: str) -> None:
    print(text, flush=True)


def check(promise: str, kept: bool) -> None:
    say(f"  [{'ok' if kept else 'BROKEN'}] {promise}")
    if not kept:
        broken.append(promise)


class Place:
    """A folder with a worker, sweeps, and the witness that only the workers write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.witness = folder / "witness"
        (folder / "worker.py").write_text(WORKER)
        (folder / "holder.py").write_text(HOLDER)
        self.environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(
                filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")])
            ),
            "SCHEDULER_LEASES": str(folder / "leases"),
        }

    def sweep(self, name: str, modes: list[str], **sections: object) -> str:
        sweep = {
            "name": name,
            "matrix": {"mode": modes},
            "worker": {
                "command": ["python", str(self.folder / "worker.py"), "--mode", "{mode}"],
                "args": {"batch_size": 4, "witness": str(self.witness)},
            },
            "devices": {"idle_for": "2s", "min_free_memory": "8GiB"},
            "retries": {"max_attempts": 3, "backoff": "1s", "on_oom": {"batch_size": "halve"}},
            **sections,
        }
        (self.folder / f"{name}.yaml").write_text(json.dumps(sweep))
        return f"{name}.yaml"

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "scheduler", *words],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *words: str) -> tuple[int, str]:
        process = self.start(*words)
        output, _ = process.communicate(timeout=200)
        say(textwrap.indent(output.rstrip(), "    "))
        return process.returncode, output

    def seen(self, task: str) -> list[str]:
        if not self.witness.exists():
            return []
        lines = [line.split() for line in self.witness.read_text().splitlines()]
        return [what for _, what, name, _ in lines if name == task]

    def until(self, process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
        assert process.stdout is not None
        for line in process.stdout:
            say("    " + line.rstrip())
            if match := re.search(pattern, line):
                return match
        raise SystemExit(f"the scheduler ended without a line that matches {pattern!r}")

    def rest(self, process: subprocess.Popen[str]) -> int:
        output, _ = process.communicate(timeout=200)
        say(textwrap.indent(output.rstrip(), "    "))
        return process.returncode


def wait_for_log(place: Place, sweep: str, task: str, text: str) -> None:
    log = place.folder / "logs" / sweep / f"{task}.log"
    while not (log.exists() and text in log.read_text()):
        time.sleep(0.05)


def idle_and_foreign(place: Place) -> None:
    say("\n1. A foreign process that holds memory at 0 % utilisation")
    say("   $ python -m scheduler devices")
    _, output = place.run("devices")
    check("an idle GPU is called idle", " yes " in output)
    holder = subprocess.Popen(
        [sys.executable, str(place.folder / "holder.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None and holder.stdin is not None
    holder.stdout.readline()
    say("   (3 GiB are held; nothing computes)")
    _, output = place.run("devices")
    check(
        "a GPU whose memory is held is not idle, and the reason names it",
        " no " in output and "holds" in output,
    )
    sweep = place.sweep("foreign", ["short"])
    process = place.start(sweep)
    place.until(process, r"busy:")
    check("no worker was started beside it", place.seen("short") == [])
    holder.stdin.close()
    holder.wait()
    freed = time.time()
    place.until(process, r"attempt 1 started")
    say(f"   started {time.time() - freed:.2f} s after the GPU fell free (idle_for: 2s)")
    check("the sweep ends well once the GPU is free", place.rest(process) == 0)


def real_oom(place: Place) -> None:
    say("\n2. A real CUDA out-of-memory error: batch 4 wants 120 % of the memory, 2 wants 60 %")
    code, output = place.run(place.sweep("oom", ["oom"]))
    done = place.folder / "checkpoints" / "oom" / "oom.done"
    check(
        "it is recognised, the batch halved, the task completed",
        code == 0 and "out of memory" in output,
    )
    attempts = json.loads(done.read_text())["attempts"] if done.exists() else []
    check(
        "two attempts, the second with batch_size 2",
        [a["overrides"] for a in attempts] == [{}, {"batch_size": 2}],
    )


def killed_in_kernel(place: Place) -> None:
    say("\n3. A worker killed by SIGKILL while its kernels run")
    before = len(place.seen("long"))
    process = place.start(place.sweep("killed", ["long"]))
    place.until(process, r"attempt 1 started")
    wait_for_log(place, "killed", "long", "computing")
    journal = (place.folder / "logs" / "killed" / "journal.jsonl").read_text().splitlines()
    pid = next(e["pid"] for e in map(json.loads, journal) if e["event"] == "attempt_started")
    os.kill(pid, signal.SIGKILL)
    code = place.rest(process)
    check("the attempt is retried and completed", code == 0)
    check("two starts, one end", place.seen("long")[before:] == ["start", "start", "end"])


def dispatcher_dies(place: Place) -> None:
    say("\n4. The dispatcher killed by SIGKILL while its worker computes, then started again")
    before, before_rival = len(place.seen("long")), len(place.seen("short"))
    sweep = place.sweep("adopted", ["long"])
    process = place.start(sweep)
    place.until(process, r"attempt 1 started")
    wait_for_log(place, "adopted", "long", "computing")
    process.kill()
    process.wait()
    say("   (the dispatcher is dead, its worker computes; another sweep wants the GPU)")
    rival = place.start(place.sweep("rival", ["short"]))
    place.until(rival, r"busy:|leased")
    check("the rival does not take the GPU", len(place.seen("short")) == before_rival)
    code, output = place.run(sweep)
    check(
        "the running attempt is taken over, its exit status known",
        code == 0 and "taken over" in output,
    )
    check(
        "one start, one end: nothing was lost or run twice",
        place.seen("long")[before:] == ["start", "end"],
    )
    check("the rival runs afterwards", place.rest(rival) == 0)


def timeout_in_kernel(place: Place) -> None:
    say("\n5. A worker that never ends, stopped by limits.timeout while its kernels run")
    sweep = place.sweep(
        "endless", ["endless"], limits={"timeout": "8s"}, retries={"max_attempts": 1}
    )
    code, output = place.run(sweep)
    check("it is stopped and fails with that reason", code == 1 and "limits.timeout" in output)
    _, output = place.run("devices")
    check("the GPU is free again", " yes " in output)


def main() -> int:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp(prefix="real gpu '"))
    folder.mkdir(parents=True, exist_ok=True)
    place = Place(folder)
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    say(subprocess.run(query, capture_output=True, text=True).stdout.strip())
    for part in (idle_and_foreign, real_oom, killed_in_kernel, dispatcher_dies, timeout_in_kernel):
        part(place)
    say(f"\n{'every promise was kept' if not broken else f'{len(broken)} broken: {broken}'}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
