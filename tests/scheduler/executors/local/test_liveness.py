"""Signs of life: what counts as one, and what the time of day has to do with it (nothing)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from scheduler.executors.local.liveness import Life, cpu_time

IDLE = "import sys; sys.stdin.read()"
# A supervisor with a worker below it that, when told to, computes well over half a second of CPU time
# (the kernel counts it in ticks, rounded down for every process), says so, and waits.
COMPUTES = """
import os, subprocess, sys
code = "import time; input()\\nwhile time.process_time() < 0.6: pass\\nprint(flush=True); input()"
subprocess.run([sys.executable, "-I", "-S", "-c", code])
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "a.log"
    path.write_text("hello\n")
    return path


@pytest.fixture(params=[IDLE])
def supervisor(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-I", "-S", "-c", request.param]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    yield process
    process.communicate()


def test_output_is_a_sign_of_life(log: Path, supervisor: subprocess.Popen[bytes]) -> None:
    life = Life(log, partial(cpu_time, supervisor.pid))
    assert [life.look(at, 0.0) for at in (100.0, 200.0)] == [100.0, 100.0]
    with log.open("a") as file:
        file.write("more\n")
    assert [life.look(at, 0.0) for at in (300.0, 400.0)] == [300.0, 300.0]


def test_the_time_of_day_is_not(log: Path, supervisor: subprocess.Popen[bytes]) -> None:
    """The clock is set an hour on or back: the log's time says nothing of when it was written."""
    life = Life(log, partial(cpu_time, supervisor.pid))
    life.look(100.0, 0.0)
    for step in (3600, -3600):
        os.utime(log, (log.stat().st_atime, log.stat().st_mtime + step))
        assert life.look(200.0, 0.0) == 100.0


def test_a_device_that_computes_is(log: Path, supervisor: subprocess.Popen[bytes]) -> None:
    life = Life(log, partial(cpu_time, supervisor.pid))
    life.look(100.0, 100.0)
    assert [life.look(200.0, at) for at in (90.0, 150.0, 0.0)] == [100.0, 150.0, 150.0]


@pytest.mark.parametrize("supervisor", [COMPUTES], indirect=True)
def test_processes_that_compute_are_where_the_device_does_not_tell(
    log: Path, supervisor: subprocess.Popen[bytes]
) -> None:
    life, told = (
        Life(log, partial(cpu_time, supervisor.pid)),
        Life(log, partial(cpu_time, supervisor.pid)),
    )
    life.look(100.0, None)
    told.look(100.0, 0.0)
    assert supervisor.stdin is not None
    assert supervisor.stdout is not None
    supervisor.stdin.write(b"\n")
    supervisor.stdin.flush()
    supervisor.stdout.readline()
    assert cpu_time(supervisor.pid) >= 0.5
    assert told.look(101.0, 0.0) == 100.0
    assert [life.look(at, None) for at in (101.0, 102.0)] == [101.0, 101.0]
