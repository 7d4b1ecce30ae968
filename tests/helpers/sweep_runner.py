"""A folder to run sweeps in: real dispatchers, real workers, and an event log that only the workers write."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import yaml

from scheduler.storage.paths import SweepPaths

REPOSITORY = Path(__file__).parents[2]
WORKER = Path(__file__).with_name("scripted_worker.py")
# What runs it in a process that has loaded this module: for `write`, as the section worker.
FORKED = {"preload": "preloaded_worker", "command": ["python", str(WORKER), ".", "{task}"]}
PATIENCE = 60.0  # seconds; only a test that fails waits so long
# The limits of a sweep whose dispatcher, once it has said that an attempt started, only waits for its end.
# With others it wakes up in between, and makes anew what a test has removed.
AT_REST = {"log": "none"}


@dataclass(frozen=True)
class Ended:
    """What a command left: its exit code and all that it printed."""

    code: int
    out: str
    err: str


class Running:
    """A command under way, as its user sees it: lines on two streams, signals, an end."""

    def __init__(self, words: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "scheduler", *words],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._begun = threading.Event()  # it has printed a line, or ended without one
        self._out: list[str] = []
        self._err: list[str] = []
        self._readers = [
            threading.Thread(target=self._read_out, daemon=True),
            threading.Thread(target=self._read_err, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read_out(self) -> None:
        for line in self.process.stdout or ():
            self._out.append(line)
            self._lines.put(line)
            self._begun.set()
        self._lines.put(None)
        self._begun.set()

    def _read_err(self) -> None:
        self._err.extend(self.process.stderr or ())

    def wait_for(self, pattern: str, patience: float = PATIENCE) -> re.Match[str]:
        """Return the match in the next line on standard output that holds ``pattern``."""
        while True:
            try:
                line = self._lines.get(timeout=patience)
            except queue.Empty:
                raise AssertionError(f"{pattern!r} did not come; {self.said()}") from None
            if line is None:
                raise AssertionError(f"it ended without {pattern!r}; {self.said()}")
            if found := re.search(pattern, line):
                return found

    def send(self, number: int) -> None:
        """Send a signal once it has printed a line; return when the signal has reached it.

        A Python that is still starting dies of a signal, of Ctrl-C with a traceback. And of two signals
        with the same number that are pending at the same time, the process sees only one.
        """
        assert self._begun.wait(PATIENCE), f"no line came that shows it to be up; {self.said()}"
        self.process.send_signal(number)
        patience = time.monotonic() + PATIENCE
        while self.process.poll() is None and self._is_pending(number):
            assert time.monotonic() < patience, f"signal {number} never reached it; {self.said()}"
            time.sleep(0.001)

    def _is_pending(self, number: int) -> bool:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        pending = next(line for line in status.splitlines() if line.startswith("ShdPnd:"))
        return bool(int(pending.split()[1], 16) >> (number - 1) & 1)

    def kill(self) -> None:
        """End it by SIGKILL, if it has not ended."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def end(self) -> Ended:
        """Wait for its end."""
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end; {self.said()}") from None
        for reader in self._readers:
            reader.join(PATIENCE)
        ended = Ended(code, "".join(self._out), "".join(self._err))
        assert "Traceback" not in ended.out + ended.err, ended.out + ended.err
        return ended

    def said(self) -> str:
        """Return what it has printed, for who asks why something did not come."""
        return f"it said:\n{''.join(self._out)}{''.join(self._err)}"


class SweepRunner:
    """A folder with one sweep in it (axis ``case``: each value is a task's id)."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.root = folder / "root"
        self.root.mkdir()
        self.file = folder / "runner.yaml"
        self.paths = SweepPaths(self.root, "runner")
        self.environment = {**os.environ, **environment, "PYTHONPATH": str(REPOSITORY)}
        self.environment.pop("PYTHONUNBUFFERED", None)  # users' Pythons hold their output back
        self._running: list[Running] = []
        self._gates: list[IO[bytes]] = []  # that were reached, open or closed

    # --- what is to be done ----------------------------------------------------------------------

    def write(self, script: Mapping[str, str | list[str]], **sections: Any) -> Path:
        """Write a sweep with a task for each key of ``script``; sections are merged into ours.

        ``script``: what the worker does in each attempt; steps are separated by ``; ``.
        """
        self.script(script)
        content: dict[str, Any] = {
            "matrix": {"case": list(script)},
            "worker": {"command": self.command()},
            "devices": {"cpu_slots": 2},
            "retries": {"backoff": "1ms"},
        }
        for name, section in sections.items():
            old = content.get(name)
            content[name] = {**old, **section} if isinstance(old, dict) else section
        return self.write_text(yaml.safe_dump(content, sort_keys=False))

    def command(self) -> list[str]:
        return ["python", "-I", "-S", str(WORKER), str(self.folder), "{task}"]

    def write_text(self, text: str) -> Path:
        self.file.write_text(text)
        return self.file

    def script(self, steps_of: Mapping[str, str | list[str]]) -> None:
        as_lists = {
            t: [steps] if isinstance(steps, str) else steps for t, steps in steps_of.items()
        }
        (self.folder / "script.json").write_text(json.dumps(as_lists))
        for task in steps_of:
            gate = self.folder / f"gate {task}"
            if not gate.exists():
                os.mkfifo(gate)

    # --- doing it --------------------------------------------------------------------------------

    def start(self, *words: str | Path, **environment: str) -> Running:
        """Start a command on the sweep; without words, run it."""
        arguments = [str(word) for word in words] or [str(self.file)]
        if "--help" not in arguments and arguments[0] != "devices":
            end = arguments.index("--") if "--" in arguments else len(arguments)
            arguments[end:end] = ["--root", str(self.root)]
        running = Running(arguments, self.folder, {**self.environment, **environment})
        self._running.append(running)
        return running

    def run(self, *words: str | Path, **environment: str) -> Ended:
        """Run a command to its end."""
        return self.start(*words, **environment).end()

    def open_gate(self, task: str) -> None:
        """Wait until the task's worker stands at its gate, and let it through."""
        self.reach_gate(task)()

    def reach_gate(self, task: str) -> Any:
        """Wait until the task's worker stands at its gate; return what lets it through."""
        opened: queue.SimpleQueue[int] = queue.SimpleQueue()

        def wait() -> None:
            opened.put(os.open(self.folder / f"gate {task}", os.O_WRONLY | os.O_CLOEXEC))

        threading.Thread(target=wait, daemon=True).start()
        try:
            gate = opened.get(timeout=PATIENCE)
        except queue.Empty:
            said = "\n".join(running.said() for running in self._running)
            raise AssertionError(f"no worker of {task} came to its gate; {said}") from None
        self._gates.append(os.fdopen(gate, "wb", buffering=0))
        return self._gates[-1].close

    def wait_for_end_of_attempt(self, task: str) -> None:
        """Wait until neither worker nor supervisor holds the task's attempts file."""
        with self.paths.attempts(task).open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)

    # --- what came of it -------------------------------------------------------------------------

    def logged(self, what: str, task: str | None = None) -> list[dict[str, Any]]:
        """Return what the workers logged, in order."""
        try:
            lines = (self.folder / "event_log.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return []
        entries = [json.loads(line) for line in lines]
        return [e for e in entries if e["what"] == what and task in (None, e["task"])]

    def order(self) -> list[str]:
        """Return the workers' starts and ends, each ``WHAT TASK``, in the order in which they were logged."""
        lines = map(json.loads, (self.folder / "event_log.jsonl").read_text().splitlines())
        return [f"{e['what']} {e['task']}" for e in lines if e["what"] in ("start", "end")]

    def starts(self, task: str | None = None) -> int:
        """Return how often a worker was started; no two of one task ever ran at the same time."""
        assert not self.logged("not alone")
        return len(self.logged("start", task))

    def attempt(self, task: str) -> dict[str, Any]:
        """Return how the attempts file says that the task's newest attempt began."""
        lines = [json.loads(line) for line in self.paths.attempts(task).read_text().splitlines()]
        return [line for line in lines if "device" in line][-1]

    def done(self, task: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.paths.done(task).read_text())
        return content

    def failed(self, task: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.paths.failed(task).read_text())
        return content

    def log(self, task: str) -> str:
        return self.paths.log(task).read_text(errors="replace")

    def journal(self, event: str) -> list[dict[str, Any]]:
        lines = self.paths.journal.read_text().splitlines(keepends=True)
        entries = [json.loads(line) for line in lines if line.endswith("\n")]
        return [entry for entry in entries if entry["event"] == event]

    def wait_for_journal(self, event: str, task: str) -> None:
        """Wait until the journal has the event: workers run, and lines are printed, before it does."""
        patience = time.monotonic() + PATIENCE
        while not any(entry.get("task") == task for entry in self.journal(event)):
            assert time.monotonic() < patience, f"the journal never had {event!r} of {task}"
            time.sleep(0.01)

    def wait_for_log(self, what: str, task: str) -> None:
        """Wait until the task's worker has logged that."""
        patience = time.monotonic() + PATIENCE
        while not self.logged(what, task):
            assert time.monotonic() < patience, f"{task} never logged {what!r}"
            time.sleep(0.01)

    def status(self) -> dict[str, Any]:
        """Return what ``status --json`` says."""
        ended = self.run("status", self.file, "--json")
        assert ended.code == 0, ended.err
        content: dict[str, Any] = json.loads(ended.out)
        return content

    def states(self) -> dict[str, str]:
        return {task["task"]: task["state"] for task in self.status()["tasks"]}

    def files(self) -> list[str]:
        """Return the names of all files below the root, hidden ones too."""
        return sorted(str(p.relative_to(self.root)) for p in self.root.rglob("*") if p.is_file())

    # --- the end ---------------------------------------------------------------------------------

    def clean_up(self) -> None:
        """End what a failed test left running."""
        for running in self._running:
            running.kill()
        end_processes_of(self.folder)
        for gate in self._gates:
            gate.close()


def end_processes_of(folder: Path) -> None:
    """Kill the processes, workers above all, whose command line names a folder, or that run there."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                named = os.fsencode(folder) in (entry / "cmdline").read_bytes()
                if named or os.path.samefile(entry / "cwd", folder):
                    os.kill(int(entry.name), signal.SIGKILL)
