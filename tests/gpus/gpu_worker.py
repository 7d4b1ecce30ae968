"""A worker on a GPU of the fake NVML: takes memory, checks what it was given, fails as told.

python -I -S gpu_worker.py EVENT_LOG FATE [--batch-size N]
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

GIB = 2**30


def main() -> int:
    event_log, fate = sys.argv[1], sys.argv[2]
    batch_size = int(sys.argv[-1])
    gpu, task = os.environ["CUDA_VISIBLE_DEVICES"], os.environ["SWEEP_TASK"]
    assert gpu.startswith(("GPU-", "MIG-")), gpu
    assert "," not in gpu, f"one device per attempt, not {gpu}"
    assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    users = Path(os.environ["FAKE_NVML"], "use", gpu)
    (users / str(os.getpid())).write_text(str(4 * GIB))
    others = [p for p in os.listdir(users) if p != str(os.getpid()) and Path("/proc", p).exists()]
    log = os.open(event_log, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    earlier = os.pread(log, 1 << 20, 0).decode().split("\n").count(f"start {task}")
    os.write(log, "".join(f"shared {task} {gpu} {other}\n" for other in others).encode())
    os.write(log, f"start {task}\n{gpu} {task}\n".encode())
    code = act(fate, first=earlier == 0, batch_size=batch_size)
    os.write(log, f"end {task}\n".encode())
    return code


def act(fate: str, *, first: bool, batch_size: int) -> int:
    if fate == "oom" and batch_size > 1:
        print("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 80.00 GiB")
        return 1
    if fate == "flaky" and first:
        print("Traceback (most recent call last):\nRuntimeError: a one-off")
        return 1
    if fate == "killed" and first:
        os.kill(os.getpid(), signal.SIGKILL)
    if fate == "wrong":
        print("Traceback (most recent call last):\nModuleNotFoundError: No module named 'nothing'")
        return 1
    if fate == "orphans":  # a grandchild in a session of its own, on the same GPU
        claim = 'echo 1073741824 > "$FAKE_NVML/use/$CUDA_VISIBLE_DEVICES/$$"; echo; exec sleep 600'
        child = subprocess.Popen(["setsid", "sh", "-c", claim], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
    if fate == "computes":  # until the one beside it was stopped for doing nothing
        stopped = Path(os.environ["SWEEP_RESULTS"]).with_name("1_hangs.failed")
        while not stopped.exists() and time.process_time() < 60:
            pass
    if fate == "hangs":
        signal.pause()
    if fate == "waits":
        with open(os.environ["READY"], "w") as ready:
            ready.write("!")
        with open(os.environ["GATE"]):  # a FIFO: opens when the test opens it too
            pass
    print("Successfully completed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
