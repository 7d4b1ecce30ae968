"""A worker that notes its start and its end: noting_worker.py EVENT_LOG KIND.

A line of the log is what happened, the time, the GPUs, the kind, the task and the process. One of the kind
``staged`` notes its stage instead, and leaves the rest of its task after the first. One of the kind
``waits`` opens the FIFO in ``READY`` and waits at the one in ``GATE``; where ``PERMITS`` names one, a byte
of it lets one worker end.
"""

import json
import os
import sys
import time
from pathlib import Path

log, kind = sys.argv[1:3]
gpus, task = os.environ["CUDA_VISIBLE_DEVICES"], os.environ["SWEEP_TASK"]
for gpu in gpus.split(","):
    (Path(os.environ["FAKE_NVML"], "use", gpu) / str(os.getpid())).write_text(str(16 * 2**30))
if kind == "staged":
    kind = json.loads(Path(os.environ["SWEEP_SPEC"]).read_text())["stage"]
out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def note(what):
    line = f"{what} {time.monotonic()} {gpus} {kind} {task} {os.getpid()}\n"
    os.write(out, line.encode())


note("start")
if kind == "waits":
    with open(os.environ["READY"], "w") as ready:
        ready.write("!")
    open(os.environ["GATE"]).close()
else:
    time.sleep(0.3)  # the work
if "PERMITS" in os.environ:
    os.read(os.open(os.environ["PERMITS"], os.O_RDONLY), 1)
note("end")
print(
    "Timed stage completed"
    if kind == "timed" and sys.argv[2] == "staged"
    else "Successfully completed"
)
