"""A real Ray for tests: a head and two nodes on this machine, which declare GPUs that are none.

Ray listens at all addresses unless loopback is the only one, so it runs in a network namespace that has
nothing else, and a test that speaks to it enters that. Its processes are below one that reaps them: where
nobody does, what a dead raylet leaves lives on.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE = 60.0  # seconds; only a test that fails waits so long
NODES, GPUS = 2, 4
_CLONE_NEWNET = 0x40000000
_STORE = 80 << 20  # bytes


def why_no_ray() -> str | None:
    """Return why no Ray can be started here, or None if one can."""
    if importlib.util.find_spec("ray") is None:
        return "the package ray is not here (pip install 'diffusion-sweeps[ray]')"
    if os.geteuid() != 0:
        return "a network namespace of one's own needs root"
    if shutil.which("ip") is None:
        return "no ip here (apt-get install iproute2)"
    if subprocess.run(["unshare", "-n", "true"], check=False, capture_output=True).returncode:
        return "no network namespace can be made here"
    return None


class RayLab:
    """A cluster in a network namespace of its own, by way of the process that holds both."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ray-"))
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "CUDA_"))}
        # Else idle workers stand by for each core that is declared.
        environment |= {"RAY_enable_worker_prestart": "0", "RAY_USAGE_STATS_ENABLED": "0"}
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(self.folder / "errors").open("wb"),
            env=environment,
        )
        self.address: str = self._heard()["address"]

    def ask(self, what: str, number: int = 0) -> dict[str, Any]:
        """Have something done to the cluster; see `Cluster`."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([what, number]).encode() + b"\n")
        self._process.stdin.flush()
        return self._heard()

    def _heard(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, (self.folder / "errors").read_text()[-2000:]
        said: dict[str, Any] = json.loads(line)
        return said

    def enter(self) -> Callable[[], None]:
        """Bring this thread, and what it starts, into the cluster's network; return what leads back."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        there = os.open(f"/proc/{self._process.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        _set_network(there)
        os.close(there)

        def leave() -> None:
            _set_network(before)
            os.close(before)

        return leave

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._process.communicate(timeout=PATIENCE)
        shutil.rmtree(self.folder, ignore_errors=True)


def _set_network(descriptor: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "the network namespace cannot be entered")


@functools.lru_cache(maxsize=1)
def the_ray() -> RayLab:
    """Return the Ray of this test process, started at first use and ended with the process."""
    lab = RayLab()
    atexit.register(lab.stop)
    return lab


class Cluster:
    """The cluster, in the process above all of Ray's; its methods are what can be asked for."""

    def __init__(self, folder: str) -> None:
        from ray.cluster_utils import Cluster as Rays

        common = {"include_dashboard": False, "include_log_monitor": False}
        nothing = {"num_cpus": 0, "num_gpus": 0, "object_store_memory": _STORE}
        head = {**common, **nothing, "temp_dir": folder}
        self._rays = Rays(initialize_head=True, head_node_args=head)
        self.nodes = [self._rays.add_node(**self._node(), wait=False) for _ in range(NODES)]
        self._rays.wait_for_nodes()

    def _node(self) -> dict[str, Any]:
        return {"num_cpus": 16, "num_gpus": GPUS, "object_store_memory": _STORE}

    def say(self) -> dict[str, Any]:
        return {
            "address": self._rays.address,
            "raylets": [self._raylet(node) for node in self.nodes],
            "ids": [node.node_id for node in self.nodes],
        }

    def _raylet(self, node: Any) -> int:
        return int(node.all_processes["raylet"][0].process.pid)

    def kill_node(self, number: int) -> dict[str, Any]:
        """Kill a raylet; another node takes its place."""
        self.nodes[number].kill_raylet(check_alive=False)
        self._rays.remove_node(self.nodes[number], allow_graceful=False)
        self.nodes[number] = self._rays.add_node(**self._node())
        return self.say()

    def kill_head(self, _: int) -> dict[str, Any]:
        """Kill the process that all of Ray depends on."""
        self._rays.head_node.kill_gcs_server()
        return {}

    def status(self, _: int) -> dict[str, Any]:
        return self.say()

    def clear(self, _: int) -> dict[str, Any]:
        """End all actors; return what is in use all the same, after all the patience."""
        import ray
        from ray.util import list_named_actors

        if not ray.is_initialized():
            ray.init(address=self._rays.address, log_to_driver=False)
        end = time.monotonic() + PATIENCE
        while (free := ray.available_resources()) != ray.cluster_resources():
            if time.monotonic() > end:
                return free
            for actor in list_named_actors(all_namespaces=True):
                with contextlib.suppress(ValueError):  # it has ended
                    ray.kill(ray.get_actor(**actor))
            time.sleep(0.05)
        return {}

    def stop(self) -> None:
        import ray

        ray.shutdown()  # the head does not go while somebody is connected by way of it
        self._rays.shutdown()


def _serve(folder: str) -> None:
    libc = ctypes.CDLL(None)
    libc.prctl(1, signal.SIGTERM, 0, 0, 0)  # to end with the tests
    libc.prctl(36, 1, 0, 0, 0)  # to reap
    if libc.unshare(_CLONE_NEWNET):
        raise OSError("no network namespace")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    answers = os.dup(1)
    os.dup2(2, 1)
    cluster = Cluster(folder)
    os.write(answers, json.dumps(cluster.say()).encode() + b"\n")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        for line in sys.stdin:
            what, number = json.loads(line)
            os.write(answers, json.dumps(getattr(cluster, what)(number)).encode() + b"\n")
    finally:
        cluster.stop()


if __name__ == "__main__":
    _serve(sys.argv[1])
