"""On a node: the program between an attempt's actor and its supervisor.

Its orders come on standard input: first a line of what is to be run, then a byte now and then. Each ``r``
renews the terms for the time of the lease; an ``s`` asks for the stop of the attempt, and so does the end of
the input: then the actor is gone. The supervisor's answers go to standard output.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import Any

from scheduler.executors.cluster.guard import OneOrder, fork_supervisor, guard
from scheduler.executors.cluster.place import gpus_here, node_environment
from scheduler.executors.worker_process import words_to_start

_TO_END = 5.0  # seconds in which what was killed is gone, and its end recorded


class Terms(threading.Thread):
    """The terms as the actor renews them; a thread, since its input tells of nothing while none comes."""

    def __init__(self, lease: float, grace: float) -> None:
        super().__init__(name="terms", daemon=True)
        self._lease = lease
        # Who stops an attempt waits for that, which is to be recorded: no short lease ends it.
        self._to_stop = max(lease, grace + _TO_END)
        self._over_at = time.monotonic() + lease
        self.revoked = False

    def run(self) -> None:
        while not self.revoked:
            told = os.read(0, 1 << 10)
            if not told or b"s" in told:
                self._over_at = time.monotonic() + self._to_stop
                self.revoked = True
            else:
                self._over_at = time.monotonic() + self._lease

    @property
    def is_over(self) -> bool:
        """Whether they were not renewed in time, or a stop has taken too long."""
        return time.monotonic() > self._over_at


def main() -> int:
    """Carry out one order."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            return 0
        line += byte
    order: dict[str, Any] = json.loads(line)
    os.chdir(order["folder"])
    run, of_node = order["run"], dict(os.environ)
    terms = Terms(order["lease"], run["grace"])
    place = {**order["place"], **gpus_here(of_node["CUDA_VISIBLE_DEVICES"])}
    environment = node_environment(order["environment"], of_node, place)
    run["command"] = words_to_start(run["command"], environment.get("PATH")) or run["command"]
    run["start"]["place"] = place
    if place["gpus"]:
        run["start"]["device_name"] = place["gpus"][0]["name"]
    setup = {"type": "setup", "environment": environment, "cpus": []}
    orders = b"".join(json.dumps(told).encode() + b"\n" for told in (setup, run))
    child = fork_supervisor(lambda: OneOrder(orders))
    terms.start()
    guard(child, terms)
    return 0


if __name__ == "__main__":
    sys.exit(main())
