"""The process that speaks to Ray for a dispatcher: a driver, in Ray's words.

It is a process of its own since Ray ends a driver whose head has gone; and since it outlives its dispatcher,
as a supervisor does: as long as attempts run, it holds the locks on their files and brings home what is new.
The next dispatcher's driver asks it to leave.

Orders come as JSON lines on standard input, each with a ``do``: run, watch or stop. What it tells goes to
standard output, as such lines, each with the attempt's ``token`` and a ``type``. It ends where Ray raises
what is not awaited here: then it is started again, and finds all by what is on file.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayError, TaskUnschedulableError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from scheduler.config.printable import printable
from scheduler.executors.local.attempt_files import Refused
from scheduler.executors.ray.home import Home
from scheduler.executors.ray.keys import NAMESPACE, Keys
from scheduler.executors.ray.messages import as_line
from scheduler.executors.ray.node import Attempt, look_after
from scheduler.executors.ray.node_check import installed_here
from scheduler.executors.ray.node_files import News
from scheduler.storage.attempts_file import EndLine

WAIT = 10.0  # seconds for which an actor may have nothing to tell
_LOOK = 0.5  # seconds between two looks at what is in doubt
_PAUSE = 1.0  # seconds until something is tried again
_TO_LOOK = 45.0  # seconds until a node has told what is installed there


@dataclass(slots=True)
class Watched:
    """An attempt as this process knows it."""

    order: dict[str, Any]
    keys: Keys
    home: Home
    # None: its actor is gone.
    actor: Any = None
    # The node it is on, as Ray names it; known when it has told of itself.
    node: str = ""
    heard: int = 0
    # What its supervisor said last.
    last: bytes | None = None
    since: float = field(default_factory=time.monotonic)
    told_why: str = ""
    stopping: bool = False
    # Somebody was asked for news.
    asked: bool = False
    ask_at: float = 0.0
    # The sign of life as it was last seen to change, once the actor is gone.
    sign: bytes = b""

    @property
    def token(self) -> str:
        """The attempt's own mark."""
        return str(self.order["token"])


def name_of(order: dict[str, Any]) -> str:
    """Return the name of an attempt's actor: sweep, task, number, token."""
    return f"{order['sweep']}/{order['task']} attempt {order['attempt']} {order['token']}"


class Driver:
    """Carries out orders, and tells what becomes of attempts."""

    def __init__(self, answers: int) -> None:
        """Begin.

        Args:
            answers: the descriptor to tell it to.
        """
        self._answers = answers
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._watched: dict[str, Watched] = {}
        self._clearing = 0
        self._alone = self._leave = False

    # --- orders --------------------------------------------------------------------------------

    def serve(self) -> None:
        """Go on until the dispatcher is gone, and with it every attempt, or another driver asks for them."""
        signal.signal(signal.SIGTERM, lambda *_: self._inbox.put(self._asked_to_leave))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=self._read_orders, daemon=True).start()
        next_look = 0.0
        while not self._leave and not (self._alone and not self._watched and not self._clearing):
            with contextlib.suppress(queue.Empty):
                self._inbox.get(timeout=_LOOK)()
            if (now := time.monotonic()) >= next_look:
                next_look = now + _LOOK
                for watched in list(self._watched.values()):
                    self._look(watched, now)

    def _read_orders(self) -> None:
        for line in sys.stdin.buffer:
            order = json.loads(line)
            self._inbox.put(partial(self._do, order))
        self._inbox.put(self._dispatcher_gone)

    def _dispatcher_gone(self) -> None:
        self._alone = True

    def _asked_to_leave(self) -> None:
        self._leave = self._alone  # else it was meant for a driver of that number before

    def _do(self, order: dict[str, Any]) -> None:
        match order["do"]:
            case "run":
                if _is_in_the_way(order["before"]):
                    token = order["order"]["token"]
                    self.tell(type="refused", token=token, reason="running")
                else:
                    self._run(order["order"])
            case "watch":
                self._watch(order["order"])
            case "stop":
                self._stop(order["token"])

    def _tell(self, watched: Watched, kind: str, **content: Any) -> None:
        self.tell(type=kind, token=watched.token, **content)

    def tell(self, **message: Any) -> None:
        """Tell the dispatcher something, if there is one."""
        with contextlib.suppress(OSError):
            os.write(self._answers, as_line(message))

    def _run(self, order: dict[str, Any]) -> None:
        watched = Watched(order, Keys(order["token"]), Home(order))
        try:
            watched.home.lock(order["run"]["attempts_size"])
        except Refused as refusal:
            self._tell(watched, "refused", reason=str(refusal))
            return
        except OSError as error:
            self._tell_failed(watched, error.errno or 0, error.strerror or "", error.filename)
            return
        self._note_owner(watched)
        watched.keys.allow()
        on_node = {**order, "run": {**order["run"], **order["on_node"]}}
        wishes = {
            "num_gpus": order["gpus"],
            "num_cpus": order["cpus"] or 1,
            "memory": order["memory"],
        }
        watched.actor = (
            ray.remote(Attempt)
            .options(
                name=name_of(order),
                namespace=NAMESPACE,
                lifetime="detached",
                max_restarts=0,
                max_task_retries=0,
                max_concurrency=4,
                **{key: wish for key, wish in wishes.items() if wish is not None},
            )
            .remote(on_node, watched.home.results_so_far())
        )
        self._watched[watched.token] = watched
        self._tell(watched, "queued")
        self._ask(watched)

    def _watch(self, order: dict[str, Any]) -> None:
        watched = Watched(order, Keys(order["token"]), Home(order))
        if not watched.home.lock_again(partial(_ask_to_leave, _owner_file(order))):
            self._tell(watched, "refused", reason="running")
            return
        self._note_owner(watched)
        self._watched[watched.token] = watched
        if watched.home.ended:  # while it was not ours
            self._end_as_on_file(watched)
            return
        try:
            watched.actor = ray.get_actor(name_of(order), namespace=NAMESPACE)
        except ValueError:
            self._gone(watched, "Ray knows no actor of that attempt")
        else:
            self._ask(watched)

    def _note_owner(self, watched: Watched) -> None:
        with contextlib.suppress(OSError):
            _owner_file(watched.order).write_text(str(os.getpid()))

    def _stop(self, token: str) -> None:
        if (watched := self._watched.get(token)) is None:
            return
        watched.stopping = True
        if not watched.home.begun and watched.keys.withdraw():
            end = EndLine(ended=time.time(), stopped=True)
            self._end(watched, "ended", end=end.as_json())
            return
        watched.keys.revoke()
        if watched.actor is not None:
            watched.actor.stop.remote()

    # --- what actors tell ----------------------------------------------------------------------

    def _ask(self, watched: Watched) -> None:
        watched.asked = True
        asked = watched.actor.news.remote(watched.home.offsets(watched.heard), WAIT)
        self._when_done(asked, partial(self._answered, watched))

    def _when_done(self, asked: Any, then: Callable[[Future[Any]], None]) -> None:
        asked.future().add_done_callback(lambda done: self._inbox.put(partial(then, done)))

    def _answered(self, watched: Watched, done: Future[News]) -> None:
        watched.asked = False
        if self._watched.get(watched.token) is not watched:
            return
        try:
            news = done.result()
        except ActorDiedError as error:
            self._gone(watched, _last_words(error))
        except RayError:  # it cannot be reached for now, or its actor is about to be taken for dead
            watched.ask_at = time.monotonic() + _PAUSE
        else:
            watched.node = news.node or watched.node
            if self._take(watched, news) and watched.actor is not None:
                self._ask(watched)

    def _take(self, watched: Watched, news: News) -> bool:
        """Take in what is new of an attempt; return whether to ask again at once."""
        if news.withdrawn:  # in a rare case a removed order is told to be none
            self._end(watched, "lost" if watched.home.begun else "refused", reason="device held")
            return False
        if news.failed is not None:
            self._tell_failed(watched, *news.failed)
            return False
        try:
            watched.home.take(news)
            if news.over:
                watched.home.complete(news, partial(self._fetch, watched))
        except (OSError, RayError):  # a full disk must not cost finished work
            if watched.stopping and news.over:
                self._end(watched, "lost")
                return False
            watched.ask_at = time.monotonic() + _PAUSE
            return False
        watched.heard += len(news.answers)
        for line in news.answers.splitlines():
            if b'"started"' not in line:
                watched.last = line
            else:
                self._tell(watched, "answer", answer=line.decode())
        self._tell(watched, "cpu", seconds=news.cpu)
        if not news.over:
            return True
        if watched.last is not None:
            self._end(watched, "answer", answer=watched.last.decode())
        else:
            self._end_as_on_file(watched)
        return False

    def _fetch(self, watched: Watched, name: str, offset: int) -> bytes:
        if watched.actor is None:
            return b""
        piece: bytes = ray.get(watched.actor.piece.remote(name, offset), timeout=WAIT)
        return piece

    def _end_as_on_file(self, watched: Watched) -> None:
        end = watched.home.end_on_file()
        if end is not None:
            self._end(watched, "ended", end=end.as_json())
        elif watched.home.begun:
            self._end(watched, "lost")
        else:
            self._end(watched, "refused", reason="device held")

    def _tell_failed(self, watched: Watched, number: int, error: str, file: str | None) -> None:
        self._end(watched, "failed", errno=number, error=error, file=file)

    def _end(self, watched: Watched, kind: str, **content: Any) -> None:
        """Let go of an attempt that is over, and of all that was kept for it."""
        self._watched.pop(watched.token, None)
        watched.keys.remove()
        with contextlib.suppress(OSError):
            _owner_file(watched.order).unlink()
        watched.home.close()
        if watched.actor is not None:
            if watched.heard or watched.node:
                self._clearing += 1
                self._when_done(watched.actor.clear.remote(), partial(self._cleared, watched.actor))
            else:
                ray.kill(watched.actor)
        self._tell(watched, kind, **content)

    def _cleared(self, actor: Any, _: Future[None]) -> None:
        self._clearing -= 1
        ray.kill(actor)

    # --- what cannot be reached ----------------------------------------------------------------

    def _gone(self, watched: Watched, why: str) -> None:
        """An attempt's actor is dead, or so Ray says; its processes may live on."""
        watched.actor = None
        if not watched.home.begun and watched.keys.withdraw():  # now it never begins
            end = EndLine(ended=time.time(), not_started=f"Ray could not begin the attempt: {why}")
            self._end(watched, "ended", end=end.as_json())
            return
        watched.keys.revoke()
        watched.since, watched.sign = time.monotonic(), watched.keys.sign()

    def _look(self, watched: Watched, now: float) -> None:
        """See to an attempt that tells nothing."""
        if watched.actor is not None:
            if not watched.asked and now >= watched.ask_at:
                self._ask(watched)
            if not watched.home.begun and now - watched.since > _PAUSE:
                self._tell_why(watched)
            return
        if not watched.asked and now >= watched.ask_at and watched.node:
            self._ask_node(watched)
        watched.keys.revoke()
        if (sign := watched.keys.sign()) != watched.sign:
            watched.since, watched.sign = now, sign
        if watched.keys.is_over() or now - watched.since >= 2 * watched.order["lease"]:
            self._end_as_on_file(watched)

    def _tell_why(self, watched: Watched) -> None:
        """Tell why an attempt has not begun."""
        free, there = ray.available_resources(), ray.cluster_resources()
        what = "GPU" if watched.order["gpus"] else "CPU"
        why = f"Ray has {free.get(what, 0):g} of {there.get(what, 0):g} {what}s free"
        if why != watched.told_why:
            watched.told_why = why
            self._tell(watched, "waits", why=f"its actor waits: {why}")

    def _ask_node(self, watched: Watched) -> None:
        """Ask the node of an actor that is gone; it may be there, and know how the attempt ended."""
        watched.asked = True
        on = NodeAffinitySchedulingStrategy(watched.node, soft=False)
        look = ray.remote(look_after).options(
            num_cpus=0, max_retries=0, scheduling_strategy=on, name="look after an attempt"
        )
        order = watched.order
        asked = look.remote(
            order["scratch"], order["results_name"], watched.home.offsets(watched.heard)
        )
        self._when_done(asked, partial(self._node_answered, watched))

    def _node_answered(self, watched: Watched, done: Future[News]) -> None:
        watched.asked, watched.ask_at = False, time.monotonic() + _PAUSE
        if self._watched.get(watched.token) is not watched:
            return
        with contextlib.suppress(RayError, TaskUnschedulableError):
            self._take(watched, done.result())


def _is_in_the_way(before: dict[str, Any] | None) -> bool:
    """Say whether an attempt that a dispatcher had begun, and nobody asks for, has to end first.

    One that has not begun never does.
    """
    if before is None:
        return False
    keys = Keys(before["token"])
    if not keys.withdraw():
        return keys.is_running()
    with contextlib.suppress(ValueError):
        ray.kill(ray.get_actor(name_of(before), namespace=NAMESPACE))
    return False


def _owner_file(order: dict[str, Any]) -> Path:
    return Path(order["home"]["owner"])


def _ask_to_leave(owner: Path) -> None:
    """Ask the driver that looks after an attempt to let go of it; it does if its dispatcher is gone."""
    with contextlib.suppress(OSError, ValueError):
        pid = int(owner.read_text())
        if b"scheduler.executors.ray.driver" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGTERM)


def connect(address: str) -> None:
    """Connect to a Ray cluster.

    Raises:
        ConnectionError: it does not answer.
        RuntimeError: it has another version of Ray or Python, or this machine is none of its nodes.
    """
    ray.init(
        address=address,
        namespace=NAMESPACE,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )


def main() -> int:
    """Tell of the nodes (``nodes``), or serve a dispatcher (``serve``)."""
    mode, address = sys.argv[2:4]
    # What Ray prints is none of what is told here.
    answers = os.dup(1)
    os.dup2(2, 1)
    driver = Driver(answers)
    try:
        connect(address)
    except (ConnectionError, RuntimeError, ValueError) as error:
        driver.tell(type="error", why=_last_words(error))
        return 3
    if mode == "nodes":
        driver.tell(type="nodes", nodes=look_at_nodes(os.getcwd()))
        return 0
    driver.tell(type="up")
    driver.serve()
    os._exit(0)  # attempts are none of Ray's cleaning up


def look_at_nodes(folder: str) -> list[dict[str, Any]]:
    """Return what the cluster's nodes have, and what is installed on those that can run anything."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    asked = {}
    for node in nodes:
        if node["Resources"].get("CPU"):
            on = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            look = ray.remote(installed_here).options(
                num_cpus=0, max_retries=0, scheduling_strategy=on
            )
            asked[node["NodeID"]] = look.remote(folder)
    return [_node(node, _installed(asked.get(node["NodeID"]))) for node in nodes]


def _installed(asked: Any) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] | None = None if asked is None else ray.get(asked, timeout=_TO_LOOK)
    except RayError as error:
        return {"error": _last_words(error)}
    return found


def _last_words(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return printable(lines[-1] if lines else repr(error), " ")


def _node(node: dict[str, Any], installed: dict[str, Any] | None) -> dict[str, Any]:
    resources = node["Resources"]
    names = {"gpus": "GPU", "cpus": "CPU", "memory": "memory"}
    return {
        "address": node["NodeManagerAddress"],
        **{key: resources.get(name, 0.0) for key, name in names.items()},
        "installed": installed,
    }
