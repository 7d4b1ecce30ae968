"""A supervisor whose worker has finished keeps the fact until there is room to write it down."""

from __future__ import annotations

import os
import resource
import select
from pathlib import Path

from scheduler.executors.local.handles import SupervisorHandle
from scheduler.executors.local.wire import Run, WorkerEnded, WorkerStarted
from scheduler.storage.attempts_file import is_locked, read_attempts


def test_an_end_waits_for_room(tmp_path: Path) -> None:
    record, go = tmp_path / "a.attempts", tmp_path / "go"
    os.mkfifo(go)
    supervisor = SupervisorHandle(None, dict(os.environ), tmp_path / "stderr")
    supervisor.order(
        Run(
            ["/bin/sh", "-c", 'read line < "$GO"'],
            {"GO": str(go)},
            start={"attempt": 1, "task": "a", "device": "cpu:0"},
            attempts_file=str(record),
            attempts_size=0,
            done_file=str(tmp_path / "task.done"),
            log_file=str(tmp_path / "a.log"),
            grace=1.0,
        )
    )
    [started], _ = supervisor.receive()
    assert isinstance(started, WorkerStarted)
    worker = os.pidfd_open(started.pid)
    full = (record.stat().st_size, resource.RLIM_INFINITY)
    resource.prlimit(supervisor.pid, resource.RLIMIT_FSIZE, full)
    go.write_text("end\n")
    select.select([worker], [], [])
    os.close(worker)
    assert not select.select([supervisor], [], [], 0.5)[0], "it gave up"
    assert is_locked(record)
    assert read_attempts(record)[-1].ended is None
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.prlimit(supervisor.pid, resource.RLIMIT_FSIZE, unlimited)
    [ended], _ = supervisor.receive()
    assert isinstance(ended, WorkerEnded)
    assert ended.end.code == 0
    assert read_attempts(record)[-1].ended == ended.end
    supervisor.release()
    supervisor.reap()
    assert not is_locked(record)
