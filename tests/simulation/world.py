"""The world in which a dispatcher lives, dies and is started again: what happens, and when."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from random import Random

from scheduler.config.hours import Hours
from scheduler.config.sweep import Limits, RetrySettings
from scheduler.core import events as ev
from scheduler.core.core import Core
from scheduler.core.retry import Policy
from scheduler.core.states import ONE_ALONE, State
from tests.simulation.model import AttemptsFile, End, Gpu, Model, Nature, Record, Supervisor, Wishes
from tests.simulation.safety import Broken, SafetyProperties
from tests.simulation.shell import Killed, Shell

CALM_SWEEP = 4 * 86400.0  # seconds in which a sweep must end when nothing goes wrong any more
MAX_HAPPENINGS = 40_000  # of a small sweep
HAPPENINGS_OF_A_TASK = 100  # of a large one


class World(Model):
    """Devices, tasks and faults around one sweep; `advance` lets the next thing happen."""

    def __init__(
        self,
        natures: list[Nature],
        gpus: list[Gpu],
        rng: Random,
        *,
        slots: bool = False,
        retries: RetrySettings,
        limits: Limits,
        max_halvings: int = 0,
        most_sharers: int | None = None,
        hours: Hours | None = None,
        begins: float = 0.0,
        core: type[Core] = Core,
    ) -> None:
        super().__init__(natures, gpus, rng, slots=slots)
        self.policy = Policy(retries, max_halvings)
        self.max_halvings = max_halvings
        self.limits = limits
        self.most_sharers = most_sharers
        self.hours = hours  # of the sweep file
        self.clock_settings = [(0.0, begins)]
        self.disturbances = 0  # so often was the clock set, or did nothing get the processor
        # Some tasks share devices, or want several.
        self.mixed = any(n.untimed is not None or n.need != ONE_ALONE for n in natures)
        self.make_core = core
        self.make_shell = Shell
        self.writer_delay = rng.choice((0.1, 0.1, 15.0))  # a disk that is sometimes slow
        self.story: deque[tuple[object, ...]] = deque(maxlen=2000)
        self.promises = SafetyProperties(self)
        self.shell: Shell | None = None
        self.wishes = Wishes()
        # Tasks by the settings that they had then, and a dispatcher knew it.
        self.told_to_fail: set[tuple[str, int]] = set()
        self.taken_out: dict[str, int] = {}  # of the sweep file: tasks and their settings
        self.interrupts = 0
        self.time_short = False  # which the first of them was
        self.exit_code: int | None = None  # of the sweep, once it is over
        self._kill_in: int | None = None  # actions until the dispatcher dies
        self.broken = False  # a promise is, and nothing more can be learnt
        self._restart = False  # at once, by a service manager or an impatient user
        self._happenings: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def after(self, delay: float, do: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._happenings, (self.now + delay, self._count, do))

    def note(self, *words: object) -> None:
        self.story.append((self.now, *words))

    def tell_story(self, last: int = 40) -> str:
        """Return what happened last, one line each."""
        lines = list(self.story)[-last:]
        return "\n".join(f"{at:12.3f}  {' '.join(map(str, words))}" for at, *words in lines)

    def worker_began(self, task: str, record: Record) -> None:
        self.promises.worker_began(task, record)

    def device_changed(self, gpu: Gpu) -> None:
        if self.shell is not None:
            self.shell.look_later(gpu)

    def forget(self, task: str) -> None:
        """Remove the attempts file of a task that has ended."""
        file = self.files[task]
        file.records.clear()
        file.lines = 0

    # --- the course of things ------------------------------------------------------------------

    def advance(self) -> bool:
        """Let the next thing happen; return False if nothing ever will."""
        wake = self.shell.next_wake() if self.shell is not None else None
        next_at = self._happenings[0][0] if self._happenings else None
        if wake is not None and (next_at is None or wake < next_at):
            self.now = max(self.now, wake)
            self._live(self.shell.turn)  # type: ignore[union-attr]
        elif next_at is not None:
            self.now = max(self.now, next_at)
            self._live(heapq.heappop(self._happenings)[2])
        else:
            return False
        return True

    def advance_to(self, time: float) -> None:
        """Let everything happen that happens before ``time``."""
        while self.exit_code is None:
            wake = self.shell.next_wake() if self.shell is not None else None
            due = [
                at
                for at in (wake, self._happenings[0][0] if self._happenings else None)
                if at is not None
            ]
            if not due or min(due) > time:
                break
            self.advance()
        self.now = max(self.now, time)

    def _live(self, do: Callable[[], None]) -> None:
        try:
            do()
        except Killed:
            self.note("--- the dispatcher is killed")
            self._bury()
        except Exception:
            self.broken = True
            raise
        if self.shell is not None and self.shell.exit_code is not None:
            self.note("--- the dispatcher ends with", self.shell.exit_code)
            left = any(self.shell.core.state(task) is State.WAITING for task in self.shell.file)
            if self.shell.exit_code not in (75, 130) and not (self.shell.braked and left):
                self.exit_code = self.shell.exit_code
            self._bury()

    def _bury(self) -> None:
        assert self.shell is not None
        dead, self.shell = self.shell, None
        self._kill_in = None
        if self._restart:
            self._restart = False
            self.after(self.soon(), self.start_dispatcher)
        for gpu in self.gpus.values():
            for supervisor in gpu.holders:
                if supervisor.listener is dead:
                    supervisor.listener = None

    def maybe_kill(self) -> None:
        """Raise Killed if the dispatcher's time has come."""
        if self._kill_in is not None:
            self._kill_in -= 1
            if self._kill_in < 0:
                raise Killed

    def run_to_the_end(self) -> int:
        """Let no more faults happen and the sweep end; return its exit code.

        Raises:
            Broken: a promise does not hold, that every sweep ends among them.
        """
        self.calm()
        deadline, count = self.now + CALM_SWEEP, 0
        most = max(MAX_HAPPENINGS, HAPPENINGS_OF_A_TASK * len(self.natures))
        while self.exit_code is None:
            if self.shell is None:
                self.end_unlisted()
                self.start_dispatcher()
            elif not self.advance():
                raise Broken(
                    f"every sweep ends: nothing will ever happen again; {self.shell.unfinished()}"
                )
            count += 1
            if self.now > deadline or count > most:
                raise Broken(f"every sweep ends: it still runs after {count} happenings")
        return self.exit_code

    # --- faults, and their ends ----------------------------------------------------------------

    def start_dispatcher(self, *, adopt: bool = True) -> None:
        """Start a dispatcher, if none lives and the sweep is not over."""
        if self.shell is None and self.exit_code is None:
            self.note("--- a dispatcher starts")
            self.interrupts, self.time_short = 0, False
            self.shell = self.make_shell(self, adopt=adopt)
            self._live(self.shell.begin)

    def kill_dispatcher(self, actions: int = 0, *, restart: bool = False) -> None:
        """Kill the dispatcher after so many more actions; at once if there are none."""
        if self.shell is not None:
            self._restart = restart
            if actions:
                self._kill_in = actions
            else:
                self.note("--- the dispatcher is killed")
                self._bury()

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        if self.shell is not None:
            self.interrupts += 1
            self.time_short = False
            self._live(self.shell.interrupt)

    def run_out_of_time(self, *, stop: bool) -> None:
        """Have the time of lent devices nearly over, or over."""
        if self.shell is not None:
            self.time_short |= not self.interrupts
            self.interrupts = max(self.interrupts, 2 if stop else 1)
            self._live(lambda: self.shell.run_out_of_time(stop=stop))  # type: ignore[union-attr]

    def ask(self, wish: ev.PauseAsked | ev.ResumeAsked | ev.StopAsked | ev.DrainAsked) -> None:
        """Ask for something from another shell; a dispatcher that lives sees it a little later."""
        self.note("wish", wish)
        match wish:
            case ev.PauseAsked():
                self.wishes.paused = wish
            case ev.ResumeAsked():
                self.wishes.paused = None
            case ev.StopAsked():
                earlier = self.wishes.stops.get(wish.task)
                if earlier is None or not earlier.fail:  # that one wants more
                    self.wishes.stops[wish.task] = wish
            case ev.DrainAsked():
                change = self.wishes.drained.add if wish.on else self.wishes.drained.discard
                change(wish.device)
        self.wishes_change()

    def limit_devices(self, at_most: int | None) -> None:
        """Let the hour come at which so many devices may be in use."""
        self.note("at most", at_most)
        self.wishes.at_most = at_most
        self.wishes_change()

    def change_hours(self, hours: Hours) -> None:
        """Edit the hours of the sweep file, and ask for it to be read again."""
        self.note("hours", hours)
        self.hours = hours
        self.reload()

    def edit(self, choice: float, task: str) -> None:
        """Edit the sweep file: a new task, other settings, a task taken out or put back."""
        self.note("edit", f"{choice:.2f}", task)
        if task not in self.sweep_file:
            self.sweep_file[task] = self.taken_out.pop(task)
        elif choice < 0.4:
            new = f"t{len(self.natures)}"
            self.natures[new] = replace(self.natures[task], task=new)
            self.files[new], self.attempts_made[new] = AttemptsFile(), 0
            self.sweep_file = (
                {new: 0, **self.sweep_file} if choice < 0.2 else {**self.sweep_file, new: 0}
            )
        elif choice < 0.7:
            self.sweep_file[task] += 1
        else:
            self.taken_out[task] = self.sweep_file.pop(task)

    def forget_wish_to_fail(self, task: str) -> None:
        """A task that is to fail has left the sweep file: should it come back, it is another."""
        self.told_to_fail = {wish for wish in self.told_to_fail if wish[0] != task}

    def reload(self) -> None:
        """Ask for the sweep file to be read again."""
        self.note("reload")
        self.wishes.reloads += 1
        self.wishes_change()

    def wishes_change(self) -> None:
        if (shell := self.shell) is not None:
            self.after(self.soon(), shell.see_wishes)

    def cut_power(self) -> None:
        """End every process at once; files stay."""
        self.note("--- power cut")
        self.boot += 1
        if self.shell is not None:
            self._bury()
        self._end_all()

    def _end_all(self) -> None:
        for supervisor in self._supervisors():
            supervisor.vanish()

    def kill_supervisor(self, choice: int) -> None:
        """Kill one supervisor that lives."""
        if supervisors := self._supervisors():
            supervisors[choice % len(supervisors)].kill()

    def leap(self, seconds: float) -> None:
        """Let time pass in which nothing gets the processor: a suspended virtual machine."""
        self.note("leap", seconds)
        self.disturbances += 1
        self.now += seconds

    def set_clock(self, seconds: float) -> None:
        """Set the time of day forward or back; no process notices."""
        self.note("clock", seconds)
        self.disturbances += 1
        self.clock_settings.append((self.now, self.clock_settings[-1][1] + seconds))

    def fill_disk(self, *, full: bool) -> None:
        """Fill the disk, or make room."""
        self.note("disk full" if full else "disk has room")
        self.disk_full = full

    def change_device(
        self,
        gpu: Gpu,
        *,
        lost: bool | None = None,
        guest: int | None = None,
        faulty: bool | None = None,
        leased_away: bool | None = None,
    ) -> None:
        """Change a device's true state."""
        self.note("device", gpu.name, f"{lost=} {guest=} {faulty=} {leased_away=}")
        if self.slots:
            gpu.faulty = gpu.faulty if faulty is None else faulty
            return
        gpu.lost = gpu.lost if lost is None else lost
        gpu.faulty = gpu.faulty if faulty is None else faulty
        gpu.leased_away = gpu.leased_away if leased_away is None else leased_away
        if guest is not None:
            gpu.guest = guest
            for supervisor in list(gpu.holders):
                supervisor.guest_arrived()
        if gpu.lost:
            for supervisor in list(gpu.holders):
                supervisor.device_lost()
        self.device_changed(gpu)

    def calm(self) -> None:
        """End all faults."""
        self.note("--- calm")
        self.writer_delay = 0.1
        self._kill_in = None
        self.fill_disk(full=False)
        self.wishes.paused = None
        self.wishes.drained.clear()
        self.wishes.at_most = None
        self.wishes_change()
        self.end_unlisted()
        for gpu in self.gpus.values():
            self.change_device(gpu, lost=False, guest=0, faulty=False, leased_away=False)

    def end_unlisted(self) -> None:
        """Kill the attempts of tasks that left the sweep file, as their user must: they may hang for ever."""
        for supervisor in self._supervisors():
            if supervisor.task not in self.sweep_file:
                supervisor.worker_ends(End.KILLED)
                supervisor.kill()

    def _supervisors(self) -> list[Supervisor]:
        holders = [supervisor for gpu in self.gpus.values() for supervisor in gpu.holders]
        return list(dict.fromkeys(holders))
