"""A worker that tells a file of its own, of which the scheduler knows nothing, when it starts and ends.

python -I -S logging_worker.py FILE TASK BEHAVIOUR [SECONDS]

The first attempt of BEHAVIOUR "waits" waits at the FIFO "gate", as the second of "waits-later" does; the
first of "breaks" removes a folder of ours. The first of "reloads" puts another sweep file in place, asks for
it to be read, and stays. "first" lasts until others can be forked, at most a second. "unleases" removes its
device's lease and waits until there is one again. Whoever comes to its end leaves a measurement, which says
what $ROUND was.
"""

import json
import os
import shutil
import signal
import sys
import time


def main(argv: list[str]) -> int:
    path, task, behaviour, *rest = argv
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    earlier = os.pread(file, 1 << 20, 0).decode().split("\n").count(f"start {task}")
    os.write(file, f"start {task}\n".encode())
    for neighbour in use_gpu():
        os.write(file, f"shares-with-{neighbour} {task}\n".encode())
    if behaviour == "hangs":
        signal.pause()
    if (behaviour, earlier) in (("waits", 0), ("waits-later", 1)):
        with open("gate", "rb", buffering=0) as gate:
            gate.read(1)
    if behaviour == "first":
        give_time_to_load()
    if behaviour == "breaks" and earlier == 0:
        shutil.rmtree(os.path.dirname(os.environ["SWEEP_SPEC"]))
    if behaviour == "reloads" and earlier == 0:
        os.rename("next.yaml", "crash.yaml")
        os.rename("next.json", "checkpoints/crash/.wishes/reload.json")
        signal.pause()
    if behaviour == "unleases":
        lease = os.path.join(os.environ["SCHEDULER_LEASES"], os.environ["CUDA_VISIBLE_DEVICES"])
        os.unlink(lease)
        while not os.path.exists(lease):
            time.sleep(0.01)
    if rest:
        time.sleep(float(rest[0]))  # the work
    of_round = json.dumps({"round": os.environ.get("ROUND")})
    print(of_round, earlier)  # no two attempts have the same log
    with open(os.environ["SWEEP_RESULTS"], "a") as results:
        results.write(of_round + "\n")
    fails = behaviour == "fails" or (behaviour == "fails-once" and earlier == 0)
    os.write(file, f"end {task}\n".encode())
    if fails:
        print("ValueError: as asked")
        return 1
    print("Successfully completed")
    return 0


def give_time_to_load() -> None:
    """Wait until this module is loaded in a process that others are forked from."""
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        with open("output") as output:
            if "logging_worker is loaded" in output.read():
                break
        time.sleep(0.005)


def use_gpu() -> list[int]:
    """Use this attempt's GPU of the fake NVML; return the other processes that do."""
    fake_nvml, gpu = os.environ.get("FAKE_NVML"), os.environ["CUDA_VISIBLE_DEVICES"]
    if not fake_nvml or not gpu:
        return []
    users = f"{fake_nvml}/use/{gpu}"
    with open(f"{users}/{os.getpid()}", "w") as claim:
        claim.write(str(2**30))
    others = [int(name) for name in os.listdir(users) if name != str(os.getpid())]
    return [pid for pid in others if os.path.exists(f"/proc/{pid}")]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
