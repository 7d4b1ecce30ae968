"""A worker that follows a test's script, and logs what it does.

``scripted_worker.py FOLDER TASK [--batch-size N]``: FOLDER holds ``script.json``, what to do in each
attempt of each task (the last entry again and again), and ``event_log.jsonl``, to which every start
and end is appended. The scheduler knows nothing of either. Imports little: many are started.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time

FOLDER, TASK = sys.argv[1:3]
SUCCESS = "Successfully completed"


def log_event(what, **facts):
    line = {"what": what, "task": TASK, "pid": os.getpid(), "at": time.time(), **facts}
    log = os.open(f"{FOLDER}/event_log.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(log, json.dumps(line).encode() + b"\n")
    os.close(log)


def attempts_before():
    try:
        with open(f"{FOLDER}/event_log.jsonl") as file:
            lines = [json.loads(line) for line in file]
    except FileNotFoundError:
        return 0
    return sum(line["what"] == "start" and line["task"] == TASK for line in lines)


def batch_size():
    return int(sys.argv[sys.argv.index("--batch-size") + 1])


def wait_at_gate():
    """Wait until the test opens the gate; it learns from its own open() that we are here."""
    with open(f"{FOLDER}/gate {TASK}") as gate:
        gate.read()


def print_long_lines():
    print("x" * 3_000_000)
    print("\r".join(f"{percent}%|{'█' * percent}" for percent in range(101)))
    sys.stdout.flush()
    sys.stdout.buffer.write(bytes(range(256)) * 10 + b"\n")


def leave_family_behind():
    """Start children that outlive us: in a group, in a session, twice removed, deaf to SIGTERM."""
    ready_out, ready_in = os.pipe()
    for number in range(4):
        child = os.fork()
        if child == 0:
            if number > 0:
                os.setsid()
            if number == 2 and os.fork() != 0:
                os._exit(0)
            if number == 3:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            log_event("child")
            os.write(ready_in, b".")
            signal.pause()
            os._exit(0)
        if number == 2:
            os.waitpid(child, 0)  # or it might outlive us as well, and be a fifth
    for _ in range(4):
        os.read(ready_out, 1)


def start_helper():
    """Start a child as most programs do, by subprocess: it inherits no descriptor but the standard ones."""
    code = "import signal; print(flush=True); signal.pause()"
    command = [sys.executable, "-I", "-S", "-c", code, FOLDER]
    helper = subprocess.Popen(command, stdout=subprocess.PIPE)
    helper.stdout.readline()
    log_event("child", child=helper.pid)


def do(word, argument):
    if word == "gate":
        wait_at_gate()
    elif word == "print":
        print(argument, flush=True)
    elif word == "stretch":  # the log: its new bytes are zeros that take no room
        os.ftruncate(1, os.fstat(1).st_size + int(argument))
    elif word == "flood":  # the log, or the results file, until there is no room
        path = "/proc/self/fd/1" if argument == "log" else os.environ["SWEEP_RESULTS"]
        with open(path, "ab", buffering=0) as file:
            while True:
                file.write(b"cp: something went wrong, once more\n" * 1000)
    elif word == "chatter":
        print_long_lines()
    elif word == "sleep":  # where other things are to happen meanwhile
        time.sleep(float(argument))
    elif word == "raise":
        raise {"RuntimeError": RuntimeError, "ImportError": ImportError}[argument]("as scripted")
    elif word == "exit":
        sys.exit(int(argument))
    elif word == "kill":
        os.kill(os.getpid(), int(argument))
    elif word == "hang":
        log_event("hangs")
        signal.pause()
    elif word == "tidy":  # what was found so far is worth a row
        signal.signal(signal.SIGTERM, lambda *_: (do("results", argument), sys.exit(1)))
        log_event("hangs")
        while True:
            signal.pause()
    elif word == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        log_event("hangs")
        while True:
            signal.pause()
    elif word == "family":
        leave_family_behind()
    elif word == "helper":
        start_helper()
    elif word == "fits":
        if batch_size() > int(argument):
            print("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB")
            sys.exit(0)
    elif word == "results":
        with open(os.environ["SWEEP_RESULTS"], "a") as file:
            file.write(argument + "\n")
    elif word == "ok":
        print(SUCCESS)
        sys.exit(0)
    else:
        raise ValueError(f"nobody taught me to {word}")


def main():
    before = attempts_before()
    alone = os.open(f"{FOLDER}/alone {TASK}", os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        fcntl.flock(
            alone, fcntl.LOCK_EX | fcntl.LOCK_NB
        )  # released by the kernel, at death at the latest
    except BlockingIOError:
        log_event("not alone")
    environment = {
        k: v for k, v in os.environ.items() if k.startswith(("SWEEP", "CUDA", "OMP", "MY_"))
    }
    cpus = sorted(os.sched_getaffinity(0))
    log_event("start", argv=sys.argv[3:], environment=environment, cpus=cpus)
    with open(f"{FOLDER}/script.json") as file:
        script = json.load(file).get(TASK, ["ok"])
    try:
        for step in script[min(before, len(script) - 1)].split("; "):
            word, _, argument = step.partition(" ")
            do(word, argument)
    finally:
        log_event("end")


main()
