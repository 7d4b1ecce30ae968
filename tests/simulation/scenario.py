"""From a seed to a world and its faults, and through them to the sweep's end."""

from __future__ import annotations

from random import Random

from scheduler.config.sweep import Limits, RetrySettings
from scheduler.core import events as ev
from scheduler.core.core import Core
from scheduler.core.states import Need
from tests.simulation.hours import some_hours, some_night
from tests.simulation.model import GIB, End, Fate, Gpu, Nature
from tests.simulation.world import World

_BAD_ENDS = [
    End.FAILS,
    End.FAILS,
    End.TRY_LATER,
    End.SEGFAULT,
    End.KERNEL_OOM,
    End.NO_SUCCESS_LINE,
    End.FAILURE_LINE,
    End.FAILS_AFTER_SUCCESS,
    End.DEVICE_ERROR,
    End.DISK_FULL,
    End.OUT_OF_MEMORY,
]


def build(seed: int, core: type[Core] = Core) -> World:
    """Return the world that ``seed`` means: 1 to 8 devices, 3 to 20 tasks, their fates."""
    rng = Random(seed)
    slots = rng.random() < 0.3
    timeout = rng.choice((None, 60.0, 600.0))
    stall = rng.choice((None, 20.0))
    halvings = rng.choice((0, 0, 1, 3))
    gpus = [
        Gpu(f"gpu{n}", total=rng.choice((24, 80)) * GIB, faulty=rng.random() < 0.05)
        for n in range(rng.choice((1, 2, 2, 3, 4, 8)))
    ]
    roughness = rng.choice((0.0, 0.2, 0.5))
    natures = [
        some_nature(f"t{n}", rng, roughness, timeout, stall, halvings)
        for n in range(rng.randint(3, 20))
    ]
    most_sharers = _share_and_join(natures, len(gpus), Random(f"needs of {seed}"), slots=slots)
    make_the_same_mistake(natures, Random(f"mistake of {seed}"))
    begins = Random(f"night of {seed}")
    hours = some_hours(begins) if begins.random() < 0.3 else None
    retries = RetrySettings(
        max_attempts=rng.choice((1, 2, 3, 3)),
        backoff=rng.choice((0.0, 1.0, 30.0)),
        on_oom=("batch",),
        stop_after=Random(f"brake of {seed}").choice((None, None, 2, 3)),
    )
    return World(
        natures,
        gpus,
        rng,
        slots=slots,
        retries=retries,
        limits=Limits(timeout, stall),
        max_halvings=halvings,
        most_sharers=most_sharers,
        hours=hours,
        begins=0.0 if hours is None else some_night(hours, begins),
        core=core,
    )


def some_nature(
    task: str,
    rng: Random,
    roughness: float,
    timeout: float | None,
    stall: float | None,
    halvings: int,
) -> Nature:
    fates = []
    while rng.random() < roughness:
        fates.append(_bad_fate(rng, timeout, stall))
    if rng.random() < 0.3:
        fates.append(Fate(rng.choice((0.5, 5.0, 50.0))))
    nature = Nature(task, fates)
    if rng.random() < 0.15:
        nature.needs_halvings = rng.randint(0, halvings + 1)
    if rng.random() < 0.1:
        nature.needs_memory = rng.choice((40, 79, 100)) * GIB
    if rng.random() < 0.05:
        nature.hopeless = rng.choice([*_BAD_ENDS, End.WRONG_CODE])
    return nature


def _share_and_join(natures: list[Nature], gpus: int, rng: Random, *, slots: bool) -> int | None:
    """Let tasks of some sweeps share devices, or have several; return how many may share one."""
    shares, joins = rng.random() < 0.3 and not slots, rng.random() < 0.3
    memory = rng.choice((6, 10, 20)) * GIB
    stages = Random(f"stages of {memory} {len(natures)}")
    for nature in natures:
        if shares and rng.random() < 0.6:
            nature.need = Need(memory=memory, alone=False)
            nature.takes = rng.choice((memory // 2, memory, memory, memory * 3 // 2))
            nature.needs_memory = 0
        elif joins and rng.random() < 0.4:
            nature.need = Need(devices=rng.randint(1, gpus))
        elif shares and stages.random() < 0.6:
            nature.untimed = Need(memory=memory, alone=False, later=True)
            nature.takes = stages.choice((memory // 2, memory, memory * 3 // 2))
    return rng.choice((None, 2, 3))


def make_the_same_mistake(natures: list[Nature], rng: Random) -> None:
    """Let all tasks of some sweeps, or most, fail for the one reason that is in their code."""
    share = rng.choice((0.0, 0.0, 0.0, 0.0, 0.8, 1.0))
    end = rng.choice((End.FAILS, End.WRONG_CODE, End.SEGFAULT, End.NO_SUCCESS_LINE))
    for nature in natures:
        if rng.random() < share:
            nature.fates, nature.hopeless = [], end


def _bad_fate(rng: Random, timeout: float | None, stall: float | None) -> Fate:
    seconds = rng.choice((0.1, 3.0, 30.0))
    kind = rng.random()
    if kind < 0.1 and timeout is not None:
        return Fate(seconds, None, stubborn=rng.random() < 0.5)
    if kind < 0.15:
        return Fate(seconds, None, stubborn=rng.random() < 0.5, floods=True)
    if kind < 0.2 and stall is not None:
        return Fate(seconds, None, silent=True, stubborn=rng.random() < 0.5)
    if kind < 0.3:
        return Fate(seconds, supervisor_dies=True)
    if kind < 0.35:
        return Fate(seconds, does_not_start=True)
    return Fate(seconds, rng.choice(_BAD_ENDS), silent=rng.random() < 0.2)


def disturb(world: World, rng: Random) -> None:
    """Let one fault happen, or one end."""
    gpu = rng.choice(list(world.gpus.values()))
    match rng.randrange(25):
        case 0 | 1 | 2 | 3:
            world.kill_dispatcher(rng.choice((0, 1, 2, 3, 5, 8)), restart=rng.random() < 0.5)
        case 4 | 5 | 6:
            world.start_dispatcher(adopt=rng.random() < 0.9)
        case 7:
            times = rng.choice((1, 2))
            lent = Random(f"lent until {world.now}").random() < 0.3
            for time in range(times):
                if lent:
                    world.run_out_of_time(stop=time > 0)
                else:
                    world.interrupt()
        case 8:
            world.cut_power()
        case 9:
            world.kill_supervisor(rng.randrange(8))
        case 10:
            world.leap(rng.choice((5.0, 100.0, 5000.0)))
        case 11 | 12:
            world.fill_disk(full=not world.disk_full)
        case 13:
            world.change_device(gpu, lost=not gpu.lost)
        case 14:
            world.change_device(gpu, guest=0 if gpu.guest else rng.choice((1, 60)) * GIB)
        case 15:
            flag = rng.choice(("faulty", "leased_away"))
            world.change_device(gpu, **{flag: not getattr(gpu, flag)})
        case 16:
            world.set_clock(rng.choice((-5000.0, -5.0, 5.0, 5000.0)))
        case 17 | 18 | 19 | 20:
            world.ask(some_wish(world, gpu, rng))
        case 24:
            most = rng.choice((0, 1, 1, 2, 3, None))
            if world.hours is None:
                world.limit_devices(most)
            else:
                world.change_hours(some_hours(Random(f"hours from {world.now}")))
        case 21 | 22 | 23:
            for _ in range(rng.choice((0, 1, 1, 3))):
                back = list(world.taken_out) if rng.random() < 0.4 else []
                world.edit(rng.random(), rng.choice(back or some_tasks(world, rng)))
            if rng.random() < 0.8:
                world.reload()


def some_tasks(world: World, rng: Random) -> list[str]:
    """Return the tasks under way, more often than all."""
    under_way = sorted(world.shell.occupied.keys() | world.shell.unjudged) if world.shell else []
    return under_way if under_way and rng.random() < 0.7 else list(world.natures)


def some_wish(
    world: World, gpu: Gpu, rng: Random
) -> ev.PauseAsked | ev.ResumeAsked | ev.StopAsked | ev.DrainAsked:
    kind = rng.random()
    if kind < 0.2:
        return ev.PauseAsked(now=rng.random() < 0.5)
    if kind < 0.5:
        return ev.ResumeAsked()
    if kind < 0.7:
        return ev.DrainAsked(gpu.name, on=rng.random() < 0.4)
    return ev.StopAsked(rng.choice(some_tasks(world, rng)), fail=rng.random() < 0.4)


def live_through(world: World, seed: int) -> int:
    """Put the world through the seed's faults and let the sweep end; return its exit code.

    Raises:
        Broken: a promise does not hold.
    """
    rng = Random(f"faults of {seed}")
    world.start_dispatcher()
    pause = rng.choice((0.5, 5.0, 50.0))
    for _ in range(rng.choice((0, 5, 20, 40))):
        world.advance_to(world.now + rng.expovariate(1 / pause))
        disturb(world, rng)
    return world.run_to_the_end()
