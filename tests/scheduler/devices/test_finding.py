"""Which devices a sweep runs on, on machines of every kind: no CPU unasked for what asks for a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from scheduler.config.loader import read_sweep
from scheduler.config.sweep import DeviceSettings
from scheduler.devices.finding import NoDevices, cpu_slots, find_devices
from scheduler.devices.nvml import Nvml
from tests.helpers.fake_nvml import (
    DRIVER_NOT_LOADED,
    LIB_RM_VERSION_MISMATCH,
    NO_PERMISSION,
    UNKNOWN,
    FakeNvml,
)

ROOT = Path(__file__).parents[3]
GPU_SWEEPS = ["sd15", "sd21", "sdxl"]
SWEEPS_FOR_ANY_MACHINE = {"tiny": 2, "codecheck": 1}
COMMANDS = [[], ["--dry-run"], ["devices"]]


def say(
    machine: FakeNvml, folder: Path, devices: str = "", words: list[str] | None = None, **own: str
) -> tuple[int, str]:
    """Run a command on a sweep with this ``devices`` section; return its exit code and what it printed."""
    sweep = folder / "s.yaml"
    sweep.write_text(f'matrix: {{x: [1]}}\nworker: {{command: ["true"]}}\n{devices}\n')
    words = ["--dry-run"] if words is None else words
    arguments = [*words, sweep] if words == ["devices"] else [sweep, *words, "--root", folder]
    leases = {"SCHEDULER_LEASES": str(folder / "leases")}
    ended = subprocess.run(
        [sys.executable, "-m", "scheduler", *map(str, arguments)],
        cwd=ROOT,
        env=machine.environment() | leases | own,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert "Traceback" not in ended.stdout
    return ended.returncode, ended.stdout


def fails_with(code: int) -> Callable[[FakeNvml, Path], None]:
    def prepare(machine: FakeNvml, _: Path) -> None:
        machine.gpus(1)
        machine.fails = {"nvmlInit": code}
        machine.write()

    return prepare


def no_gpu(machine: FakeNvml, _: Path) -> None:
    machine.gpus(0)


def library_of(text: str) -> Callable[[FakeNvml, Path], None]:
    """A library that is compiled from ``text``, or that is this text itself."""

    def prepare(machine: FakeNvml, folder: Path) -> None:
        machine.library = folder / "library"
        machine.library.mkdir()
        library = machine.library / "libnvidia-ml.so.1"
        if text.startswith("int"):
            compiler = ["cc", "-x", "c", "-shared", "-fPIC", "-o", str(library), "-"]
            subprocess.run(compiler, input=text, text=True, check=True)
        else:
            library.write_text(text)

    return prepare


FAILURES = {
    "not loaded": (fails_with(DRIVER_NOT_LOADED), "kernel driver is not loaded (nvidia-smi should"),
    "updated": (fails_with(LIB_RM_VERSION_MISMATCH), "different versions, as after an update"),
    "forbidden": (fails_with(NO_PERMISSION), "no permission to talk to the NVIDIA driver"),
    "unknown": (fails_with(UNKNOWN), "NVML answers UNKNOWN (nvidia-smi should"),
    "new code": (fails_with(77), "NVML answers error 77 (nvidia-smi should"),
    "no GPU": (no_gpu, "the NVIDIA driver finds no GPU (nvidia-smi should"),
    "lacks functions": (library_of("int nothing;"), "it is too old, or no driver's; install"),
    "no library": (library_of("text " * 50), "library cannot be loaded (/"),
    "lacks another": (library_of("int missing(void); int nvmlInit_v2(void) { return missing(); }"
                                 "int nvmlInitWithFlags(int f) { return f + missing(); }"
                                 "int (*now)(void) = missing;"), "library cannot be loaded (/"),
}  # fmt: skip


@pytest.mark.parametrize("machine_is", FAILURES)
def test_a_driver_that_is_there_and_fails_is_an_error(
    fake_nvml: FakeNvml, tmp_path: Path, machine_is: str
) -> None:
    prepare, why = FAILURES[machine_is]
    prepare(fake_nvml, tmp_path)
    code, said = say(fake_nvml, tmp_path)
    assert code == 2, said
    assert why in said
    assert said.endswith("; to run on the CPU all the same, give devices.cpu_slots\n")
    assert len(said.splitlines()) == 1
    code, said = say(fake_nvml, tmp_path, "devices: {cpu_slots: 3, min_free_memory: 24GiB}")
    assert (code, "; using 3 CPU slot(s)" in said) == (0, True), said


@pytest.mark.parametrize("visible", ["", "-1", "7"])
def test_gpus_that_the_environment_hides_are_not_replaced_unasked(
    fake_nvml: FakeNvml, tmp_path: Path, visible: str
) -> None:
    fake_nvml.gpus(2)
    code, said = say(fake_nvml, tmp_path, CUDA_VISIBLE_DEVICES=visible)
    assert (code, f"CUDA_VISIBLE_DEVICES ({visible!r}) allow none" in said) == (2, True)
    code, said = say(fake_nvml, tmp_path, "devices: {cpu_slots: 1}", CUDA_VISIBLE_DEVICES=visible)
    assert (code, "using 1 CPU slot(s)" in said) == (0, True)
    # GPUs that the sweep names are never replaced.
    for slots in ("", ", cpu_slots: 1"):
        section = f"devices: {{only: [1]{slots}}}"
        code, said = say(fake_nvml, tmp_path, section, CUDA_VISIBLE_DEVICES=visible)
        assert (code, said.startswith("no device is left to use")) == (2, True)


@pytest.mark.parametrize("words", COMMANDS, ids=str)
def test_all_commands_say_it_and_leave_nothing_behind(
    fake_nvml: FakeNvml, tmp_path: Path, words: list[str]
) -> None:
    fails_with(UNKNOWN)(fake_nvml, tmp_path)
    code, said = say(fake_nvml, tmp_path, words=words)
    assert (code, said.startswith("NVML answers UNKNOWN (nvidia-smi should work")) == (2, True)
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_utilization", "5"),
        ("min_free_memory", "1GiB"),
        ("idle_for", "3s"),
        ("exclude", "[0]"),
        ("only", "[0]"),
    ],
)
def test_without_a_driver_a_demand_on_gpus_is_not_ignored(
    fake_nvml: FakeNvml, tmp_path: Path, key: str, value: str
) -> None:
    fake_nvml.library = tmp_path
    (tmp_path / "libnvidia-ml.so.1").touch()  # as container tools leave one behind
    code, said = say(fake_nvml, tmp_path, f"devices: {{{key}: {value}}}")
    assert (code, f"devices.{key}" in said) == (2, True), said
    assert "no NVIDIA driver here" in said


def test_without_a_driver_a_sweep_that_demands_nothing_runs_on_the_cpu(
    fake_nvml: FakeNvml, tmp_path: Path
) -> None:
    fake_nvml.library = tmp_path
    (tmp_path / "libnvidia-ml.so.1").touch()
    code, said = say(fake_nvml, tmp_path)
    assert (code, "using 1 CPU slot(s)" in said) == (0, True)


@pytest.mark.parametrize("name", GPU_SWEEPS)
def test_the_sweeps_that_ship_for_gpus_demand_them(name: str) -> None:
    settings = read_sweep(ROOT / f"sweeps/{name}.yaml").devices
    assert (settings.cpu_slots, bool(settings.demands)) == (None, True)


@pytest.mark.parametrize(("name", "slots"), SWEEPS_FOR_ANY_MACHINE.items())
def test_the_sweeps_that_ship_for_any_machine_take_a_cpu(name: str, slots: int) -> None:
    assert read_sweep(ROOT / f"sweeps/{name}.yaml").devices.cpu_slots == slots


def test_every_sweep_that_ships_is_for_gpus_or_for_any_machine() -> None:
    shipped = {file.stem for file in (ROOT / "sweeps").iterdir()}
    assert shipped == {*GPU_SWEEPS, *SWEEPS_FOR_ANY_MACHINE}


def test_a_driver_that_hangs_is_not_waited_for_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = threading.Event()
    monkeypatch.setattr(Nvml, "open", answers.wait)
    with pytest.raises(NoDevices, match="the NVIDIA driver has not answered for"):
        find_devices(DeviceSettings(), os.environ.get("CUDA_VISIBLE_DEVICES"), patience=0.01)
    answers.set()


def test_cpu_slots_have_names() -> None:
    assert [(d.id, d.name, d.kind) for d in cpu_slots(2)] == [
        ("cpu:0", "CPU slot 0", "cpu"),
        ("cpu:1", "CPU slot 1", "cpu"),
    ]
