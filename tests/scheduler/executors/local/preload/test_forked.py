"""What runs in a fork of a process that has loaded it is, to all who look, what its command would be."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler.executors.local.handles import Spawner, Starter, SupervisorHandle
from scheduler.executors.local.preload.command import Loading
from scheduler.executors.local.preload.loaded import LoadedParent
from scheduler.executors.local.wire import Run, Setup, WorkerEnded
from scheduler.storage.attempts_file import EndLine
from tests.helpers.waiting import readable

WORKER = """
import atexit, ctypes, json, os, signal, subprocess, sys, threading, time

def say(*words):
    print(*words)

def daemon():
    subprocess.Popen(["sleep", "1000"], start_new_session=True)

def late():
    threading.Thread(target=lambda: (time.sleep(0.05), print("the thread ends"))).start()
    atexit.register(print, "at exit")

def signals():
    ignored = [n for n in signal.valid_signals() if signal.getsignal(n) == signal.SIG_IGN]
    print(ignored, signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.getsignal(signal.SIGINT))

def around():
    left_out = ("LC_CTYPE", "SHLVL", "_")
    print(sys.argv, os.getcwd(), os.getsid(0) == os.getpid(), sys.stdin.read() == "")
    print(json.dumps({k: v for k, v in os.environ.items() if k not in left_out}, sort_keys=True))
    print(open(f"/proc/{os.getpid()}/environ", "rb").read().count(b"SWEEP_ATTEMPT=mark\\0"))
    print(open("/proc/self/cmdline", "rb").read().rstrip(b"\\0").split(b"\\0")[1:])
    print(sorted(os.sched_getaffinity(0)), sorted(os.listdir("/proc/self/fd")))
    sys.stdout.flush()
    os.system("env | grep MARK; env | grep -c OPENBLAS")

def descriptors():
    for pid in (os.getpid(), os.getppid()):
        os.system(f"ls -l /proc/{pid}/fd")

def main(argv):
    return eval(argv[0])

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""
ENDS = [
    *("None", "0", "3", "256 + 7", "'a text'", "say('no line end', end='')", "1/0"),
    *("sys.exit()", "sys.exit(4)", "sys.exit('in words')", "os._exit(5)", "os.abort()"),
    *("os.kill(os.getpid(), signal.SIGTERM)", "signal.raise_signal(signal.SIGINT)"),
    *("ctypes.CDLL(None).printf(b'from C')", "late()", "sys.stdout.close()", "signals()"),
    *("daemon()", "around()", "threading.Thread(target=lambda: 1/0).start()"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forked")
    (folder / "worker_of_mine.py").write_text(WORKER)
    return folder


@pytest.fixture(scope="module")
def parent(folder: Path) -> Iterator[LoadedParent]:
    loading = Loading.of(command_of(folder, ""), "worker_of_mine", folder)
    assert loading is not None
    parent = LoadedParent(loading, os.environ, [], folder / "stderr", folder)
    assert readable(parent, 60)
    assert parent.said() is None
    yield parent
    parent.end()
    assert "Traceback" not in (folder / "stderr").read_text()


def command_of(folder: Path, what: str) -> list[str]:
    return [sys.executable, str(folder / "worker_of_mine.py"), what]


def run(starter: Starter, folder: Path, what: str) -> tuple[EndLine, str]:
    """Return how an attempt ends, and its log."""
    for left in ("a.attempts", "a.log"):
        (folder / left).unlink(missing_ok=True)
    setup = Setup({**os.environ, "MARK": "of the setup"}, sorted(os.sched_getaffinity(0))[:1])
    supervisor = SupervisorHandle([], setup, starter)
    supervisor.order(
        Run(
            command_of(folder, what),
            {"SWEEP_ATTEMPT": "mark", "MARK": "of the order"},
            start={"attempt": 1, "task": "a", "device": "cpu:0"},
            attempts_file=str(folder / "a.attempts"),
            attempts_size=0,
            done_file=str(folder / "a.done"),
            log_file=str(folder / "a.log"),
            grace=1.0,
        )
    )
    while True:
        answers, alive = supervisor.receive()
        assert alive
        for answer in answers:
            if isinstance(answer, WorkerEnded):
                supervisor.release()
                supervisor.reap()
                return answer.end, (folder / "a.log").read_text()


@pytest.mark.parametrize("what", ENDS)
def test_an_attempt_ends_as_its_command_would(
    folder: Path, parent: LoadedParent, what: str
) -> None:
    forked, log = run(parent, folder, what)
    program, its_log = run(Spawner(folder / "stderr", folder), folder, what)
    assert (forked.code, forked.signal, forked.leftovers) == (
        program.code,
        program.signal,
        program.leftovers,
    )
    assert lines_of(log) == lines_of(its_log)


def lines_of(log: str) -> list[str]:
    """Return a log's lines, less those of a traceback that name files and lines."""
    return [line for line in log.splitlines() if not line.startswith(("  ", "Fatal", "Current"))]


def test_no_supervisor_and_no_worker_has_the_socket_of_the_parent(
    folder: Path, parent: LoadedParent
) -> None:
    end, log = run(parent, folder, "descriptors()")
    assert end.code == 0, log
    assert "pipe:" in log and "socket:" not in log


def test_it_leaves_no_dead_supervisors(folder: Path, parent: LoadedParent) -> None:
    run(parent, folder, "None")
    run(parent, folder, "None")  # the first was reaped before this one was forked, or is by now
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    assert len(children) <= 1
