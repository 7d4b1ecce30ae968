"""Whole sweeps on GPUs: the real scheduler, the real NVML binding, the fake's GPUs; the workers are
processes that do as they are told (gpu_worker.py)."""

from __future__ import annotations

import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from scheduler.devices.processes import user_name
from tests.helpers.fake_nvml import GIB, FakeNvml
from tests.helpers.sweep_runner import PATIENCE

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent


class Runs:
    """Starts schedulers in a folder, on the fake's GPUs."""

    def __init__(self, folder: Path, gpus: FakeNvml) -> None:
        self.folder = folder
        self.event_log = folder / "event_log"
        self._gate, ready = folder / "gate", folder / "ready"
        os.mkfifo(self._gate)
        os.mkfifo(ready)
        self._ready = os.open(ready, os.O_RDWR)
        self._opened: list[int] = []
        self.environment = gpus.environment() | {
            "SCHEDULER_LEASES": str(folder / "leases"),
            "PYTHONPATH": str(REPOSITORY),
            "GATE": str(self._gate),
            "READY": str(ready),
        }
        self.running: list[subprocess.Popen[str]] = []

    def sweep(self, name: str, fates: list[str], **sections: object) -> str:
        command = ["python", "-I", "-S", str(HERE / "gpu_worker.py"), str(self.event_log), "{fate}"]
        sweep = {
            "name": name,
            "matrix": {"number": [0], "fate": ["none"]},
            "exclude": [{"number": 0}],
            "include": [{"number": n, "fate": fate} for n, fate in enumerate(fates)],
            "worker": {"command": command, "args": {"batch_size": 4}},
            "devices": {"idle_for": "0s"},
            "retries": {"max_attempts": 3, "backoff": "10ms", "on_oom": {"batch_size": "halve"}},
            **sections,
        }
        path = self.folder / f"{name}.yaml"
        path.write_text(json.dumps(sweep))
        return str(path)

    def start(self, sweep: str, *flags: str, **environment: str) -> Run:
        process = subprocess.Popen(
            [sys.executable, "-m", "scheduler", sweep, "--root", str(self.folder), *flags],
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.running.append(process)
        return Run(process)

    def wait_until_ready(self) -> None:
        """Return when a waiting worker is at the gate."""
        assert os.read(self._ready, 1)

    def open_gate(self) -> None:
        """Let waiting workers go on, from now on."""
        self._opened.append(os.open(self._gate, os.O_RDWR))

    def end_under_faults(self, sweep: str, at_once: int) -> tuple[int, str]:
        """Run a sweep to its end; on the way kill three attempts, and their dispatcher with each.

        Its workers note when they start and end, and need a permit to end. So however fast they are, and
        however slow the test, the attempt to be killed runs, and tasks are left for the next dispatcher.

        Args:
            sweep: its file.
            at_once: how many tasks run at the same time before the first may end.
        """
        path = self.folder / "permits"
        os.mkfifo(path)
        self.environment["PERMITS"] = str(path)
        permits = os.open(path, os.O_RDWR)
        self._opened.append(permits)
        killed: set[str] = set()
        for turn in range(3):
            run = self.start(sweep)
            if turn == 0:
                self._wait_for_tasks(at_once, ended=0, killed=killed)
            os.write(permits, b"." * 6)
            victim = self._wait_for_tasks(1, ended=6 * (turn + 1), killed=killed)
            os.kill(victim, signal.SIGKILL)
            killed.add(str(victim))
            run.process.send_signal(signal.SIGKILL)
            run.process.wait()
        os.write(permits, b"." * 2000)
        return self.start(sweep).end()

    def _wait_for_tasks(self, running: int, *, ended: int, killed: set[str]) -> int:
        """Return the process of the last that started, once so many have ended and at least so many run."""
        patience = time.monotonic() + PATIENCE
        while time.monotonic() < patience:
            seen = self.seen() if self.event_log.exists() else []
            ends = {line[5] for line in seen if line[0] == "end"}
            run = [line[5] for line in seen if line[0] == "start" and line[5] not in ends | killed]
            if len(ends) == ended and len(run) >= running:
                return int(run[-1])
            time.sleep(0.02)
        raise AssertionError(f"never had {running} running tasks and {ended} that ended: {seen}")

    def clean_up(self) -> None:
        """End what a failed test left running."""
        self.open_gate()
        for process in self.running:
            process.kill()
            process.wait()
        for descriptor in (self._ready, *self._opened):
            os.close(descriptor)

    def seen(self) -> list[list[str]]:
        return [line.split() for line in self.event_log.read_text().splitlines()]


class Run:
    """A scheduler at work, whose lines can be waited for."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._queue.put(line)
        self._queue.put(None)

    def until(self, pattern: str) -> str:
        while (line := self._queue.get(timeout=60)) is not None:
            self.lines.append(line)
            if re.search(pattern, line):
                return line
        raise AssertionError(f"no line matches {pattern!r}:\n{''.join(self.lines)}")

    def end(self) -> tuple[int, str]:
        while (line := self._queue.get(timeout=60)) is not None:
            self.lines.append(line)
        return self.process.wait(), "".join(self.lines)


@pytest.fixture
def runs(tmp_path: Path, fake_nvml: FakeNvml):
    runs = Runs(tmp_path, fake_nvml)
    yield runs
    runs.clean_up()


def test_64_tasks_with_faults_on_8_gpus(runs: Runs, fake_nvml: FakeNvml) -> None:
    fake_nvml.gpus(8)
    fates = ["fine", "flaky", "oom", "killed", "fine", "orphans", "fine", "wrong"] * 8
    code, output = runs.start(runs.sweep("eight", fates)).end()
    assert code == 1, output  # the wrong ones
    seen = runs.seen()
    assert not [line for line in seen if line[0] == "shared"], "two attempts were on one GPU"
    starts = {
        n: [line[1] for line in seen if line[0] == "start"].count(f"{n}_{f}")
        for n, f in enumerate(fates)
    }
    expected = {"fine": 1, "flaky": 2, "oom": 3, "killed": 2, "orphans": 1, "wrong": 1}
    assert starts == {n: expected[fate] for n, fate in enumerate(fates)}, output
    checkpoints = runs.folder / "checkpoints" / "eight"
    assert len(list(checkpoints.glob("*.done"))) == 56
    assert {p.stem for p in checkpoints.glob("*.failed")} == {f"{n}_wrong" for n in range(7, 64, 8)}
    used = {line[0] for line in seen if line[0].startswith("GPU-")}
    assert used == {gpu.uuid for gpu in fake_nvml.devices}
    halved = json.loads((checkpoints / "2_oom.done").read_text())["attempts"]
    assert [attempt["overrides"] for attempt in halved] == [
        {},
        {"batch_size": 2},
        {"batch_size": 1},
    ]


def test_waits_for_a_gpu_that_others_use_and_says_why(runs: Runs, fake_nvml: FakeNvml) -> None:
    fake_nvml.gpus(2)
    fake_nvml.set(0, processes={os.getpid(): 3 * GIB})
    fake_nvml.set(1, hidden=6 * GIB)
    run = runs.start(runs.sweep("shared", ["fine"]))
    assert "holds 3.0 GiB" in run.until(r"GPU 0: busy")
    assert "cannot be seen" in run.until(r"GPU 1: busy")
    assert not runs.event_log.exists()
    fake_nvml.set(1, hidden=0)
    run.until(r"started on GPU 1")
    assert run.end()[0] == 0


def test_at_most_so_many_gpus_are_used_at_once(runs: Runs, fake_nvml: FakeNvml) -> None:
    fake_nvml.gpus(4)
    devices = {"idle_for": "0s", "at_most": 2}
    code, output = runs.start(runs.sweep("few", ["fine"] * 10, devices=devices)).end()
    assert (code, "; at most 2 in use at once" in output.splitlines()[0]) == (0, True), output
    in_use: set[str] = set()
    most = 0
    for line in (runs.folder / "logs" / "few" / "journal.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event["event"] == "attempt_started":
            in_use.add(event["device"])
        elif event["event"] == "attempt_ended":
            in_use.discard(event["device"])
        most = max(most, len(in_use))
    assert most == 2


def test_two_dispatchers_never_share_a_gpu(runs: Runs, fake_nvml: FakeNvml) -> None:
    fake_nvml.gpus(2)
    both = [runs.start(runs.sweep(name, ["fine"] * 12)) for name in ("one", "two")]
    assert [run.end()[0] for run in both] == [0, 0]
    seen = runs.seen()
    assert not [line for line in seen if line[0] == "shared"]
    assert len([line for line in seen if line[0] == "start"]) == 24


def test_a_lease_outlives_the_dispatcher_with_its_attempt(runs: Runs, fake_nvml: FakeNvml) -> None:
    fake_nvml.gpus(1)
    first = runs.start(runs.sweep("first", ["waits"]))
    runs.wait_until_ready()
    first.process.send_signal(signal.SIGKILL)
    first.end()
    # Not even NVML knows of the attempt: its memory is not shown.
    for claim in (fake_nvml.folder / "use" / fake_nvml.devices[0].uuid).iterdir():
        claim.unlink()
    rival = runs.start(runs.sweep("rival", ["fine"]))
    assert "leased" in rival.until("GPU 0: leased")
    runs.open_gate()
    assert rival.end()[0] == 0
    code, output = runs.start(str(runs.folder / "first.yaml")).end()
    assert code == 0, output
    assert [line[0] for line in runs.seen() if line[1] == "0_waits"].count("start") == 1


def test_a_lease_folder_made_unsafe_in_mid_run_is_waited_for(
    runs: Runs, fake_nvml: FakeNvml
) -> None:
    fake_nvml.gpus(1)
    fake_nvml.set(0, processes={os.getpid(): 3 * GIB})
    run = runs.start(runs.sweep("unsafe", ["fine"]))
    run.until("GPU 0: busy")
    leases = runs.folder / "leases"
    leases.chmod(0o777)
    fake_nvml.set(0, processes={})
    run.until("GPU 0: leases cannot be kept in .*: others could remove them")
    leases.chmod(0o1777)
    code, output = run.end()
    assert code == 0, output


def test_a_gpu_lost_in_mid_run_costs_the_task_nothing(runs: Runs, fake_nvml: FakeNvml) -> None:
    fake_nvml.gpus(2)
    run = runs.start(runs.sweep("lost", ["waits"], retries={"max_attempts": 1, "backoff": "10ms"}))
    runs.wait_until_ready()
    fake_nvml.set(0, lost=True)
    run.until(r"stopping attempt 1.*lost")
    run.until("attempt 2 started on GPU 1")
    runs.open_gate()
    code, output = run.end()
    assert code == 0, output


def test_an_oom_that_others_caused_is_not_charged(runs: Runs, fake_nvml: FakeNvml) -> None:
    fake_nvml.gpus(1)
    sweep = runs.sweep("crowded", ["waits"], retries={"max_attempts": 1, "backoff": "10ms"})
    run = runs.start(sweep)
    runs.wait_until_ready()
    fake_nvml.set(0, processes={os.getpid(): 100 * GIB})
    run.until("others came to the device")
    run.process.kill()  # the next dispatcher must know of it
    run = runs.start(sweep)
    run.until("0_waits: attempt 1 still runs on GPU 0; taken over")
    record = runs.folder / "checkpoints" / "crowded" / "0_waits.attempts"
    worker = next(p for p in (fake_nvml.folder / "use" / fake_nvml.devices[0].uuid).iterdir())
    log = runs.folder / "logs" / "crowded" / "0_waits.log"
    with log.open("a") as file:
        file.write("torch.OutOfMemoryError: CUDA out of memory.\n")
    os.kill(int(worker.name), signal.SIGKILL)
    run.until("will be tried again: others took the device's memory")
    assert f'"foreign": [{{"pid": {os.getpid()}, ' in record.read_text()
    fake_nvml.set(0, processes={})
    runs.open_gate()
    code, output = run.end()
    assert code == 0, output


def test_who_came_to_the_device_is_recorded_with_the_completion(
    runs: Runs, fake_nvml: FakeNvml
) -> None:
    fake_nvml.gpus(1)
    run = runs.start(runs.sweep("visited", ["waits"]))
    runs.wait_until_ready()
    fake_nvml.set(0, processes={os.getpid(): 3 * GIB}, hidden=5 * GIB)
    run.until("others came to the device")
    runs.open_gate()
    code, output = run.end()
    assert code == 0, output
    done = json.loads((runs.folder / "checkpoints" / "visited" / "0_waits.done").read_text())
    [attempt] = done["attempts"]
    [visitor] = attempt["foreign"]
    assert visitor["pid"] == os.getpid()
    assert visitor["user"] == user_name(os.getuid())


def test_a_gpu_whose_supervisor_could_not_be_started_is_not_lost(
    runs: Runs, fake_nvml: FakeNvml
) -> None:
    fake_nvml.gpus(1)
    fake_nvml.set(0, processes={os.getpid(): 3 * GIB})
    run = runs.start(runs.sweep("removed", ["fine"]))
    run.until("GPU 0: busy")
    shutil.rmtree(runs.folder / "logs" / "removed")
    fake_nvml.set(0, processes={})
    run.until("paused: .*No such file or directory")
    code, output = run.end()
    assert code == 0, output
    assert "leased" not in output


def test_mig_instances_are_devices(runs: Runs, fake_nvml: FakeNvml) -> None:
    fake_nvml.gpus(2)
    fake_nvml.mig(0, 3)
    code, output = runs.start(runs.sweep("mig", ["fine"] * 12)).end()
    assert code == 0, output
    seen = runs.seen()
    assert not [line for line in seen if line[0] == "shared"]
    used = {line[0] for line in seen if line[0].startswith(("GPU-", "MIG-"))}
    instances = {instance.uuid for instance in fake_nvml.devices[0].instances.values()}
    assert used <= instances | {fake_nvml.devices[1].uuid}
    assert fake_nvml.devices[0].uuid not in used


def test_a_mig_instance_that_computes_in_silence_is_no_stall(
    runs: Runs, fake_nvml: FakeNvml
) -> None:
    """NVML tells no utilisation of MIG instances."""
    fake_nvml.gpus(1)
    fake_nvml.mig(0, 2)
    retries = {"max_attempts": 1}
    sweep = runs.sweep("mig", ["computes", "hangs"], limits={"stall": "3s"}, retries=retries)
    code, output = runs.start(sweep).end()
    assert code == 1, output
    checkpoints = runs.folder / "checkpoints" / "mig"
    assert (checkpoints / "0_computes.done").exists(), output
    assert json.loads((checkpoints / "1_hangs.failed").read_text())["verdict"] == "stalled"


def test_a_neighbour_s_work_is_not_taken_for_ours(runs: Runs, fake_nvml: FakeNvml) -> None:
    fake_nvml.gpus(1)
    retries = {"max_attempts": 1}
    sweep = runs.sweep("stalls", ["hangs"], limits={"stall": "3s"}, retries=retries)
    run = runs.start(sweep)
    run.until("attempt 1 started")
    fake_nvml.set(0, processes={os.getpid(): 3 * GIB}, utilization=97)
    code, output = run.end()
    assert code == 1, output
    assert "no output and no computing for 3" in output


@pytest.mark.parametrize(
    ("section", "inherited", "expected"),
    [
        ({"only": [1]}, None, {1}),
        ({"exclude": [0, 1]}, None, {2}),
        ({}, "2,0", {0, 2}),
        ({"only": [0, 1]}, "1", {1}),
    ],
)
def test_only_allowed_gpus_are_used(
    runs: Runs,
    fake_nvml: FakeNvml,
    section: dict[str, object],
    inherited: str | None,
    expected: set[int],
) -> None:
    fake_nvml.gpus(3)
    sweep = runs.sweep("some", ["fine"] * 9, devices={"idle_for": "0s", **section})
    environment = {} if inherited is None else {"CUDA_VISIBLE_DEVICES": inherited}
    code, output = runs.start(sweep, **environment).end()
    assert code == 0, output
    ids = [gpu.uuid for gpu in fake_nvml.devices]
    used = {ids.index(line[0]) for line in runs.seen() if line[0].startswith("GPU-")}
    assert used <= expected
    assert used, output
