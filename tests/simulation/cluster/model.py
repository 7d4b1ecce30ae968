"""Nodes, the engine that places jobs on them, and jobs: what no dispatcher decides.

A job begins by taking its order, which exists once, and proves by a sign on shared storage that it lives. A
node that is cut off reaches neither storage nor engine; what runs there goes on until the lease is over, and
no longer than its guard needs to see that. The engine learns of it later, or never.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from tests.simulation.model import End, Listener, Model, Record, Supervisor

RENEW = 5.0  # seconds between two signs of life
SEES = 0.5  # seconds within which a guard sees that its lease is over


class ListensToJobs(Listener, Protocol):
    """The dispatcher as jobs see it, by the files that they share."""

    def began(self, job: Job) -> None:
        """Hear that the attempt runs."""

    def queued(self, job: Job) -> None:
        """Hear that the engine has taken the job."""

    def not_taken(self, job: Job) -> None:
        """Hear that it has not."""


class ClusterModel(Model):
    """What jobs need of the world that they are in."""

    lease: float
    # Whether the storage shows other machines a lock that a node took.
    shows_locks: bool
    engine: Engine
    # By task: jobs whose worker works.
    working: dict[str, list[Job]]

    def add(self, job: Job) -> None:
        """Know a job that is about to be submitted."""


@dataclass(eq=False)
class Node:
    """A machine with GPUs; ``cuts``: so often was it cut off, or died."""

    name: str
    gpus: int
    dead: bool = False
    cut: bool = False
    cuts: int = 0
    # Those that were started there and whose processes are not gone.
    jobs: list[Job] = field(default_factory=list)
    # As the engine believes: whether it answers, and how many GPUs are given.
    answers: bool = True
    given: int = 0
    # What is to happen once it is back.
    _later: list[Callable[[], object]] = field(default_factory=list)

    @property
    def reachable(self) -> bool:
        return not (self.dead or self.cut)

    def when_reachable(self, do: Callable[[], object]) -> None:
        """Do something now, or once the node is back."""
        if self.reachable:
            do()
        else:
            self._later.append(do)

    def is_back(self) -> None:
        """Do what has waited for that."""
        later, self._later = self._later, []
        for do in later:
            do()


class Job(Supervisor):
    """An attempt as a job of the engine's: its order, its sign of life, its guard, its supervisor."""

    def __init__(
        self, world: ClusterModel, task: str, order: Record, size: int, listener: ListensToJobs
    ) -> None:
        self.cluster = world
        self.node: Node | None = None
        # What it is to run waits for it; whoever removes it, the job or the dispatcher, has decided.
        self.order_waits = True
        self.permitted = False
        self._begun = 0.0
        self._last_sign = b""
        # The engine was asked to take it, or the dispatcher that was to ask has died.
        self.submitted = False
        super().__init__(world, task, order, size, listener)
        world.add(self)

    @property
    def begun(self) -> bool:
        return self._order in self._world.files[self.task].records

    @property
    def record(self) -> Record:
        return self._order

    # --- the engine ----------------------------------------------------------------------------

    def _begin(self) -> None:
        """Have it submitted by the dispatcher that ordered it, should that still live."""
        self.submitted = True
        listener = self.listener
        if listener is not self.ordered_by or not self.order_waits:
            return
        if self.cluster.engine.takes(self):
            listener.queued(self)
        else:
            self.withdraw()
            listener.not_taken(self)

    def withdraw(self) -> None:
        """Lose its order: it never begins, whatever the engine does."""
        self.order_waits = self.alive = False
        self._let_go()

    def run_on(self, node: Node) -> None:
        """Begin on a node, unless the order was taken back, or has been carried out before."""
        if not self.order_waits:
            self.cluster.engine.ends(self, "COMPLETED")
            return
        self.node = node
        self.order_waits, self.permitted = False, True
        node.jobs.append(self)
        self._begun = self._world.now
        super()._begin()

    # --- on its node ---------------------------------------------------------------------------

    def _spawn(self) -> None:
        self.ordered = self._world.now
        super()._spawn()
        file = self._world.files[self.task]
        if file.lock is self and not self.cluster.shows_locks:
            file.lock = None
        if self.alive and self.listener is not None:
            self.listener.began(self)

    @property
    def sign(self) -> bytes:
        """The sign of life on shared storage."""
        if not self.permitted:
            return b""
        if self.alive and self.node is not None and self.node.reachable:
            self._last_sign = str((self._world.now - self._begun) // RENEW).encode()
        return self._last_sign

    def cut_off(self) -> None:
        """Reach nothing any more; the guard's lease runs out, unless that ends before."""
        node, cuts = self.node, self.node.cuts if self.node is not None else 0
        renewed = self._world.now - (self._world.now - self._begun) % RENEW
        over = renewed + self.cluster.lease - self._world.now + self._world.rng.random() * SEES

        def lease_is_over() -> None:
            if node is not None and node.cut and node.cuts == cuts:
                self._world.note("lease is over", self.task, self._order.number)
                self.vanish()
                self.cluster.engine.ends(self, "FAILED")

        self._world.after(max(0.0, over), lease_is_over)

    def back(self) -> None:
        """Reach storage again: see whether it may go on."""
        if self.alive and not self.permitted:
            self._world.after(self._world.soon(RENEW), self.terminate)

    @property
    def shows_life_at(self) -> float:
        if self.node is not None and not self.node.reachable:
            return self._seen_life_at
        self._seen_life_at = super().shows_life_at
        return self._seen_life_at

    _seen_life_at = 0.0

    def worker_ends(self, end: End) -> None:
        if self.working:
            self.cluster.working[self.task].remove(self)
        super().worker_ends(end)

    def _ended(self, end: End) -> None:
        if self.node is not None and self.node.cut and self.alive:
            self.node.when_reachable(lambda: self._ended(end))  # it cannot be written
        else:
            super()._ended(end)

    def _answer(self, answer: str) -> None:
        super()._answer(answer)
        self.cluster.engine.ends(self, "COMPLETED")

    def kill(self) -> None:
        if self.node is not None:
            super().kill()

    def _die(self) -> None:
        """Be killed: the engine ends whatever is left of a job."""
        self.vanish()
        self.cluster.engine.ends(self, "FAILED")

    def vanish(self) -> None:
        if self.working:
            self.cluster.working[self.task].remove(self)
        super().vanish()

    def _let_go(self) -> None:
        super()._let_go()
        if self.node is not None and self in self.node.jobs:
            self.node.jobs.remove(self)

    # --- what the dispatcher and others do to it -------------------------------------------------

    def terminate(self) -> None:
        """Get TERM."""
        super().stop()

    def revoke(self) -> None:
        """Lose the permission to go on; it sees that when it renews its lease."""
        self.permitted = False
        if self.node is not None and self.node.reachable:
            self._world.after(self._world.soon(RENEW), self.terminate)

    def stop(self) -> None:
        """Be cancelled, and lose the permission to go on: either alone ends it."""
        self.cluster.engine.cancel(self)
        self.revoke()


class Engine:
    """Places jobs on nodes; what it says of them may be late, wrong or nothing."""

    def __init__(self, world: ClusterModel, nodes: list[Node], rng: Random) -> None:
        self._world = world
        self.nodes = nodes
        self._rng = rng
        self.down = False
        # How many jobs it takes at once; None: all.
        self.most: int | None = None
        self.notices_after = rng.choice((5.0, 60.0, 300.0))
        self._remembers = rng.choice((5.0, 300.0))
        self._states: dict[Job, str] = {}
        # Where it has given them room.
        self._where: dict[Job, Node] = {}
        self._queue: deque[Job] = deque()
        # What is queued again once it has ended.
        self._again: set[Job] = set()
        # Nodes that may have room.
        self._roomy: deque[Node] = deque(nodes)

    def state(self, job: Job) -> str | None:
        """Return what it says of a job; None: it knows of none."""
        return self._states.get(job)

    def takes(self, job: Job) -> bool:
        """Say whether it takes a job into its queue."""
        waiting = self.most is not None and len(self._queue) >= self.most
        if self.down or waiting:
            return False
        self._states[job] = "PENDING"
        self._queue.append(job)
        self._world.after(self._world.soon(3.0), self.place)
        return True

    def place(self) -> None:
        """Start what waits where there is room, as far as is known."""
        while self._queue and self._roomy and not self.down:
            node = self._roomy[0]
            if node.given >= node.gpus or not node.answers:
                self._roomy.popleft()
                continue
            job = self._queue.popleft()
            if self._states.get(job) != "PENDING":
                continue
            node.given += 1
            self._states[job] = "RUNNING"
            self._where[job] = node
            self._launch(job, node)

    def _launch(self, job: Job, node: Node) -> None:
        node.when_reachable(lambda: self._states.get(job) == "RUNNING" and job.run_on(node))

    def ends(self, job: Job, state: str) -> None:
        """Learn that nothing of a job is left, once its node can say so."""
        node = self._where.get(job)
        if node is not None:
            node.when_reachable(lambda: self._hears_of_end(job, node, state))

    def _hears_of_end(self, job: Job, node: Node, state: str) -> None:
        if job in self._again:
            self._again.remove(job)
            self._states[job] = "PENDING"
            self._queue.append(job)
        elif self._states.get(job) == "RUNNING":
            self._states[job] = state
            self._forget_later(job)
        if self._where.pop(job, None) is node:
            self._has_room(node)

    def _has_room(self, node: Node) -> None:
        node.given = max(0, node.given - 1)
        if node.answers:
            self._roomy.append(node)
            self._world.after(self._world.soon(), self.place)

    def _forget_later(self, job: Job) -> None:
        self._world.after(self._remembers, lambda: self._states.pop(job, None))

    def cancel(self, job: Job) -> None:
        """Have a job ended, if it can be reached."""
        if self.down or job not in self._states:
            return
        if self._states[job] == "PENDING":
            self._states[job] = "CANCELLED"
            self._forget_later(job)
        elif job in self._where and self._where[job].reachable:
            self._world.after(self._world.soon(2.0), job.terminate)

    def requeue(self, job: Job) -> None:
        """Start a job's script anew once its processes are gone, as an administrator may ask for."""
        node = self._where.get(job)
        if node is not None and node.reachable and self._states.get(job) == "RUNNING":
            self._again.add(job)
            job.terminate()

    def crash(self) -> None:
        """Forget what was not written down: any job, whether it runs or waits."""
        for job in list(self._states):
            if self._rng.random() < 0.3:
                del self._states[job]

    def loses(self, node: Node) -> None:
        """Hear nothing of a node any more; notice that after a while."""
        cuts = node.cuts

        def notice() -> None:
            if node.cuts == cuts and not node.reachable:
                node.answers = False
                self._fail(node)

        self._world.after(self.notices_after, notice)

    def finds(self, node: Node, gone: list[Job]) -> None:
        """Hear of a node again: what had failed there is ended, as what vanished there is."""
        for job in gone:
            if self._states.get(job) == "RUNNING":
                self._states[job] = "NODE_FAIL"
                self._forget_later(job)
        for job in list(node.jobs):
            if self._states.get(job) == "NODE_FAIL" and self._rng.random() < 0.8:
                self._world.after(self._world.soon(5.0), job.terminate)
        node.answers, node.given = True, len(node.jobs)
        self._roomy.append(node)
        self._world.after(self._world.soon(), self.place)

    def _fail(self, node: Node) -> None:
        for job, state in list(self._states.items()):
            if self._where.get(job) is node and state == "RUNNING":
                self._states[job] = "NODE_FAIL"
                self._forget_later(job)
