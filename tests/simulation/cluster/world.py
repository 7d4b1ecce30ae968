"""The cluster around one sweep: nodes that die and are cut off, and an engine with troubles of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from random import Random
from typing import Any

from scheduler.core import events as ev
from tests.simulation.cluster.model import Engine, Job, Node
from tests.simulation.cluster.shell import MOST_JUDGED, ClusterShell
from tests.simulation.model import Gpu, Nature, Record
from tests.simulation.safety import SafetyProperties, demand
from tests.simulation.shell import Shell
from tests.simulation.world import World


class ClusterSafety(SafetyProperties):
    """What must never happen between machines."""

    def __init__(self, world: ClusterWorld) -> None:
        super().__init__(world)
        self._cluster = world

    def check_start(self, shell: Shell, start: ev.Start) -> None:
        cluster = self._cluster
        if len(cluster.gpus) <= MOST_JUDGED:
            super().check_start(shell, start)
            return
        demand("a completed task is never run again", start.task not in cluster.done, start)
        demand("one attempt at a time", start.task not in shell.attempts, start)
        demand("an attempt is judged before the next", start.task not in shell.unjudged, start)
        demand("a slot is given once", not shell.views[start.devices[0]].supervisors, start)

    def check_stop(self, shell: ClusterShell, stop: ev.Stop) -> None:
        job = shell.attempts.get(stop.task)
        # What stands in the queue may be taken back, though it begins in that moment.
        if job in shell.told_begun or job in shell.adopted:
            super().check_stop(shell, stop)

    def worker_began(self, task: str, record: Record) -> None:
        cluster = self._cluster
        demand("a completed task is never run again", task not in cluster.done, task)
        demand("one attempt at a time", not cluster.working[task], task)
        node = record.supervisor.node
        assert node is not None
        at_work = sum(job.working for job in node.jobs)
        demand("no more attempts than GPUs", at_work <= node.gpus, task, node)


class ClusterWorld(World):
    """Nodes, an engine, shared storage; devices are slots."""

    def __init__(
        self,
        natures: list[Nature],
        nodes: Sequence[Node],
        slots: int,
        rng: Random,
        *,
        lease: float,
        poll: float,
        **more: Any,
    ) -> None:
        gpus = [Gpu(f"slot{number}") for number in range(slots)]
        super().__init__(natures, gpus, rng, slots=True, **more)
        self.promises = ClusterSafety(self)
        self.make_shell = ClusterShell
        self.lease = lease
        self.poll = poll  # seconds between two questions to the engine
        self.shows_locks = rng.random() < 0.5
        self.nodes = list(nodes)
        self.engine = Engine(self, self.nodes, rng)
        self.working: dict[str, list[Job]] = defaultdict(list)
        # By task: jobs whose order may wait.
        self._orders: dict[str, list[Job]] = defaultdict(list)
        self._gone: dict[str, list[Job]] = {}

    def add(self, job: Job) -> None:
        """Know a job that is about to be submitted."""
        alive = self.working[job.task]
        demand("what may still run is not started elsewhere", not alive, job.task)
        waiting = [other for other in self._orders[job.task] if other.order_waits]
        self._orders[job.task] = [*waiting, job]

    def left_in_the_queue(self, task: str) -> list[Job]:
        """Return the jobs of a task that may yet begin."""
        return [job for job in self._orders[task] if job.order_waits]

    def worker_began(self, task: str, record: Record) -> None:
        super().worker_began(task, record)
        self.working[task].append(record.supervisor)

    # --- faults, and their ends ----------------------------------------------------------------

    def kill_node(self, node: Node) -> None:
        """Let a node die, with all that runs on it."""
        if node.dead:
            return
        self.note("--- node dies", node.name)
        node.dead, node.cut = True, False
        node.cuts += 1
        self._gone[node.name] = list(node.jobs)
        for job in list(node.jobs):
            job.vanish()
        self.engine.loses(node)

    def cut_node(self, node: Node) -> None:
        """Cut a node off from storage and engine; what runs there goes on for now."""
        if not node.reachable:
            return
        self.note("--- node is cut off", node.name)
        node.cut = True
        node.cuts += 1
        for job in list(node.jobs):
            job.cut_off()
        self.engine.loses(node)

    def mend_node(self, node: Node) -> None:
        """Start a dead node again, or connect one that was cut off."""
        if node.reachable:
            return
        self.note("--- node is back", node.name)
        was_cut, node.dead, node.cut = node.cut, False, False
        node.cuts += 1
        node.is_back()
        for job in list(node.jobs) if was_cut else ():
            job.back()
        self.engine.finds(node, self._gone.pop(node.name, []))

    def crash_engine(self) -> None:
        """Let the engine's controller crash, and forget some jobs."""
        self.note("--- the engine crashes")
        self.engine.down = True
        self.engine.crash()

    def start_engine(self) -> None:
        """Start it again."""
        self.engine.down = False
        self.after(self.soon(), self.engine.place)

    def _end_all(self) -> None:
        for node in self.nodes:
            self.kill_node(node)

    def some_job(self, choice: int) -> Job | None:
        """Return a job that works."""
        jobs = [job for jobs in self.working.values() for job in jobs]
        return jobs[choice % len(jobs)] if jobs else None

    def calm(self) -> None:
        super().calm()
        self.engine.most = None
        for node in self.nodes:
            self.mend_node(node)
        self.start_engine()
