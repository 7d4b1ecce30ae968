"""A supervisor whose worker has finished keeps the fact until there is room to write it down."""

from __future__ import annotations

import os
import resource
import select
from pathlib import Path

from scheduler.executors.local.handles import SupervisorHandle
from scheduler.storage.attempts_file import EndLine, is_locked, read_attempts


def test_an_end_waits_for_room(tmp_path: Path) -> None:
    record, go = tmp_path / "a.attempts", tmp_path / "go"
    os.mkfifo(go)
    supervisor = SupervisorHandle(None, dict(os.environ), tmp_path / "stderr")
    supervisor.order(
        {
            "record": str(record),
            "record_size": 0,
            "done": str(tmp_path / "task.done"),
            "log": str(tmp_path / "a.log"),
            "command": ["/bin/sh", "-c", 'read line < "$GO"'],
            "environment": {"GO": str(go)},
            "grace": 1.0,
            "attempt": {"attempt": 1, "task": "a", "device": "cpu:0"},
        }
    )
    [started], _ = supervisor.receive()
    worker = os.pidfd_open(started["started"])
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
    assert ended["code"] == 0
    assert read_attempts(record)[-1].ended == EndLine.parse(ended)
    supervisor.release()
    supervisor.reap()
    assert not is_locked(record)
