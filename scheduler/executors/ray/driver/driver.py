"""Looks after attempts that Ray's actors run: carries out orders, and tells what becomes of them.

It outlives its dispatcher: as long as attempts run, it holds the locks on their files and brings home what is
new. The next dispatcher's driver asks it to leave.

Orders come as JSON lines on standard input, each with a ``do``: run, watch or stop. What it tells goes to
standard output, as such lines, each with the attempt's ``token`` and a ``type``. It ends where Ray raises
what is not awaited here: then it is started again, and finds all by what is on file.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayError, TaskUnschedulableError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from scheduler.executors.local.attempt_files import Refused
from scheduler.executors.ray.driver.home import Home
from scheduler.executors.ray.driver.watched import (
    Watched,
    ask_to_leave,
    is_in_the_way,
    name_of,
    owner_file,
)
from scheduler.executors.ray.keys import NAMESPACE, Keys
from scheduler.executors.ray.messages import as_line, last_words
from scheduler.executors.ray.node import Attempt, look_after
from scheduler.executors.ray.node_files import News
from scheduler.storage.attempts_file import EndLine

WAIT = 10.0  # seconds for which an actor may have nothing to tell
_LOOK = 0.5  # seconds between two looks at what is in doubt
_PAUSE = 1.0  # seconds until something is tried again


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
                if is_in_the_way(order["before"]):
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
        if not watched.home.lock_again(partial(ask_to_leave, owner_file(order))):
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
            owner_file(watched.order).write_text(str(os.getpid()))

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
            self._gone(watched, last_words(error))
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
            owner_file(watched.order).unlink()
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
