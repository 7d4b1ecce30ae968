"""From a seed to a cluster and its faults, and through them to the sweep's end."""

from __future__ import annotations

from random import Random

from scheduler.config.sweep import Limits, RetrySettings
from scheduler.core.core import Core
from tests.simulation.cluster.model import Node
from tests.simulation.cluster.world import ClusterWorld
from tests.simulation.model import Fate, Nature
from tests.simulation.safety import demand
from tests.simulation.scenario import make_the_same_mistake, some_nature, some_tasks, some_wish


def build(seed: int, core: type[Core] = Core) -> ClusterWorld:
    """Return the cluster that ``seed`` means: 1 to 4 nodes with 1 to 4 GPUs each, 3 to 20 tasks."""
    rng = Random(f"cluster of {seed}")
    timeout = rng.choice((None, 60.0, 600.0))
    roughness = rng.choice((0.0, 0.2, 0.5))
    halvings = rng.choice((0, 0, 1))
    natures = [
        some_nature(f"t{n}", rng, roughness, timeout, None, halvings)
        for n in range(rng.randint(3, 20))
    ]
    for nature in natures if rng.random() < 0.5 else ():
        nature.fates.append(Fate(rng.choice((20.0, 100.0, 300.0))))
    make_the_same_mistake(natures, rng)
    nodes = [Node(f"node{n}", rng.choice((1, 2, 4))) for n in range(rng.choice((1, 2, 2, 3, 4)))]
    gpus = sum(node.gpus for node in nodes)
    return ClusterWorld(
        natures,
        nodes,
        rng.choice((gpus, gpus, max(1, gpus - 1), gpus + 2)),
        rng,
        lease=rng.choice((10.0, 30.0, 120.0)),
        poll=4.0,
        retries=RetrySettings(
            max_attempts=rng.choice((1, 2, 3)),
            backoff=rng.choice((0.0, 1.0, 30.0)),
            on_oom=("batch",),
            stop_after=rng.choice((None, None, 3)),
        ),
        limits=Limits(timeout, None),
        max_halvings=halvings,
        core=core,
    )


def build_large(seed: int, nodes: int, tasks_each: int = 2) -> ClusterWorld:
    """Return a cluster of nodes with 8 GPUs, and so many tasks for each GPU, each of which completes."""
    rng = Random(f"large cluster of {seed}")
    natures = [
        Nature(f"t{n}", [Fate(rng.uniform(100.0, 1000.0)) for _ in range(4)])
        for n in range(8 * nodes * tasks_each)
    ]
    return ClusterWorld(
        natures,
        [Node(f"node{n}", 8) for n in range(nodes)],
        8 * nodes,
        rng,
        lease=120.0,
        poll=30.0,
        retries=RetrySettings(max_attempts=1, backoff=30.0),
        limits=Limits(None, None, log=None),
    )


def live_through_large(world: ClusterWorld, seed: int) -> int:
    """Let nodes of a large cluster die and be cut off, a twentieth of them in all, and the rest go on.

    Raises:
        Broken: a promise does not hold; or a task has failed for what befell its nodes.
    """
    rng = Random(f"large cluster faults of {seed}")
    world.start_dispatcher()
    for number in range(max(8, len(world.nodes) // 20)):
        world.advance_to(world.now + rng.expovariate(1 / 20.0))
        rng.choice((world.kill_node, world.cut_node, world.cut_node))(rng.choice(world.nodes))
        if rng.random() < 0.5:
            for node in world.nodes:
                world.mend_node(node)
        if number % 16 == 3:
            world.kill_dispatcher(restart=True)
        if number % 16 == 7:
            world.crash_engine()
            world.after(60.0, world.start_engine)
    code = world.run_to_the_end()
    demand("what nodes do is not charged to tasks", not world.failed, world.failed)
    return code


def disturb(world: ClusterWorld, rng: Random) -> None:
    """Let one fault happen, or one end."""
    node = rng.choice(world.nodes)
    job = world.some_job(rng.randrange(1000))
    match rng.randrange(24):
        case 0 | 1 | 2:
            world.kill_dispatcher(rng.choice((0, 1, 2, 3, 5, 8)), restart=rng.random() < 0.5)
        case 3 | 4 | 5:
            world.start_dispatcher(adopt=rng.random() < 0.9)
        case 6:
            for _ in range(rng.choice((1, 2))):
                world.interrupt()
        case 7 if rng.random() < 0.3:
            world.cut_power()
        case 8:
            world.kill_supervisor(rng.randrange(8))
        case 9 | 10:
            world.kill_node(job.node if job is not None and job.node is not None else node)
        case 11 | 12 | 13:
            world.cut_node(job.node if job is not None and job.node is not None else node)
        case 14 | 15 | 16:
            for one in world.nodes:
                if rng.random() < 0.7:
                    world.mend_node(one)
        case 17:
            world.crash_engine()
        case 18:
            world.start_engine()
        case 19:
            world.engine.most = rng.choice((0, 1, 2, None))
        case 20 if job is not None:
            world.note("requeued by an administrator", job.task)
            world.engine.requeue(job)
        case 21 if job is not None:
            world.note("cancelled by somebody", job.task)
            world.engine.cancel(job)
        case 22:
            world.fill_disk(full=not world.disk_full)
        case 23:
            slot = rng.choice(list(world.gpus.values()))
            world.ask(some_wish(world, slot, rng))
            if rng.random() < 0.3:
                world.edit(rng.random(), rng.choice(some_tasks(world, rng)))
                world.reload()


def live_through(
    world: ClusterWorld, seed: int, pauses: tuple[float, ...] = (0.5, 5.0, 50.0)
) -> int:
    """Put the cluster through the seed's faults and let the sweep end; return its exit code.

    Raises:
        Broken: a promise does not hold.
    """
    rng = Random(f"cluster faults of {seed}")
    world.start_dispatcher()
    pause = rng.choice(pauses)
    for _ in range(rng.choice((0, 5, 20, 40))):
        world.advance_to(world.now + rng.expovariate(1 / pause))
        disturb(world, rng)
    return world.run_to_the_end()
