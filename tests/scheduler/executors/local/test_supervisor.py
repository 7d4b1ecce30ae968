"""The supervisor by itself: orders, locks, stops, and what it leaves in the attempts file."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scheduler.dispatch.judgement import WRONG_PROGRAM
from scheduler.executors.base import Refusal
from scheduler.executors.local import process_tree
from scheduler.executors.local.handles import SUPERVISOR, AdoptedSupervisor
from scheduler.executors.local.wire import (
    Answer,
    Run,
    RunFailed,
    RunRefused,
    WorkerEnded,
    WorkerStarted,
    parse,
)
from scheduler.storage.attempts_file import AttemptRecord, EndLine, StartLine, read_attempts


class Supervisor:
    """A supervisor as its dispatcher has it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.record = folder / "a.attempts"
        self.process = subprocess.Popen(
            SUPERVISOR,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def order(self, script: str, **more: Any) -> None:
        order = Run(
            command=["/bin/sh", "-c", script],
            environment={"PATH": os.environ["PATH"]},
            start={"attempt": 1, "task": "a", "device": "cpu:0"},
            attempts_file=str(self.record),
            attempts_size=self.record.stat().st_size if self.record.exists() else 0,
            done_file=str(self.record.with_suffix(".done")),
            log_file=str(self.folder / "a.log"),
            grace=0.1,
        )
        assert self.process.stdin is not None
        self.process.stdin.write(replace(order, **more).as_line())
        self.process.stdin.flush()

    def answer(self) -> Answer:
        assert self.process.stdout is not None
        return parse(self.process.stdout.readline())

    def ended(self) -> EndLine:
        """Return the end that it tells of next."""
        answer = self.answer()
        assert isinstance(answer, WorkerEnded)
        return answer.end

    def end(self) -> int:
        """Be gone, as a dispatcher that dies; wait for the supervisor's own end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(60)


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    supervisor = Supervisor(tmp_path)
    yield supervisor
    supervisor.process.kill()
    supervisor.process.wait()


def test_an_attempt_is_recorded_before_it_starts_and_after_it_ended(supervisor: Supervisor) -> None:
    supervisor.order("echo hello; exit 3")
    assert isinstance(supervisor.answer(), WorkerStarted)
    ended = supervisor.ended()
    assert (ended.code, ended.signal, ended.stopped) == (3, None, False)
    (attempt,) = read_attempts(supervisor.record)
    assert attempt.started.supervisor == supervisor.process.pid
    assert attempt.ended == ended
    assert (supervisor.folder / "a.log").read_text() == "hello\n"
    assert supervisor.end() == 0


def test_a_worker_that_ignores_sigterm_is_killed_after_the_grace_time(
    supervisor: Supervisor,
) -> None:
    fifo = supervisor.folder / "ready"
    os.mkfifo(fifo)
    supervisor.order(
        f"trap '' TERM; (setsid sh -c 'trap \"\" TERM; echo > {fifo}; sleep 1000'); sleep 1000"
    )
    fifo.read_text()
    supervisor.answer()
    supervisor.process.send_signal(signal.SIGTERM)
    ended = supervisor.ended()
    assert (ended.signal, ended.stopped) == (signal.SIGKILL, True)
    assert read_attempts(supervisor.record)[-1].ended is not None


def test_the_record_stays_locked_while_a_worker_lives_and_its_supervisor_does_not(
    supervisor: Supervisor,
) -> None:
    fifo = supervisor.folder / "gate"
    os.mkfifo(fifo)
    supervisor.order(f"exec cat {fifo}")
    supervisor.answer()
    supervisor.process.kill()
    supervisor.process.wait()
    with supervisor.record.open() as record:
        with pytest.raises(BlockingIOError):
            fcntl.flock(record, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fifo.write_text("")
        fcntl.flock(record, fcntl.LOCK_EX)
    assert read_attempts(supervisor.record)[-1].ended is None  # nobody saw its end


def test_an_attempt_goes_on_without_a_dispatcher(supervisor: Supervisor) -> None:
    fifo = supervisor.folder / "gate"
    os.mkfifo(fifo)
    supervisor.order(f"cat {fifo}; exit 7")
    supervisor.answer()
    assert supervisor.process.stdin is not None
    supervisor.process.stdin.close()
    fifo.write_text("")
    assert supervisor.process.wait(60) == 0
    (attempt,) = read_attempts(supervisor.record)
    assert attempt.ended is not None
    assert attempt.ended.code == 7


def test_a_dead_supervisor_that_nobody_has_reaped_is_not_taken_for_a_living_one() -> None:
    """Process 1 of many a container reaps nobody: such a supervisor would be taken over for ever."""
    process = subprocess.Popen(["sleep", "1000"])
    ticks, boot = process_tree.start_ticks(process.pid), process_tree.identity()["boot"]
    start = StartLine(1, ("cpu:0",), supervisor=process.pid, start_ticks=ticks, boot=boot)
    record = AttemptRecord(start)
    living = AdoptedSupervisor.find(record)
    assert living is not None
    living.release()
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert AdoptedSupervisor.find(record) is None
    process.wait()


def test_a_task_whose_record_is_locked_or_has_changed_is_not_started(
    supervisor: Supervisor,
) -> None:
    with supervisor.record.open("w") as record:
        fcntl.flock(record, fcntl.LOCK_EX)
        supervisor.order("touch started")
        assert supervisor.answer() == RunRefused(Refusal.RUNNING)
    supervisor.record.write_text("news\n")
    supervisor.order("touch started", attempts_size=0)
    assert supervisor.answer() == RunRefused(Refusal.CHANGED)
    assert not (supervisor.folder / "started").exists()


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["/no/such/program"], "cannot start /no/such/program: No such file"),
        (["/bin/true", "x" * 200_000], "cannot start /bin/true: Argument list too long"),
    ],
)
def test_a_program_that_cannot_be_started(
    supervisor: Supervisor, command: list[str], why: str
) -> None:
    supervisor.order("", command=command)
    ended = supervisor.ended()
    assert ended.not_started is not None
    assert ended.not_started.startswith(why)
    assert ended.errno in WRONG_PROGRAM
    assert read_attempts(supervisor.record)[-1].ended is not None


@pytest.mark.parametrize("what", ["attempts_file", "log_file"])
def test_files_that_cannot_be_written(supervisor: Supervisor, what: str) -> None:
    supervisor.order("true", **{what: str(supervisor.folder / "no" / "folder")})
    missing = str(supervisor.folder / "no" / "folder")
    assert supervisor.answer() == RunFailed(2, "No such file or directory", missing)
    assert not read_attempts(supervisor.record)  # the task is not to blame
    supervisor.order("exit 0")
    supervisor.answer()
    assert supervisor.ended().code == 0  # it is still of use


def test_logs_of_earlier_attempts_are_kept(supervisor: Supervisor) -> None:
    (supervisor.folder / "a.log.1").write_text("somebody's own")
    for number in (1, 2, 3):
        attempt = {"attempt": number, "task": "a", "device": "cpu:0"}
        supervisor.order(f"echo {number}", start=attempt)
        supervisor.answer()
        supervisor.answer()
    logs = {path.name: path.read_text() for path in supervisor.folder.glob("a.log*")}
    assert logs == {"a.log": "3\n", "a.log.1": "somebody's own", "a.log.2": "1\n", "a.log.3": "2\n"}


def test_the_worker_has_default_signals_no_input_and_a_session_of_its_own(
    supervisor: Supervisor,
) -> None:
    supervisor.order(
        "grep -E 'SigIgn|SigBlk' /proc/self/status; cat; cut -d' ' -f1,6 /proc/$$/stat"
    )
    supervisor.answer()
    assert supervisor.ended().code == 0
    blocked, ignored, session = (supervisor.folder / "a.log").read_text().splitlines()
    for mask in (blocked, ignored):
        assert int(mask.split()[1], 16) & 0x7FFFFFFF == 0  # but for libc's own, 32 and 33
    pid, session_id = session.split()
    assert pid == session_id


def test_a_supervisor_whose_attempt_was_stopped_takes_the_next_order(
    supervisor: Supervisor,
) -> None:
    supervisor.order("exec sleep 1000")
    supervisor.answer()
    supervisor.process.send_signal(signal.SIGTERM)
    assert supervisor.ended().stopped
    supervisor.process.send_signal(signal.SIGTERM)  # one that came too late stops nothing else
    supervisor.order("echo next", start={"attempt": 2, "task": "a", "device": "cpu:0"})
    assert isinstance(supervisor.answer(), WorkerStarted)
    assert supervisor.ended().code in (0, None)
    assert supervisor.end() == 0
