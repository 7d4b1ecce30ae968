"""On a node: the actor of one attempt. It begins the attempt, holds its lease, and tells what is new of it.

The actor's process has a guard below it (guarded.py), below that are the supervisor and the worker. Each ends
what is below it when the one above is gone: so an attempt does not outlive its actor for longer than its
grace. The actor itself outlives its dispatcher: it is detached, known by its name, and started once only.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import ray

from scheduler.executors.local.liveness import cpu_time
from scheduler.executors.ray.keys import Keys
from scheduler.executors.ray.node_files import News, NodeFiles, Offsets

RENEW = 3.0  # seconds between two signs of life, at most
_LOOK = 0.03  # seconds between two looks at the files
_PACKAGE = Path(__file__).resolve().parents[3]
# Neither the current folder nor a PYTHONPATH counts, should they have a module of that name.
_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from scheduler.executors.ray.guarded import main; sys.exit(main())"
)


class Attempt:
    """An attempt on its node."""

    def __init__(self, order: dict[str, Any], results: bytes) -> None:
        """Begin it.

        Args:
            order: as `executor.RayExecutor` makes it.
            results: what the results file holds so far.
        """
        self._order = order
        self._keys = Keys(order["token"])
        self._files = NodeFiles(Path(order["scratch"]), order["results_name"])
        self._over = threading.Event()
        self._guard: subprocess.Popen[bytes] | None = None
        self._not_begun: News | None = None
        if not self._keys.claim():
            self._not_begun = News(withdrawn=True)
            return
        try:
            self._begin(results)
        except OSError as error:
            failed = (error.errno or 0, error.strerror or str(error), error.filename)
            self._not_begun = News(failed=failed)

    def _begin(self, results: bytes) -> None:
        order, context = self._order, ray.get_runtime_context()
        self._files.make(results)
        self._files.spec.write_text(json.dumps(order["spec"]))
        environment = {**order["environment"], **self._of_node()}
        with self._files.answers.open("wb") as answers, self._files.errors.open("wb") as errors:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-c", _PROGRAM, str(_PACKAGE)],
                stdin=subprocess.PIPE,
                stdout=answers,
                stderr=errors,
                env=environment,
                # What is killed with the actor's process group is not to be the guard.
                start_new_session=True,
            )
        told = {key: order[key] for key in ("folder", "lease", "run", "environment")}
        told["place"] = {"node": socket.gethostname(), "actor": context.get_actor_id()}
        self._tell(json.dumps(told).encode() + b"\n")
        for work in (self._hold, self._wait):
            threading.Thread(target=work, daemon=True).start()

    def _of_node(self) -> dict[str, str]:
        """Return what the worker's environment has of this node's."""
        # Ray's order is any; and without a GPU of one's own, Ray leaves all of them visible.
        ids = ray.get_runtime_context().get_accelerator_ids()["GPU"] if self._order["gpus"] else []
        visible = ",".join(sorted(ids, key=lambda name: (len(name), name)))
        own = {name: os.environ[name] for name in ("HOSTNAME", "TMPDIR") if name in os.environ}
        return {**own, "CUDA_VISIBLE_DEVICES": visible}

    def _tell(self, data: bytes) -> None:
        assert self._guard is not None
        assert self._guard.stdin is not None
        with contextlib.suppress(OSError):
            os.write(self._guard.stdin.fileno(), data)

    def _hold(self) -> None:
        """Renew the lease: the guard hears of each sign that the head has taken."""
        while not self._over.is_set():
            assert self._guard is not None
            content = {"at": time.time(), "cpu": cpu_time(self._guard.pid)}
            try:
                may_go_on = self._keys.renew(content)
            except Exception:  # noqa: BLE001  # whatever Ray raises where its head does not answer
                may_go_on = None
            if may_go_on is not None:
                self._tell(b"r" if may_go_on else b"s")
            self._over.wait(min(RENEW, self._order["lease"] / 6))

    def _wait(self) -> None:
        assert self._guard is not None
        self._guard.wait()
        self._over.set()
        with contextlib.suppress(Exception):  # who cannot reach this actor hears of the end by that
            self._keys.renew({"over": True})

    # --- what the dispatcher calls -------------------------------------------------------------

    def news(self, had: Offsets, wait: float) -> News:
        """Return what is new of the attempt, as soon as anything is, or after so many seconds."""
        if self._not_begun is not None:
            return self._not_begun
        until = time.monotonic() + wait
        while time.monotonic() < until and not self._files.has_news(had):
            if self._over.wait(_LOOK):
                break
        assert self._guard is not None
        news = self._files.news(had, over=self._over.is_set())
        news.cpu = cpu_time(self._guard.pid)
        news.node = ray.get_runtime_context().get_node_id()
        return news

    def piece(self, name: str, offset: int) -> bytes:
        """Return a piece of the results file or, by its name, of a picture."""
        return self._files.piece(name, offset)

    def stop(self) -> None:
        """Have the attempt stopped."""
        if self._guard is not None:
            self._tell(b"s")

    def clear(self) -> None:
        """Remove the attempt's files from the node."""
        if self._not_begun is None or not self._not_begun.withdrawn:
            self._files.remove()


def look_after(folder: str, results_name: str, had: Offsets) -> News:
    """Return what is new of an attempt whose actor is gone, on the node that it was on."""
    files = NodeFiles(Path(folder), results_name)
    return files.news(had, over=files.seems_over())
