"""What is read of processes, real ones: their parent, CPU time, start, and that they are dead."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from scheduler.devices.processes import boot_id, read_stat, start_ticks
from scheduler.executors.local import process_tree

COMPUTES = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True); input()"


def test_a_living_process() -> None:
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", COMPUTES], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    stat = read_stat(process.pid)
    assert stat.parent == os.getpid()
    assert stat.cpu_ticks >= 0.2 * os.sysconf("SC_CLK_TCK")
    since_boot = time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK")
    assert 0 <= since_boot - stat.start_ticks < 60 * os.sysconf("SC_CLK_TCK")
    process.communicate(b"\n")


def test_a_name_may_hold_brackets_and_blanks() -> None:
    name = "import pathlib; pathlib.Path('/proc/self/comm').write_text(') Z 1 (');"
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", f"{name} print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    assert read_stat(process.pid).parent == os.getpid()
    assert start_ticks(process.pid) > 0
    process.communicate(b"\n")


def test_a_process_that_is_dead_has_no_start_whether_reaped_or_not() -> None:
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert read_stat(process.pid).state == b"Z"
    with pytest.raises(ProcessLookupError):
        start_ticks(process.pid)
    process.wait()
    with pytest.raises(OSError):
        read_stat(process.pid)


def test_the_supervisor_which_shares_no_code_says_the_same() -> None:
    assert process_tree.identity() == {
        "supervisor": os.getpid(),
        "start_ticks": start_ticks(os.getpid()),
        "boot": boot_id(),
    }
