"""GPUs and MIG instances, through NVML.

The one place where an NVML error becomes "not known" (a value that is None), "in error" or "lost".
Calls block for as long as the driver does: about 0.15 ms for a reading, much longer while a GPU is
being reset. One thread at a time may use an `Nvml`.
"""

from __future__ import annotations

import ctypes
import queue
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from scheduler.config.printable import printable
from scheduler.config.units import format_duration
from scheduler.devices.model import Device, Gauges, Process, Reading
from scheduler.devices.processes import user_name

_T = TypeVar("_T")
# The binding has no types: pointers and structures of ctypes, and errors that carry a code.
_Binding: TypeAlias = Any
_Handle: TypeAlias = Any
_Struct: TypeAlias = Any
_Error: TypeAlias = Any

_LIBRARY = "libnvidia-ml.so.1"
# By the names of the binding's constants: it is imported only when NVML is opened.
_NOT_KNOWN = (
    "NOT_SUPPORTED",
    "NO_PERMISSION",
    "FUNCTION_NOT_FOUND",
    "NO_DATA",
    "ARGUMENT_VERSION_MISMATCH",
    "DEPRECATED",
    "INSUFFICIENT_SIZE",  # a process list that grew between the binding's two calls
)
_STALE = ("NOT_FOUND", "INVALID_ARGUMENT", "UNINITIALIZED", "GPU_NOT_FOUND")
_LOST = {
    "GPU_IS_LOST": "the GPU fell off the bus; reset it or reboot",
    "RESET_REQUIRED": "the GPU needs a reset (nvidia-smi --gpu-reset)",
}
_UNAVAILABLE = {
    "DRIVER_NOT_LOADED": "the NVIDIA kernel driver is not loaded",
    "LIB_RM_VERSION_MISMATCH": (
        "the NVIDIA driver and its library libnvidia-ml.so.1 have different versions, as after an "
        "update without a reboot; reboot, or load the new kernel modules"
    ),
    "NO_PERMISSION": "no permission to talk to the NVIDIA driver (see /dev/nvidiactl)",
    "GPU_NOT_FOUND": "the NVIDIA driver finds no GPU",
    "FUNCTION_NOT_FOUND": (
        "the NVIDIA driver's library libnvidia-ml.so.1 lacks what it should have: it is too old, or no "
        "driver's; install the driver anew"
    ),
    "GPU_IS_LOST": "a GPU fell off the bus and the NVIDIA driver does not start; reboot",
}
_RECOVERY_ACTION = 230  # NVML_FI_DEV_GET_GPU_RECOVERY_ACTION, which older bindings lack
_RECOVERY = (  # of NVML's recovery actions, from 1: what an XID error left to be done
    "a reset of the GPU (nvidia-smi --gpu-reset)",
    "a reboot",
    "all peers to let go of it",
    "all peers to let go of it, and a reset (nvidia-smi --gpu-reset)",
    "its IMEX domain to be recovered",
    "a reset of its PCI bus",
    "a reboot",
)
_CPU_WORD = 64  # bits of a word of a set of CPUs
_CPU_WORDS = 8192 // _CPU_WORD  # Linux has at most 8192 CPUs
_NO_INSTANCE = (
    "MIG mode is on but no instance exists: create one (nvidia-smi mig -cgi … -C) or switch it off"
)


class NvmlUnavailable(Exception):  # noqa: N818  # it is a state of the machine, not a mistake
    """NVML cannot be used here; the message is one phrase that says why, and what helps."""


class NoDriverLibrary(NvmlUnavailable):
    """There is no NVIDIA driver here at all, as far as its library tells."""


class Nvml:
    """An open connection to NVML.

    NVML's order of devices is that of the PCI bus, CUDA's under CUDA_DEVICE_ORDER=PCI_BUS_ID.
    """

    # NVML sees GPUs that came back only when it is opened anew, which can take seconds.
    REOPEN_AFTER = 60.0

    def __init__(self, binding: _Binding) -> None:
        self._nvml = binding
        self._handles: dict[str, _Handle] = {}
        self._broken: dict[str, Reading] = {}  # devices that are there but cannot be used
        self._reopened = time.monotonic()
        self._code_names = {
            getattr(binding, name): name.removeprefix("NVML_ERROR_")
            for name in dir(binding)
            if name.startswith("NVML_ERROR_")
        }

    @classmethod
    def open(cls) -> Nvml:
        """Load the driver's library and connect to it.

        Raises:
            NoDriverLibrary: there is no library.
            NvmlUnavailable: there is no driver, no GPU, or they do not fit together.
        """
        import pynvml

        _load_library()
        nvml = cls(pynvml)
        try:
            pynvml.nvmlInit()
            count = pynvml.nvmlDeviceGetCount()
        except pynvml.NVMLError as error:
            raise nvml._unavailable(error) from error
        if count == 0:
            nvml.close()
            raise NvmlUnavailable(_UNAVAILABLE["GPU_NOT_FOUND"])
        return nvml

    def close(self) -> None:
        """Disconnect; does nothing where the driver no longer answers."""
        self._handles.clear()
        try:
            self._nvml.nvmlShutdown()
        except self._nvml.NVMLError:
            return

    @property
    def driver_version(self) -> str | None:
        """The version of the driver; None: it does not tell."""
        return self._known(self._nvml.nvmlSystemGetDriverVersion)

    def devices(self) -> list[Device]:
        """Return all devices of the machine, in NVML's order; MIG instances stand for their GPU.

        A GPU that is lost, or in MIG mode without an instance, is among them; its readings say so.

        Raises:
            NvmlUnavailable: the driver no longer answers.
        """
        try:
            return self._enumerate()
        except self._nvml.NVMLError as error:
            raise self._unavailable(error) from error

    def read(self, device_id: str) -> Reading:
        """Return a look at a device; never raises for anything that NVML does or the device is."""
        if device_id not in self._handles:
            self._find(device_id)
        if device_id in self._broken:
            return self._broken[device_id]
        handle = self._handles.get(device_id)
        if handle is None:
            return Reading(device_id, error="NVML no longer finds it", lost=True)
        try:
            return self._read(device_id, handle)
        except self._nvml.NVMLError as error:
            # Asked for anew at the next reading: a handle does not outlive a reset.
            del self._handles[device_id]
            return self._failed(device_id, error)

    def _read(self, device_id: str, handle: _Handle) -> Reading:
        nvml = self._nvml
        mig = device_id.startswith("MIG-")  # of a whole GPU alone: utilisation, displays, recovery
        action = 0 if mig else self._recovery_action(handle)
        if action:
            needs = _RECOVERY[action - 1] if action <= len(_RECOVERY) else f"action {action}"
            return Reading(device_id, error=f"the driver asks for {needs}")
        rates = None if mig else self._known(nvml.nvmlDeviceGetUtilizationRates, handle)
        memory = self._memory(handle)
        listed = self._known(nvml.nvmlDeviceGetComputeRunningProcesses_v3, handle)
        if listed is None:  # drivers before 510
            listed = self._known(nvml.nvmlDeviceGetComputeRunningProcesses_v2, handle)
        # Clients of MPS are listed apart.
        clients = self._known(nvml.nvmlDeviceGetMPSComputeRunningProcesses_v3, handle)
        if listed is not None:
            listed = list({entry.pid: entry for entry in (*listed, *(clients or ()))}.values())
        processes = None if listed is None else tuple(_process(entry) for entry in listed)
        return Reading(
            device_id,
            utilization=None if rates is None else int(rates.gpu),
            free_memory=None if memory is None else int(memory.free),
            total_memory=None if memory is None else int(memory.total),
            reserved_memory=getattr(memory, "reserved", None),
            display_memory=0 if mig else self._display_memory(handle, listed or ()),
            processes=processes,
        )

    def gauges(self, device_id: str) -> Gauges:
        """Return what the device does at this moment; never raises for anything that NVML does.

        A MIG instance has memory of its own; the rest is its whole GPU's, and is not told.
        """
        nvml = self._nvml
        if device_id not in self._handles:
            self._find(device_id)
        handle = self._handles.get(device_id)
        if handle is None:
            return Gauges()
        try:
            memory = self._memory(handle)
            reserved = getattr(memory, "reserved", 0)
            used = None if memory is None else int(memory.total - memory.free - reserved)
            total = None if memory is None else int(memory.total)
            if device_id.startswith("MIG-"):
                return Gauges(None, used, total)
            rates = self._known(nvml.nvmlDeviceGetUtilizationRates, handle)
            power = self._known(nvml.nvmlDeviceGetPowerUsage, handle)
            temperature = self._known(
                nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU
            )
        except nvml.NVMLError:
            del self._handles[device_id]
            return Gauges()
        return Gauges(
            None if rates is None else int(rates.gpu),
            used,
            total,
            None if power is None else power / 1000,
            temperature,
        )

    def is_exclusive(self, device_id: str) -> bool:
        """Say whether the device takes one process at a time, or none, by its compute mode."""
        handle = self._handles.get(device_id)
        mode = None if handle is None else self._known(self._nvml.nvmlDeviceGetComputeMode, handle)
        return mode not in (None, self._nvml.NVML_COMPUTEMODE_DEFAULT)

    def _memory(self, handle: _Handle) -> _Struct | None:
        """Return NVML's memory figures, with the driver's reserve where the driver is ≥ 510."""
        nvml = self._nvml
        memory = self._known(nvml.nvmlDeviceGetMemoryInfo, handle, nvml.nvmlMemory_v2)
        return self._known(nvml.nvmlDeviceGetMemoryInfo, handle) if memory is None else memory

    def _display_memory(self, handle: _Handle, computing: Iterable[_Struct]) -> int:
        """Return how much memory processes hold that only draw, such as an X server."""
        pids = {entry.pid for entry in computing}
        drawing = self._known(self._nvml.nvmlDeviceGetGraphicsRunningProcesses_v3, handle)
        return sum(p.usedGpuMemory or 0 for p in drawing or () if p.pid not in pids)

    def _recovery_action(self, handle: _Handle) -> int:
        """Return what the GPU needs after an XID error before it computes again, 0 for nothing."""
        values = self._known(self._nvml.nvmlDeviceGetFieldValues, handle, [_RECOVERY_ACTION])
        if values is None or values[0].nvmlReturn != self._nvml.NVML_SUCCESS:  # older drivers
            return 0
        return int(values[0].value.uiVal)

    def _known(self, call: Callable[..., _T], *args: object) -> _T | None:
        """Return what NVML answers, or None where it cannot or will not tell."""
        try:
            return call(*args)
        except self._nvml.NVMLLibraryMismatchError:
            return None
        except self._nvml.NVMLError as error:
            if self._name(error) in _NOT_KNOWN:
                return None
            raise

    def _name(self, error: _Error) -> str:
        return self._code_names.get(error.value, f"error {error.value}")

    def _unavailable(self, error: _Error) -> NvmlUnavailable:
        name = self._name(error)
        return NvmlUnavailable(_UNAVAILABLE.get(name, f"NVML answers {name}"))

    def _failed(self, device_id: str, error: _Error) -> Reading:
        name = self._name(error)
        if name in _LOST:
            return Reading(device_id, error=_LOST[name], lost=True)
        if name in _STALE:
            return Reading(device_id, error="NVML no longer finds it", lost=True)
        return Reading(device_id, error=f"NVML answers {name}")

    def _find(self, device_id: str) -> None:
        """Look for a device that NVML did not know, or no longer knew, when it was last read."""
        try:
            if time.monotonic() - self._reopened >= self.REOPEN_AFTER:
                self._reopened = time.monotonic()
                self.close()
                self._nvml.nvmlInit()
            self._enumerate()
        except self._nvml.NVMLError as error:
            self._broken[device_id] = self._failed(device_id, error)

    def _enumerate(self) -> list[Device]:
        """Return all devices there are, and remember NVML's handles of them.

        By index, not by UUID: a search by UUID fails where any other GPU of the machine is lost.
        """
        self._handles.clear()
        self._broken.clear()
        found: list[Device] = []
        for index in range(self._nvml.nvmlDeviceGetCount()):
            try:
                handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
                found += self._usable(handle, index)
            except self._nvml.NVMLError as error:
                # Its UUID cannot be asked for, but a user should see that it is not forgotten.
                device = Device(f"unreadable:{index}", "unknown GPU", str(index), "gpu")
                self._broken[device.id] = self._failed(device.id, error)
                found.append(device)
        return found

    def _usable(self, gpu: _Handle, index: int) -> list[Device]:
        """Return the GPU, or its MIG instances: CUDA takes no whole GPU in MIG mode."""
        nvml = self._nvml
        near = self._near(gpu)
        mode = self._known(nvml.nvmlDeviceGetMigMode, gpu)
        if mode is None or mode[0] != nvml.NVML_DEVICE_MIG_ENABLE:
            return [self._device(gpu, str(index), "gpu", near)]
        parent = nvml.nvmlDeviceGetUUID(gpu)
        instances = []
        for instance in range(nvml.nvmlDeviceGetMaxMigDeviceCount(gpu)):
            try:
                handle = nvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, instance)
            except nvml.NVMLError_NotFound:  # a gap: instances keep their numbers
                continue
            instances.append(self._device(handle, f"{index}:{instance}", "mig", near, parent))
        if not instances:
            whole = self._device(gpu, str(index), "gpu", near)
            del self._handles[whole.id]  # looked for anew, with its instances, at each reading
            self._broken[whole.id] = Reading(whole.id, error=_NO_INSTANCE)
            return [whole]
        return instances

    def _device(
        self,
        handle: _Handle,
        index: str,
        kind: Literal["gpu", "mig"],
        near: frozenset[int],
        parent: str | None = None,
    ) -> Device:
        nvml = self._nvml
        device_id = nvml.nvmlDeviceGetUUID(handle)
        name = self._known(nvml.nvmlDeviceGetName, handle) or "unknown GPU"
        memory = self._memory(handle)
        self._handles[device_id] = handle
        total = None if memory is None else int(memory.total)
        return Device(device_id, name, index, kind, total, parent, near)

    def _near(self, gpu: _Handle) -> frozenset[int]:
        """Return the CPUs closest to a GPU; none where NVML does not tell, as in many virtual machines."""
        try:
            words = self._nvml.nvmlDeviceGetCpuAffinity(gpu, _CPU_WORDS)
        except (
            self._nvml.NVMLError
        ):  # a GPU can be used without: no error of this is one of the GPU
            return frozenset()
        return frozenset(
            n * _CPU_WORD + bit
            for n, word in enumerate(words)
            for bit in range(_CPU_WORD)
            if word >> bit & 1
        )


def _load_library() -> None:
    """Load the driver's library: the binding says of one that cannot be loaded that there is none.

    Raises:
        NoDriverLibrary: it is not there. (An empty file is none either: the container tools leave one
            behind in images, as the place where the host's library was mounted.)
        NvmlUnavailable: it is there and cannot be loaded.
    """
    try:
        ctypes.CDLL(_LIBRARY)
    except OSError as error:
        why = str(error)
        if why.startswith(f"{_LIBRARY}: ") and why.endswith("No such file or directory"):
            raise NoDriverLibrary(
                f"no NVIDIA driver here (the library {_LIBRARY} was not found)"
            ) from None
        if why.endswith("file too short"):
            raise NoDriverLibrary(
                f"no NVIDIA driver here (the library {_LIBRARY} is an empty file)"
            ) from None
        raise NvmlUnavailable(
            f"the NVIDIA driver's library cannot be loaded ({printable(why)}); install it anew"
        ) from None


def _process(entry: _Struct) -> Process:
    """Return what NVML and the kernel tell of a process on a device."""
    pid, memory = int(entry.pid), entry.usedGpuMemory
    try:
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    except OSError:  # gone, hidden, in another container, or a number that never was a process
        return Process(pid, memory, exists=False)
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    if status.get("Tgid") != str(pid) or status.get("State", "Z")[0] in "ZX":
        # A thread's number, so a process of another container; or dead, and it holds nothing.
        return Process(pid, memory, exists=False)
    # The name is the process's own choice and goes to our user's terminal.
    name = printable(status.get("Name", ""), "?")
    return Process(pid, memory, name or None, user_name(int(status["Uid"].split()[0])))


def within(seconds: float, work: Callable[[], _T]) -> _T:
    """Return what ``work`` does in a thread of its own, which is left behind if it takes too long.

    Raises:
        NvmlUnavailable: it has not ended in time.
    """
    results: queue.SimpleQueue[_T | Exception] = queue.SimpleQueue()

    def run() -> None:
        try:
            results.put(work())
        except Exception as error:  # noqa: BLE001  # raised again by whoever waits
            results.put(error)

    threading.Thread(target=run, name="first look at the GPUs", daemon=True).start()
    try:
        result = results.get(timeout=seconds)
    except queue.Empty:
        raise NvmlUnavailable(
            f"the NVIDIA driver has not answered for {format_duration(seconds)}, as when a GPU hangs "
            "(see dmesg; a reboot may be needed)"
        ) from None
    if isinstance(result, Exception):
        raise result
    return result
