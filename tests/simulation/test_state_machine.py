"""The same world in Hypothesis' hands: it invents schedules, and shrinks what breaks a promise."""

from random import Random

import hypothesis.strategies as st
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from scheduler.config.sweep import Limits, RetrySettings
from tests.simulation.model import GIB, End, Fate, Gpu, Nature
from tests.simulation.world import World

FATES = st.builds(
    Fate,
    seconds=st.sampled_from((0.1, 5.0, 50.0)),
    end=st.one_of(st.sampled_from(End), st.none()),
    silent=st.booleans(),
    stubborn=st.booleans(),
    supervisor_dies=st.booleans(),
    does_not_start=st.booleans(),
)
NATURES = st.builds(
    Nature,
    task=st.just(""),
    fates=st.lists(FATES, max_size=3),
    needs_halvings=st.integers(0, 2),
    needs_memory=st.sampled_from((0, 0, 40 * GIB)),
)


class SweepMachine(RuleBasedStateMachine):
    """Rules are the faults and the passing of time; whatever they did, the sweep must end well."""

    world: World

    @initialize(
        natures=st.lists(NATURES, min_size=1, max_size=6),
        totals=st.lists(st.sampled_from((24, 80)), min_size=1, max_size=4),
        slots=st.booleans(),
        latencies=st.integers(0, 9),
        attempts=st.integers(1, 3),
        backoff=st.sampled_from((0.0, 30.0)),
    )
    def begin(self, natures, totals, slots, latencies, attempts, backoff):
        for number, nature in enumerate(natures):
            nature.task = f"t{number}"
        self.world = World(
            natures,
            [Gpu(f"gpu{n}", total * GIB) for n, total in enumerate(totals)],
            Random(latencies),
            slots=slots,
            retries=RetrySettings(attempts, backoff, ("batch",)),
            limits=Limits(timeout=60.0, stall=20.0),
            max_halvings=1,
        )
        self.world.start_dispatcher()

    @rule(seconds=st.sampled_from((0.01, 1.0, 10.0, 100.0)))
    def pass_time(self, seconds):
        self.world.advance_to(self.world.now + seconds)

    @rule(happenings=st.integers(1, 10))
    def advance(self, happenings):
        for _ in range(happenings):
            self.world.advance()

    @precondition(lambda self: self.world.shell is None)
    @rule(adopt=st.booleans())
    def start_dispatcher(self, adopt):
        self.world.start_dispatcher(adopt=adopt)

    @precondition(lambda self: self.world.shell is not None)
    @rule(actions=st.integers(0, 8), restart=st.booleans())
    def kill_dispatcher(self, actions, restart):
        self.world.kill_dispatcher(actions, restart=restart)

    @precondition(lambda self: self.world.shell is not None)
    @rule()
    def interrupt(self):
        self.world.interrupt()

    @rule()
    def cut_power(self):
        self.world.cut_power()

    @rule(choice=st.integers(0, 7))
    def kill_supervisor(self, choice):
        self.world.kill_supervisor(choice)

    @rule(seconds=st.sampled_from((5.0, 5000.0)))
    def leap(self, seconds):
        self.world.leap(seconds)

    @rule(seconds=st.sampled_from((-5000.0, 5000.0)))
    def set_clock(self, seconds):
        self.world.set_clock(seconds)

    @rule(full=st.booleans())
    def fill_disk(self, full):
        self.world.fill_disk(full=full)

    @rule(choice=st.integers(0, 3), lost=st.booleans())
    def lose_device(self, choice, lost):
        self.world.change_device(self._gpu(choice), lost=lost)

    @rule(choice=st.integers(0, 3), guest=st.sampled_from((0, GIB, 60 * GIB)))
    def visit_device(self, choice, guest):
        self.world.change_device(self._gpu(choice), guest=guest)

    @rule(choice=st.integers(0, 3), faulty=st.booleans())
    def break_device(self, choice, faulty):
        self.world.change_device(self._gpu(choice), faulty=faulty)

    @rule(choice=st.integers(0, 3), leased_away=st.booleans())
    def lease_device_away(self, choice, leased_away):
        self.world.change_device(self._gpu(choice), leased_away=leased_away)

    @rule(at_most=st.sampled_from((0, 1, 2, None)))
    def limit_devices(self, at_most):
        self.world.limit_devices(at_most)

    def _gpu(self, choice):
        gpus = list(self.world.gpus.values())
        return gpus[choice % len(gpus)]

    @invariant()
    def no_task_is_both_completed_and_failed(self):
        assert not self.world.done & self.world.failed

    def teardown(self):
        if hasattr(self, "world") and not self.world.broken:
            self.world.run_to_the_end()


SweepMachine.TestCase.settings = settings(
    max_examples=500,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=[HealthCheck.too_slow],
)
TestSweep = SweepMachine.TestCase
