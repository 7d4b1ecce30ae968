"""A real Slurm for tests, of Debian's packages: a controller and nodes on this machine, with fake GPUs.

It needs root, who may run several slurmds on one machine and make device files. No systemd, no cgroups, no
accounting. Several nodes share this machine's processes and files, as those of a cluster share only files.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from scheduler.executors.local.process_tree import descendants
from tests.helpers.waiting import PATIENCE, wait_until

NODES, GPUS = 2, 4
_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
# Each daemon listens at the address that its machine's name has: it is to be loopback's.
_NAMED_LOCALHOST = ("unshare", "-u", "sh", "-c", 'hostname localhost; exec "$@"', "sh")
_HIDDEN = 'mount -t tmpfs none "$0" && exec "$@"'
_CONF = """\
ClusterName=lab
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthInfo=socket={folder}/munge.sock,cred_expire=5
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_min_interval=1000,sched_interval=1,batch_sched_delay=0,defer_batch
GresTypes={kinds}
ReturnToService=2
KillWait=12
MinJobAge=20
SlurmdTimeout=10
NodeName=n[1-{nodes}] NodeHostname=localhost NodeAddr=127.0.0.1 Port=[{first}-{last}] {node}
PartitionName=main Nodes=ALL Default=YES State=UP
PartitionName=other Nodes=n1 State=UP
"""


def why_no_slurm() -> str | None:
    """Return why no Slurm can be started here, or None if one can."""
    if os.geteuid() != 0:
        return "a Slurm of one's own needs root"
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"no {', '.join(missing)} here (apt-get install slurm-wlm munge)"
    if subprocess.run(["unshare", "-u", "true"], check=False, capture_output=True).returncode:
        return "no UTS namespace can be made here"
    return None


class Daemon:
    """A program of Slurm's that is started, killed and started again."""

    def __init__(self, *command: str) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False

    @property
    def is_up(self) -> bool:
        """Whether it was started, and neither killed nor stopped since."""
        return self._process is not None and not self._paused

    def start(self) -> None:
        self._start()

    def _start(self, *before: str) -> None:
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(
            [*before, *_NAMED_LOCALHOST, *self._command], stdin=quiet, stdout=quiet, stderr=quiet
        )

    def start_without(self, folder: Path) -> None:
        """Start it where nothing of a folder is to be seen; so does what it starts."""
        self._start("unshare", "-m", "sh", "-c", _HIDDEN, str(folder))

    def start_if_dead(self) -> None:
        if self._process is None:
            self.start()

    def end(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE)
            self._process = None
            self._paused = False

    def pause(self) -> None:
        """Stop it: nobody gets an answer from it, as if its machine were cut off."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)
            self._paused = True

    def go_on(self) -> None:
        """Let it go on where it was stopped."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._paused = False


class SlurmLab:
    """A cluster; `environment` is what its commands need."""

    def __init__(self, extra: str = "", parts: Mapping[str, int] = MappingProxyType({})) -> None:
        """Write its configuration.

        Args:
            extra: more lines of it.
            parts: what GPUs are given out by beside whole ones, `mps` or `shard`; how much a node has.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-lab-"))
        port = _free_ports(NODES + 1)
        self.conf = self.folder / "slurm.conf"
        ports = {"port": port, "first": port + 1, "last": port + NODES}
        gres = ",".join(f"{name}:{count}" for name, count in {"gpu": GPUS, **parts}.items())
        node = f"CPUs=16 RealMemory=2000 Gres={gres}"
        kinds = ",".join(("gpu", *parts))
        self.conf.write_text(
            _CONF.format(folder=self.folder, nodes=NODES, node=node, kinds=kinds, **ports) + extra
        )
        lines = [f"Name=gpu File={self.folder}/gpu[0-{GPUS - 1}]\n"]
        lines += [f"Name={name} Count={count}\n" for name, count in parts.items()]
        (self.folder / "gres.conf").write_text("".join(lines))
        for number in range(GPUS):  # major 240: for local use
            os.mknod(self.folder / f"gpu{number}", 0o20600, os.makedev(240, number))
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        self.environment = {"SLURM_CONF": str(self.conf)}
        conf = ("-f", str(self.conf))
        self.controller = Daemon("slurmctld", "-D", *conf)
        self.nodes = [Daemon("slurmd", "-D", *conf, "-N", f"n{n + 1}") for n in range(NODES)]

    def start(self) -> None:
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        names = {"key-file": key, "socket": self.folder / "munge.sock"}
        names |= {f"{n}-file": self.folder / f"munge.{n}" for n in ("pid", "log", "seed")}
        subprocess.run(
            ["munged", "--force", *(f"--{name}={path}" for name, path in names.items())],
            check=True,
            capture_output=True,
        )
        for daemon in (self.controller, *self.nodes):
            daemon.start()
        self.wait_until_idle()
        self.run_job()

    def stop(self) -> None:
        with contextlib.suppress(AssertionError):
            self.call("scancel", "--user=root")
            self.call("scancel", "--signal=KILL", "--full", "--user=root")
        for daemon in (*self.nodes, self.controller):
            daemon.end()
        with contextlib.suppress(OSError, ValueError):
            # At any other it writes its seed on its way out, into the folder that is being removed.
            os.kill(int((self.folder / "munge.pid").read_text()), signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def call(self, *words: str, **variables: str) -> str:
        """Run a command of Slurm's; return what it printed."""
        done = subprocess.run(
            words,
            env={**os.environ, **variables, **self.environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    def wait_until_idle(self) -> None:
        """Wait until all nodes are up, and nothing runs."""
        wait_until(lambda: set(self._states().values()) == {"idle"})

    def mend(self) -> None:
        """Start what was killed or stopped, and wait until all nodes take jobs."""
        for daemon in (self.controller, *self.nodes):
            daemon.start_if_dead()
            daemon.go_on()
        wait_until(self.is_whole)

    def is_whole(self) -> bool:
        """Say whether all nodes take jobs, and resume those that do not."""
        self.resume_nodes(self.nodes)
        states = self._states()
        return bool(states) and set(states.values()) <= {"idle", "mixed", "allocated"}

    def resume_nodes(self, which: Iterable[Daemon]) -> None:
        """Resume nodes that take no jobs, as an administrator would.

        A controller that was killed gives the numbers of jobs that it forgot to others, and drains the
        nodes that still have one of that number.
        """
        states = self._states()
        for node in which:
            name = f"n{self.nodes.index(node) + 1}"
            if states.get(name, "").startswith(("down", "drain")):  # any other would refuse it
                with contextlib.suppress(AssertionError):
                    self.call("scontrol", "update", f"NodeName={name}", "State=RESUME")

    def _states(self) -> dict[str, str]:
        with contextlib.suppress(AssertionError):
            lines = self.call("sinfo", "-h", "-N", "-p", "main", "-o", "%N %T").splitlines()
            return dict(line.split() for line in lines)
        return {}

    def run_job(self) -> None:
        """Run a job to its end: the first after a controller's start waits for seconds."""
        self.call("srun", "-t", "1", "true")

    def fail_node(self, number: int) -> None:
        """Have Slurm take a node for failed whose daemon is dead: at once, not after SlurmdTimeout."""
        self.call("scontrol", "update", f"NodeName=n{number + 1}", "State=DOWN", "Reason=failed")

    def power_off(self, worker: int) -> None:
        """Kill all that a worker's job runs, as when its machine loses power; its daemon is dead already."""
        daemon = step_daemon(worker)
        pids = [daemon, *descendants(daemon)]
        for number in (signal.SIGSTOP, signal.SIGKILL):  # none is to see another's end
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)

    def jobs_of_attempts(self) -> list[str]:
        """Return the numbers of jobs that attempts of sweeps are."""
        lines = self.call("squeue", "-h", "-o", "%A %k").splitlines()
        return [line.split()[0] for line in lines if " sweep-attempt" in line]

    def jobs(self) -> dict[str, str]:
        """Return the states of all jobs by their numbers."""
        lines = self.call("squeue", "-h", "-t", "all", "-o", "%A %T").splitlines()
        return dict(line.split()[:2] for line in lines)


@functools.lru_cache(maxsize=1)
def the_lab() -> SlurmLab:
    """Return the Slurm of this test process, started at first use and ended with the process."""
    lab = SlurmLab()
    atexit.register(lab.stop)
    lab.start()
    return lab


def lab_of_test(monkeypatch: pytest.MonkeyPatch) -> SlurmLab:
    """Return the Slurm of this test process, whose commands the test finds by the environment, or skip it."""
    if (why := why_no_slurm()) is not None:
        pytest.skip(why)
    lab = the_lab()
    for name, value in lab.environment.items():
        monkeypatch.setenv(name, value)
    return lab


def parent(pid: int) -> int:
    """Return the parent of a process.

    Raises:
        OSError: there is no such process.
    """
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def step_daemon(worker: int) -> int:
    """Return the process id of the slurmstepd that a worker's job runs below."""
    while worker > 1:
        worker = parent(worker)
        if b"slurmstepd" in Path(f"/proc/{worker}/cmdline").read_bytes():
            return worker
    raise AssertionError("it runs below no slurmstepd")


def _free_ports(number: int) -> int:
    """Return the first of so many ports in a row that nobody listens at."""
    for first in range(17_000 + os.getpid() % 1000 * 10, 30_000, 10):
        if all(map(_is_free, range(first, first + number))):
            return first
    raise AssertionError("no ports are free")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
