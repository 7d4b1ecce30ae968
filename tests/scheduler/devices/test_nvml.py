"""NVML as it really is: the real binding, loading a library that reports a scenario."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scheduler.devices.idle import IdleRule, IdleTracker
from scheduler.devices.model import Device, Process, Reading
from scheduler.devices.processes import user_name
from tests.helpers.fake_nvml import (
    DRIVER_NOT_LOADED,
    FUNCTION_NOT_FOUND,
    GIB,
    GPU_IS_LOST,
    LIB_RM_VERSION_MISMATCH,
    NO_PERMISSION,
    NOT_SUPPORTED,
    UNKNOWN,
    FakeNvml,
)

ROOT = Path(__file__).parents[3]
USER = user_name(os.geteuid())


class Client:
    """A process that has NVML open."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.scheduler.devices.nvml_client"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.opened = json.loads(self.process.stdout.readline())

    def ask(self, verb: str, arguments: object) -> object:
        self.process.stdin.write(json.dumps([verb, arguments]) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def devices(self, **arguments: object) -> list[Device]:
        return [
            Device(**device | {"near": frozenset(device["near"]), "cpus": (), "parts": ()})
            for device in self.ask("devices", arguments)
        ]

    def read(self, device_id: str) -> Reading:
        answer = self.ask("read", {"device_id": device_id})
        if answer["processes"] is not None:
            answer["processes"] = tuple(Process(**process) for process in answer["processes"])
        return Reading(**answer)

    def reason(self, device_id: str) -> str:
        """What a user would be told of the device."""
        tracker = IdleTracker(IdleRule(5, 24 * GIB, idle_for=0))
        return tracker.judge(self.read(device_id), 0, frozenset(), after_own=False).reason.text


@contextmanager
def client_of(fake_nvml: FakeNvml) -> Iterator[Client]:
    client = Client(fake_nvml.environment())
    with client.process:
        yield client
        client.process.stdin.close()
        assert client.process.wait() == 0


@pytest.fixture
def client(fake_nvml: FakeNvml) -> Iterator[Client]:
    """Of a machine with two GPUs."""
    fake_nvml.gpus(2)
    with client_of(fake_nvml) as client:
        yield client


@contextmanager
def foreign_process(uses: Path, memory: int) -> Iterator[subprocess.Popen[bytes]]:
    """Somebody's process that holds GPU memory and computes nothing."""
    script = 'echo "$1" > "$2/$$" && echo there && read forever'
    command = ["sh", "-c", script, "sh", str(memory), str(uses)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process
        process.kill()


class TestOpening:
    def open(self, fake_nvml: FakeNvml) -> str:
        with client_of(fake_nvml) as client:
            return client.opened.get("unavailable", "opened")

    def test_where_there_is_no_library(self, fake_nvml: FakeNvml, tmp_path: Path) -> None:
        fake_nvml.library = tmp_path
        (tmp_path / "libnvidia-ml.so.1").write_text("no library")  # hides one that is installed
        assert self.open(fake_nvml).startswith("no NVIDIA driver here")

    def test_where_there_is_no_gpu(self, fake_nvml: FakeNvml) -> None:
        assert self.open(fake_nvml) == "the NVIDIA driver finds no GPU"

    @pytest.mark.parametrize(
        ("code", "reason"),
        [
            (DRIVER_NOT_LOADED, "the NVIDIA kernel driver is not loaded"),
            (
                LIB_RM_VERSION_MISMATCH,
                "the NVIDIA driver and its library libnvidia-ml.so.1 have different versions, as "
                "after an update without a reboot; reboot, or load the new kernel modules",
            ),
            (NO_PERMISSION, "no permission to talk to the NVIDIA driver (see /dev/nvidiactl)"),
            (GPU_IS_LOST, "a GPU fell off the bus and the NVIDIA driver does not start; reboot"),
            (UNKNOWN, "NVML answers UNKNOWN"),
            (12345, "NVML answers error 12345"),
        ],
    )
    @pytest.mark.parametrize("function", ["nvmlInit", "nvmlDeviceGetCount"])
    def test_where_it_fails(
        self, fake_nvml: FakeNvml, function: str, code: int, reason: str
    ) -> None:
        fake_nvml.fails = {function: code}
        fake_nvml.gpus(1)
        assert self.open(fake_nvml) == reason


class TestDevices:
    @pytest.mark.parametrize("number", [1, 8, 64])
    def test_in_the_order_of_the_bus(self, fake_nvml: FakeNvml, number: int) -> None:
        gpus = fake_nvml.gpus(number, name="NVIDIA A100-SXM4-80GB", total=80 * GIB)
        with client_of(fake_nvml) as client:
            assert client.devices() == [
                Device(gpu.uuid, "NVIDIA A100-SXM4-80GB", str(i), "gpu", 80 * GIB)
                for i, gpu in enumerate(gpus)
            ]

    def test_cpus_that_are_near(self, fake_nvml: FakeNvml) -> None:
        """None are where NVML does not tell, whatever it answers instead; of an instance, its GPU's."""
        near, far, _, odd = fake_nvml.gpus(4)
        near.near, far.near, odd.near = (0, 2), (126, 130), (0, 2)
        odd.fails = {"nvmlDeviceGetCpuAffinity": UNKNOWN}
        fake_nvml.mig(1, 2)
        fake_nvml.write()
        with client_of(fake_nvml) as client:
            assert [(d.index, set(d.near)) for d in client.devices()] == [
                ("0", {0, 1}),
                ("1:0", {126, 127, 128, 129}),
                ("1:1", {126, 127, 128, 129}),
                ("2", set()),
                ("3", set()),
            ]

    def test_limited_by_what_was_inherited_and_by_settings(self, fake_nvml: FakeNvml) -> None:
        gpus = fake_nvml.gpus(8)
        with client_of(fake_nvml) as client:
            chosen = client.devices(visible=f"7,{gpus[5].uuid},4", only=[0, 4, 5, 6], exclude=[4])
            assert [device.id for device in chosen] == [gpus[5].uuid]
            assert client.devices(visible="") == []
            assert client.ask("devices", {"only": [8]})["UnknownDevice"].startswith(
                "devices.only: 8 names no single device here; there are 0 (GPU-"
            )

    def test_mig_instances_stand_for_their_gpu(self, fake_nvml: FakeNvml) -> None:
        whole, divided = fake_nvml.gpus(2)
        first, _, third = fake_nvml.mig(1, 3, name="NVIDIA H200 MIG 1g.18gb", total=16 * GIB)
        del divided.instances[1]  # numbers have gaps
        fake_nvml.write()
        with client_of(fake_nvml) as client:
            assert [(d.id, d.index, d.kind, d.parent) for d in client.devices()] == [
                (whole.uuid, "0", "gpu", None),
                (first.uuid, "1:0", "mig", divided.uuid),
                (third.uuid, "1:2", "mig", divided.uuid),
            ]
            assert [d.id for d in client.devices(only=[divided.uuid])] == [first.uuid, third.uuid]

    def test_mig_mode_without_an_instance_is_said(self, fake_nvml: FakeNvml) -> None:
        (gpu,) = fake_nvml.gpus(1, mig_mode=True)
        with client_of(fake_nvml) as client:
            assert [device.id for device in client.devices()] == [gpu.uuid]
            assert "MIG mode is on but no instance exists" in client.reason(gpu.uuid)
            fake_nvml.set(0, mig_mode=False)
            assert client.reason(gpu.uuid) == "idle"
            (instance,) = fake_nvml.mig(0, 1, total=35 * GIB)
            assert [device.id for device in client.devices()] == [instance.uuid]
            assert client.reason(instance.uuid) == "idle (utilisation not known)"

    def test_a_gpu_that_cannot_be_asked_is_shown(self, fake_nvml: FakeNvml) -> None:
        gpus = fake_nvml.gpus(3)
        fake_nvml.set(1, lost=True)
        with client_of(fake_nvml) as client:
            devices = client.devices()
            assert [device.index for device in devices] == ["0", "1", "2"]
            assert [client.reason(device.id) for device in devices] == [
                "idle",
                "lost: the GPU fell off the bus; reset it or reboot",
                "idle",
            ]
            assert [device.id for device in client.devices(exclude=[1])] == [
                gpus[0].uuid,
                gpus[2].uuid,
            ]

    def test_a_driver_that_goes_away(self, fake_nvml: FakeNvml, client: Client) -> None:
        (fake_nvml.folder / "scenario").unlink()
        assert client.ask("devices", {}) == {
            "NvmlUnavailable": "the NVIDIA kernel driver is not loaded"
        }
        assert client.read("GPU-1").error


class TestReading:
    def test_of_an_idle_gpu(self, fake_nvml: FakeNvml, client: Client) -> None:
        gpu = fake_nvml.devices[0]
        assert client.read(gpu.uuid) == Reading(
            gpu.uuid,
            utilization=0,
            free_memory=gpu.total - gpu.reserved,
            total_memory=gpu.total,
            reserved_memory=gpu.reserved,
            processes=(),
        )

    def test_a_foreign_process_at_no_utilisation_and_its_death(
        self, fake_nvml: FakeNvml, client: Client
    ) -> None:
        gpu = fake_nvml.devices[0].uuid
        with foreign_process(fake_nvml.folder / "use" / gpu, 3 * GIB) as process:
            assert client.read(gpu).processes == (Process(process.pid, 3 * GIB, "sh", USER),)
            assert client.reason(gpu) == (
                f"busy: process {process.pid} (sh, user {USER}) holds 3.0 GiB"
            )
            assert client.reason(fake_nvml.devices[1].uuid) == "idle"
        assert client.reason(gpu) == "idle"

    def test_processes_that_a_container_hides(self, fake_nvml: FakeNvml, client: Client) -> None:
        fake_nvml.set(0, hidden=3 * GIB)
        reading = client.read(fake_nvml.devices[0].uuid)
        assert (reading.processes, reading.used_memory) == ((), 3 * GIB)
        assert client.reason(reading.device_id) == (
            "busy: 3.0 GiB held by processes that cannot be seen from here"
        )

    def test_clients_of_mps_are_processes_like_any(
        self, fake_nvml: FakeNvml, client: Client
    ) -> None:
        gpu = fake_nvml.devices[0].uuid
        fake_nvml.set(0, processes={os.getppid(): GIB}, clients={os.getpid(): 3 * GIB})
        listed = client.read(gpu).processes
        assert {(p.pid, p.used_memory) for p in listed} == {
            (os.getppid(), GIB),
            (os.getpid(), 3 * GIB),
        }

    def test_garbage_pids(self, fake_nvml: FakeNvml, client: Client) -> None:
        gpu = fake_nvml.devices[0].uuid
        fake_nvml.set(0, phantoms={0: None, 4294967295: 2**64 - 2, 2**31: 5})
        assert [p.exists for p in client.read(gpu).processes] == [False] * 3
        assert client.reason(gpu) == "idle"
        fake_nvml.set(0, phantoms={}, processes={2**31: 3 * GIB})
        assert client.reason(gpu) == "busy: 3.0 GiB held by processes that cannot be seen from here"

    def test_a_number_that_is_only_a_threads_is_no_process(
        self, fake_nvml: FakeNvml, client: Client
    ) -> None:
        code = "import threading, time; t = threading.Thread(target=time.sleep, args=[600]); "
        code += "t.start(); print(t.native_id, flush=True)"
        command = [sys.executable, "-c", code]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            fake_nvml.set(0, phantoms={int(process.stdout.readline()): None})
            assert client.reason(fake_nvml.devices[0].uuid) == "idle"
            process.kill()

    def test_a_dead_process_that_nobody_has_waited_for(
        self, fake_nvml: FakeNvml, client: Client
    ) -> None:
        dead = subprocess.Popen(["true"])
        os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
        fake_nvml.set(0, phantoms={dead.pid: GIB})
        assert [p.exists for p in client.read(fake_nvml.devices[0].uuid).processes] == [False]
        dead.wait()

    def test_what_a_display_holds(self, fake_nvml: FakeNvml, client: Client) -> None:
        fake_nvml.set(0, displays={1: 600 * 2**20})
        assert client.read(fake_nvml.devices[0].uuid).display_memory == 600 * 2**20
        assert client.reason(fake_nvml.devices[0].uuid) == "idle"

    def test_a_process_that_draws_and_computes_counts_once(
        self, fake_nvml: FakeNvml, client: Client
    ) -> None:
        fake_nvml.set(0, displays={os.getpid(): GIB}, phantoms={os.getpid(): GIB})
        assert client.read(fake_nvml.devices[0].uuid).display_memory == 0

    def test_a_process_cannot_write_to_our_users_terminal(
        self, fake_nvml: FakeNvml, client: Client
    ) -> None:
        code = r"open('/proc/self/comm', 'w').write('\x1b[2J\x07é'); print(flush=True); input()"
        command = [sys.executable, "-c", code]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            fake_nvml.set(0, processes={process.pid: GIB})
            assert client.read(fake_nvml.devices[0].uuid).processes[0].name == "?[2J?é"
            process.kill()

    def test_utilisation_over_time(self, fake_nvml: FakeNvml, client: Client) -> None:
        gpu = fake_nvml.devices[0].uuid
        fake_nvml.set(0, utilization=87, later=[(3600, "utilization 3")])
        assert client.read(gpu).utilization == 87
        fake_nvml.set(0, later=[(0.2, "utilization 3")])
        while client.read(gpu).utilization == 87:
            pass
        assert client.read(gpu).utilization == 3

    def test_mig_instances_apart_from_each_other(self, fake_nvml: FakeNvml, client: Client) -> None:
        busy, free = fake_nvml.mig(0, 2, total=35 * GIB)
        client.devices()
        with foreign_process(fake_nvml.folder / "use" / busy.uuid, 3 * GIB):
            assert client.reason(busy.uuid).startswith("busy: process")
            assert client.reason(free.uuid) == "idle (utilisation not known)"


class TestWhatNvmlWillNotTell:
    @pytest.mark.parametrize("code", [NOT_SUPPORTED, NO_PERMISSION, FUNCTION_NOT_FOUND])
    @pytest.mark.parametrize(
        ("function", "reason"),
        [
            ("nvmlDeviceGetUtilizationRates", "idle (utilisation not known)"),
            ("nvmlDeviceGetMemoryInfo", "idle (memory not known)"),
            ("nvmlDeviceGetMemoryInfo_v2", "idle"),
            ("nvmlDeviceGetComputeRunningProcesses", "idle (processes not known)"),
            ("nvmlDeviceGetComputeRunningProcesses_v3", "idle"),
            ("nvmlDeviceGetGraphicsRunningProcesses", "idle"),
            ("nvmlDeviceGetMigMode", "idle"),
            ("nvmlDeviceGetName", "idle"),
            ("nvmlDeviceGetFieldValues", "idle"),
        ],
    )
    def test_is_not_held_against_a_device(
        self, fake_nvml: FakeNvml, client: Client, function: str, reason: str, code: int
    ) -> None:
        fake_nvml.set(0, fails={function: code})
        gpu, other = client.devices()
        assert (client.reason(gpu.id), client.reason(other.id)) == (reason, "idle")

    def test_an_old_driver_counts_its_reserve_as_used(
        self, fake_nvml: FakeNvml, client: Client
    ) -> None:
        fake_nvml.set(0, fails={"nvmlDeviceGetMemoryInfo_v2": FUNCTION_NOT_FOUND})
        reading = client.read(fake_nvml.devices[0].uuid)
        assert reading.reserved_memory is None
        assert reading.used_memory == fake_nvml.devices[0].reserved
        fake_nvml.set(0, hidden=GIB)
        assert client.reason(reading.device_id).startswith("busy: 1.6 GiB held by processes")

    def test_an_error_is_told_and_goes_away(self, fake_nvml: FakeNvml, client: Client) -> None:
        gpu = fake_nvml.devices[0].uuid
        fake_nvml.set(0, fails={"nvmlDeviceGetUtilizationRates": UNKNOWN})
        assert client.read(gpu) == Reading(gpu, error="NVML answers UNKNOWN")
        fake_nvml.set(0, fails={})
        assert client.reason(gpu) == "idle"


class TestDevicesThatComeAndGo:
    LOST = "lost: the GPU fell off the bus; reset it or reboot"

    def test_a_gpu_lost_in_mid_run_leaves_the_others(
        self, fake_nvml: FakeNvml, client: Client
    ) -> None:
        lost, other = (device.id for device in client.devices())
        assert client.reason(lost) == "idle"
        fake_nvml.set(0, lost=True)
        assert client.reason(lost) == self.LOST
        assert client.read(lost).lost
        assert client.reason(other) == "idle"

    @pytest.mark.parametrize(
        ("action", "needs"),
        [
            (1, "a reset of the GPU (nvidia-smi --gpu-reset)"),
            (2, "a reboot"),
            (7, "a reboot"),
            (8, "action 8"),
        ],
    )
    def test_a_gpu_that_an_xid_error_left_unusable(
        self, fake_nvml: FakeNvml, client: Client, action: int, needs: str
    ) -> None:
        gpu, other = (device.id for device in client.devices())
        fake_nvml.set(0, recovery=action)
        assert client.reason(gpu) == f"in error: the driver asks for {needs}"
        assert client.reason(other) == "idle"
        fake_nvml.set(0, recovery=0)
        assert client.reason(gpu) == "idle"

    def test_a_gpu_that_returns_is_seen_once_nvml_is_opened_anew(
        self, fake_nvml: FakeNvml, client: Client
    ) -> None:
        gpu, other = (device.id for device in client.devices())
        fake_nvml.set(0, lost=True)
        client.read(gpu)
        fake_nvml.set(0, lost=False)
        assert client.read(gpu).lost
        client.ask("reopen_after", 0)
        assert client.reason(gpu) == "idle"
        assert client.reason(other) == "idle"

    def test_mig_instances_destroyed_and_made_again(
        self, fake_nvml: FakeNvml, client: Client
    ) -> None:
        first, second = fake_nvml.mig(0, 2, total=35 * GIB)
        client.devices()
        instances = fake_nvml.devices[0].instances
        fake_nvml.set(0, instances={0: first})
        assert client.reason(second.uuid) == "lost: NVML no longer finds it"
        assert client.reason(first.uuid) == "idle (utilisation not known)"
        fake_nvml.set(0, instances=instances)
        assert client.reason(second.uuid) == "idle (utilisation not known)"

    def test_a_device_that_never_was(self, client: Client) -> None:
        assert client.read("GPU-none") == Reading(
            "GPU-none", error="NVML no longer finds it", lost=True
        )

    def test_a_driver_that_is_replaced_under_us(self, fake_nvml: FakeNvml, client: Client) -> None:
        gpu = fake_nvml.devices[0].uuid
        client.ask("reopen_after", 0)
        fake_nvml.fails = {"nvml": LIB_RM_VERSION_MISMATCH}
        fake_nvml.write()
        assert client.read(gpu).error
        assert client.read(gpu).error
        fake_nvml.fails = {}
        fake_nvml.write()
        assert client.reason(gpu) == "idle"
