"""The scripted worker, which can prepare: it logs that it does, and prints a line.

A thread of it stays, as those of libraries do. It waits for ever where a file ``prepare waits`` lies in its
folder, fails where ``prepare fails`` or ``TASK fails`` does, exits where ``TASK exits`` does, and leaves a
child behind where ``TASK has a child`` does.
"""

import json
import os
import signal
import subprocess
import threading
from pathlib import Path

from preloaded_worker import main  # noqa: F401  # the other half of what the scheduler calls


def prepare(argv):
    folder, task = argv[:2]
    cpus, device = sorted(os.sched_getaffinity(0)), os.environ["CUDA_VISIBLE_DEVICES"]
    spec = json.loads(Path(os.environ["SWEEP_SPEC"]).read_text())
    line = {
        "what": "prepare",
        "spec": spec["task"],
        "results": os.environ["SWEEP_RESULTS"],
        "task": task,
        "pid": os.getpid(),
        "cpus": cpus,
        "device": device,
    }
    with Path(folder, "event_log.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    print("prepared for", task)
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    if Path(folder, f"{task} has a child").exists():
        child = subprocess.Popen(["sleep", "1000"], cwd=folder)
        line |= {"what": "child", "child": child.pid}
        with Path(folder, "event_log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
    if any(Path(folder, f"{whose} fails").exists() for whose in ("prepare", task)):
        raise ValueError("as asked")
    if Path(folder, f"{task} exits").exists():
        os._exit(3)
    if Path(folder, "prepare waits").exists():
        signal.pause()
