"""GPUs for machines without any: a fake of the library that NVML's Python binding loads.

    fake_nvml = FakeNvml(folder, build(library_folder))
    fake_nvml.gpus(8)
    subprocess.run([sys.executable, "-m", "scheduler", "devices"], env=fake_nvml.environment())

The scheduler, the binding and the loader are the real ones; only `libnvidia-ml.so.1` is ours
(`nvml.c`), and reports what the scenario in `folder` says (`scenario.h`). A process says that it
uses a GPU, as a worker would by creating a CUDA context, with `use_gpu`, or in any language by

    echo BYTES > "$FAKE_NVML/use/$CUDA_VISIBLE_DEVICES/$$"

which counts until the process ends or removes the file.
"""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

GIB = 2**30
_HERE = Path(__file__).parent

# NVML's error codes, for `Section.fails` and `FakeNvml.fails`.
NOT_SUPPORTED, NO_PERMISSION, UNKNOWN = 3, 4, 999
DRIVER_NOT_LOADED, FUNCTION_NOT_FOUND, GPU_IS_LOST, LIB_RM_VERSION_MISMATCH = 9, 13, 15, 18


def build(folder: Path) -> Path:
    """Compile the library into ``folder`` and return that.

    Raises:
        FileNotFoundError: there is no C compiler ``cc``.
        subprocess.CalledProcessError: it does not compile.
    """
    flags = "-std=gnu11 -O2 -Wall -Wextra -Werror -shared -fPIC -fvisibility=hidden -pthread"
    sources = [_HERE / "nvml.c", _HERE / "scenario.c"]
    subprocess.run(["cc", *flags.split(), "-o", folder / "libnvidia-ml.so.1", *sources], check=True)
    return folder


@dataclass
class Section:
    """What NVML reports of a GPU or MIG instance; change it and call `FakeNvml.write`."""

    uuid: str
    name: str = "NVIDIA H200"
    total: int = 141 * GIB
    reserved: int = 600 * 2**20  # the driver's; all memory is in bytes
    hidden: int = 0  # memory held by processes that are not listed
    utilization: int = 0  # percent
    energy: int = 0  # millijoules
    power: int = 75_000  # milliwatts
    temperature: int = 30  # degrees Celsius
    clock: int = 1980  # MHz
    throttle: int = 0  # nvmlClocksEventReason…, added up
    violation: int = 0  # nanoseconds lost to heat
    used: tuple[int, int] = (0, 0)  # a process that computed in the last second, percent
    processes: dict[int, int | None] = field(default_factory=dict)  # pid: memory; None: not told
    displays: dict[int, int | None] = field(default_factory=dict)  # drawing, not computing
    clients: dict[int, int | None] = field(default_factory=dict)  # computing by way of MPS
    compute_mode: int = 0  # nvmlComputeMode_t
    phantoms: dict[int, int | None] = field(default_factory=dict)  # listed, but not there
    fails: dict[str, int] = field(default_factory=dict)  # function (its name's beginning): code
    near: tuple[int, int] = (0, 0)  # its CPUs, without the last; none: NVML does not tell
    recovery: int = 0  # what an XID error left to be done: NVML_GPU_RECOVERY_ACTION_…
    lost: bool = False
    mig_mode: bool = False
    instances: dict[int, Section] = field(default_factory=dict)  # by number; they imply MIG mode
    later: list[tuple[float, str]] = field(default_factory=list)  # seconds after `write`, line

    def lines(self, head: str) -> list[str]:
        """Return the section of the scenario file that `head` begins."""
        lines = [head, f"name {self.name}", f"total {self.total}", f"reserved {self.reserved}"]
        lines += [f"hidden {self.hidden}", f"utilization {self.utilization}"]
        lines += [f"recovery {self.recovery}", f"lost {int(self.lost)}"] + [
            "mig_mode"
        ] * self.mig_mode
        lines += [f"power {self.power}", f"temperature {self.temperature}"]
        lines += [f"energy {self.energy}", f"clock {self.clock}", f"throttle {self.throttle}"]
        lines += ["near {} {}".format(*self.near), f"compute_mode {self.compute_mode}"]
        lines += [f"violation {self.violation}", "used {} {}".format(*self.used)]
        lists = {
            "process": self.processes,
            "display": self.displays,
            "phantom": self.phantoms,
            "client": self.clients,
        }
        for kind, processes in lists.items():
            lines += [f"{kind} {pid} {'-' if m is None else m}" for pid, m in processes.items()]
        lines += [f"fails {function} {code}" for function, code in self.fails.items()]
        lines += [f"at {seconds} {line}" for seconds, line in self.later]
        for number, instance in self.instances.items():
            lines += instance.lines(f"mig {number} {instance.uuid}")
        return lines


class FakeNvml:
    """A machine's GPUs, as the library in ``library`` reports them from files in ``folder``."""

    def __init__(self, folder: Path, library: Path) -> None:
        self.folder = folder
        self.library = library
        self.devices: list[Section] = []  # in the order of the PCI bus
        self.fails: dict[str, int] = {}  # of the library itself: {"nvmlInit": 18}
        self.write()

    def gpus(self, number: int, **settings: object) -> list[Section]:
        """Make the machine have ``number`` equal GPUs, and return them."""
        ids = [f"GPU-{uuid.uuid5(uuid.NAMESPACE_OID, str(gpu))}" for gpu in range(number)]
        self.devices = [Section(gpu, **settings) for gpu in ids]  # type: ignore[arg-type]
        self.write()
        return self.devices

    def mig(self, gpu: int, number: int, **settings: object) -> list[Section]:
        """Divide a GPU into ``number`` equal instances, and return them."""
        parent = self.devices[gpu]
        settings = {"name": f"{parent.name} MIG 1g.18gb", "total": 16 * GIB} | settings
        parent.instances = {
            i: Section(f"MIG-{uuid.uuid5(uuid.NAMESPACE_OID, f'{gpu} {i}')}", **settings)  # type: ignore[arg-type]
            for i in range(number)
        }
        self.write()
        return list(parent.instances.values())

    def set(self, gpu: int, **changes: object) -> None:
        """Change what is reported of a GPU, from the next call to the library on."""
        for name, value in changes.items():
            if not hasattr(self.devices[gpu], name):
                raise AttributeError(f"a GPU has no {name!r}")
            setattr(self.devices[gpu], name, value)
        self.write()

    def write(self) -> None:
        """Write the scenario, in one step for whoever reads it at this moment."""
        lines = [f"start {time.time():.6f}"]
        lines += [f"fails {function} {code}" for function, code in self.fails.items()]
        for gpu in self.devices:
            lines += gpu.lines(f"gpu {gpu.uuid}")
            for device in (gpu, *gpu.instances.values()):
                (self.folder / "use" / device.uuid).mkdir(parents=True, exist_ok=True)
        new = self.folder / "scenario.new"
        new.write_text("\n".join(lines) + "\n")
        # The kernel's own time stamps are too coarse to tell two quick changes apart.
        os.utime(new, ns=(time.time_ns(), time.time_ns()))
        new.rename(self.folder / "scenario")

    def environment(self, base: Mapping[str, str] = os.environ) -> dict[str, str]:
        """Return the environment of a process that shall find these GPUs, and no real ones."""
        paths = [str(self.library), base.get("LD_LIBRARY_PATH", "")]
        environment = {k: v for k, v in base.items() if k != "CUDA_VISIBLE_DEVICES"}
        return environment | {
            "LD_LIBRARY_PATH": ":".join(filter(None, paths)),
            "FAKE_NVML": str(self.folder),
        }


def use_gpu(memory: int) -> Path:
    """Say that this process holds ``memory`` bytes of its GPU; return the file that says so."""
    folder = Path(os.environ["FAKE_NVML"], "use", os.environ["CUDA_VISIBLE_DEVICES"])
    new = folder / f"new.{os.getpid()}"
    new.write_text(str(memory))
    return new.rename(folder / str(os.getpid()))
