"""Which configurations of an adaptive search are measured next, and which are dropped.

Speed first, which is cheap and steady: what is no faster than the baseline, or too slow for the target,
is never scored. The others race on growing sets of prompts, by the differences to the baseline
on the same prompts (Maron and Moore 1994, "Hoeffding races", with the intervals of ``sequential.py``).
After each look those are dropped whose loss is surely beyond the bound: the better end of its
interval is. Which others go on depends on what is wanted:

* the fastest: those that may be within the bound and are at least as fast as the fastest that seems
  to be. Once that one is surely within, all that is slower is dropped.
* a target: one that is fast enough, the most promising first, until one is surely within.
* the frontier: those whose loss, anywhere in its interval, could move the frontier's hypervolume by
  more than a tolerance.

Nothing is drawn at random, and only what was measured decides: told the same, a race asks the same, so
that one that was interrupted goes on behind the rows that are there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from worker.measure.adaptive import frontier
from worker.measure.adaptive.decisions import (
    Ask,
    Decision,
    Found,
    Goal,
    What,
    loss_in_words,
    percent,
)
from worker.measure.adaptive.sequential import loss_interval
from worker.results.statistics import FEWEST_IMAGES, Estimate
from worker.search.looks import FIRST_LOOK, looks

Scores = Sequence[float]

# share by which a quickly taken speed-up may be off
_SPEED_OFF = 0.02
# how many are scored at once where the first that will do ends the search
_AT_ONCE = 8
# A configuration goes on while its loss could move this share of the hypervolume, as far as intervals
# of this error tell: a narrower one for what seems to be beaten, of which there are many. What
# seems to be on the frontier is the luckiest of many, so it is seen on so many prompts at least.
_TOLERANCE = 0.003
_ERROR_BEATEN = 0.3
_FEWEST_ON_FRONTIER = 128
_MOVES_NOTHING = f"can move the frontier by at most {percent(_TOLERANCE)}"


@dataclass(eq=False)
class _Runner:
    """A configuration in the race."""

    name: str
    speedup: float | None = None
    baseline: list[float] = field(default_factory=list)
    """Scores of the baseline, as it was measured beside this one."""
    scores: list[float] = field(default_factory=list)
    loss: Estimate | None = None
    is_out: bool = False
    is_aside: bool = False
    """Whether it was left behind, though not for good."""
    is_passed_over: bool = False
    """Whether it was chosen before, and not confirmed on other prompts."""
    behind: _Runner | None = None
    """The faster one for whose sake it was dropped."""

    @property
    def speed(self) -> float:
        assert self.speedup is not None, "speeds are known before anything is scored"
        return self.speedup

    @property
    def lost(self) -> Estimate:
        assert self.loss is not None, "what was scored has a loss"
        return self.loss

    @property
    def seen(self) -> int:
        return len(self.scores)

    def interval(self, error: float) -> Estimate:
        return loss_interval(np.asarray(self.baseline), np.asarray(self.scores), error)


class Race:
    """An adaptive search, driven by ``ask`` and the ``tell`` methods.

    Args:
        names: of the configurations, the baseline apart.
        goal: what is to be found.
        prompts: how many there are; a configuration that stays is seen on all of them.
        first: how many are looked at first.
    """

    def __init__(
        self, names: Sequence[str], goal: Goal, prompts: int, first: int = FIRST_LOOK
    ) -> None:
        self._runners = {name: _Runner(name) for name in names}
        self.goal = goal
        """What is to be found."""
        self._looks = looks(prompts, first)
        self.stopped: str | None = None
        """Why it is over; None while it is not."""
        self.images = 0
        """Made so far, the baseline's included."""
        self.decisions: list[Decision] = []
        self.unmeasured: tuple[str, ...] = ()
        """Names of those whose speed there was no time to measure."""
        self._no_time: str | None = None

    def add(self, names: Sequence[str]) -> None:
        """Have further configurations take part."""
        self._runners |= {name: _Runner(name) for name in names}
        self._note("proposed", ", ".join(names))

    @property
    def dropped(self) -> list[str]:
        """Names of those that are out, or were left behind."""
        return [item.name for item in self._runners.values() if item.is_out or item.is_aside]

    @property
    def left(self) -> int:
        """How many are neither out nor left behind."""
        return len(self._runners) - len(self.dropped)

    @property
    def images_left(self) -> int:
        """How many images it asks for if no more are dropped, the baseline's beside them included."""
        unseen = [self._looks[-1] - item.seen for item in self._in_race() if not item.is_aside]
        return sum(unseen) + max(unseen, default=0)

    def tell_speed(self, speedups: Mapping[str, float | str], images: int) -> None:
        """Take in how much faster than the baseline configurations are, or why one has failed.

        Args:
            speedups: by name.
            images: that were made for it.
        """
        self.images += images
        least = self.goal.target_speedup or 1.0
        for name, speedup in speedups.items():
            runner = self._runners[name]
            if isinstance(speedup, str):
                self._drop(runner, f"it failed: {speedup}")
                continue
            runner.speedup = speedup
            if self.goal.wants == "target" and speedup * (1 + _SPEED_OFF) < least:
                self._drop(runner, f"{speedup:.2f}×: too slow for {least:g}×")
            elif speedup * (1 - _SPEED_OFF) <= 1:
                self._drop(runner, f"{speedup:.2f}×: not told to be faster than the baseline")

    def leave(self, names: Sequence[str], why: str) -> None:
        """Have the others go on without those whose speed there is no time to measure.

        Args:
            names: of the configurations.
            why: there is none.
        """
        self.unmeasured += tuple(names)
        self._no_time = why
        for name in names:
            self._runners[name].is_out = True
        many = f"{len(names)} configurations are" if len(names) > 1 else f"{names[0]} is"
        self._note("dropped", f"{many} not measured: {why}")

    def tell_scores(self, scores: Mapping[str, tuple[Scores, Scores] | str], images: int) -> None:
        """Take in scores for the prompts that were asked for, or why a configuration has failed.

        Args:
            scores: the baseline's and the configuration's, by name.
            images: that were made for it.
        """
        self.images += images
        for name, pair in scores.items():
            runner = self._runners[name]
            if isinstance(pair, str):
                self._drop(runner, f"it failed: {pair}")
                continue
            runner.baseline.extend(pair[0])
            runner.scores.extend(pair[1])
            runner.loss = runner.interval(self.goal.error / len(self._looks))
            self._drop_beyond_the_bound(runner)
        if self.goal.wants == "fastest":
            self._drop_slower_than_sure()

    def ask(self) -> Ask | None:
        """Return what is to be measured next; None where it is over."""
        if self.stopped is not None:
            return None
        before = self._aside()
        wanted = self.would_ask()
        for runner in self._aside():
            if runner not in before:
                self._note(
                    "dropped", f"loses {loss_in_words(runner.lost)}: {_MOVES_NOTHING}", runner
                )
        if wanted is None:
            self.stop(self._why_over())
        else:
            self._note("asked", wanted.in_words())
        return wanted

    def stop(self, why: str) -> None:
        """End it, for its own reason or another (the time is spent)."""
        self.stopped = why
        self._note("stopped", why)

    def confirmed(self, name: str, why: str, images: int) -> None:
        """Take in that what was chosen keeps its promise on other prompts.

        Args:
            name: of the configuration.
            why: its figures there.
            images: that were made for it.
        """
        self.images += images
        self._note("confirmed", why, self._runners[name])

    def pass_over(self, name: str, why: str, images: int, *, is_refuted: bool) -> None:
        """Take in that what was chosen is not confirmed on other prompts, and go on without it.

        What was dropped for being slower than it races again.

        Args:
            name: of the configuration.
            why: its figures there.
            images: that were made for it.
            is_refuted: whether it surely is beyond the bound there; what only may be stays on the frontier.
        """
        runner = self._runners[name]
        self.images += images
        runner.is_passed_over = True
        runner.is_out |= is_refuted
        slower = [other for other in self._runners.values() if other.behind is runner]
        for other in slower:
            other.behind, other.is_out = None, False
        many = f"{len(slower)} slower ones race" if len(slower) > 1 else "a slower one races"
        again = f"; {many} again" if slower else ""
        self._note("not confirmed", why + again, runner)
        if self.goal.wants == "fastest":
            self._drop_slower_than_sure()
        self.stopped = None

    def would_ask(self) -> Ask | None:
        """Return what it would have measured next, whether it is over or not."""
        if self.unmeasured and self.stopped == self._no_time:
            return Ask("speed", self.unmeasured)
        unknown = [item.name for item in self._in_race() if item.speedup is None]
        if unknown:
            return Ask("speed", tuple(unknown))
        wanted = {
            "frontier": self._that_move_the_frontier,
            "fastest": self._that_may_be_fastest,
            "target": self._that_may_do,
        }[self.goal.wants]()
        if not wanted:
            return None
        first = min(runner.seen for runner in wanted)
        behind = tuple(runner.name for runner in wanted if runner.seen == first)
        until = next(look for look in self._looks if look > first)
        return Ask("scores", behind, first, until - first)

    def found(self) -> Found:
        """Return what is known so far."""
        left = [item for item in self._fastest_first() if item.loss is not None]
        chosen = next((item for item in left if item.lost.value <= self.goal.max_loss), None)
        sure = next((item for item in left if self._is_surely_within(item)), None)
        on_frontier = frontier.frontier(self._points(), self.goal.max_loss)
        return Found(
            None if chosen is None else chosen.name,
            None if sure is None else sure.name,
            on_frontier,
        )

    def loss_of(self, name: str) -> Estimate | None:
        """Return the loss of a configuration as far as it is known, with its interval."""
        return self._runners[name].loss

    def _that_may_be_fastest(self) -> list[_Runner]:
        """Return the fastest that may be within the bound, down to the first that seems to be."""
        found: list[_Runner] = []
        for runner in self._fastest_first():
            if not self._is_surely_within(runner):
                found.append(runner)
            seems_within = runner.loss is not None and runner.lost.value <= self.goal.max_loss
            if seems_within or sum(not item.seen for item in found) >= _AT_ONCE:
                break
        return self._unfinished(found)

    def _that_may_do(self) -> list[_Runner]:
        """Return the most promising of those that are fast enough; none once one is surely within."""
        left = self._in_race()
        if any(map(self._is_surely_within, left)):
            return []
        seen = [item for item in self._unfinished(left) if item.seen]
        # the slowest that is fast enough is likely to lose least
        unseen = sorted((item for item in left if not item.seen), key=lambda item: item.speed)
        if unseen and not any(item.lost.value <= self.goal.max_loss for item in seen):
            return unseen[:_AT_ONCE]
        return sorted(seen, key=lambda item: (item.lost.value, item.speed))[:1]

    def _that_move_the_frontier(self) -> list[_Runner]:
        """Return those whose loss, within its interval, could still move the frontier."""
        left = self._unfinished(self._in_race())
        unseen = [item for item in left if not item.seen]
        if unseen:
            return unseen
        points = self._points()
        members = frontier.frontier(points, self.goal.max_loss)
        wanted = []
        for runner in left:
            is_member = runner.name in members
            error = self.goal.error if is_member else _ERROR_BEATEN
            runner.is_aside = self._swing(runner, points, error) <= _TOLERANCE
            if is_member and runner.seen < _FEWEST_ON_FRONTIER:
                runner.is_aside = False
            if not runner.is_aside:
                wanted.append(runner)
            runner.is_aside &= not is_member
        return wanted

    def _swing(self, runner: _Runner, points: Mapping[str, frontier.Point], error: float) -> float:
        loss = runner.interval(error)
        if loss.low is None or loss.high is None or runner.name not in points:
            return 1.0
        return frontier.swing(points, runner.name, (loss.low, loss.high), self.goal.max_loss)

    def _points(self) -> dict[str, frontier.Point]:
        known = [
            item for item in self._runners.values() if not item.is_out and item.loss is not None
        ]
        return {
            item.name: (item.speed, item.lost.value)
            for item in known
            if math.isfinite(item.lost.value)
        }

    def _drop_beyond_the_bound(self, runner: _Runner) -> None:
        low, bound = runner.lost.low, self.goal.max_loss
        if low is not None and low > bound:
            self._drop(runner, f"loses {loss_in_words(runner.lost)}, more than {percent(bound)}")

    def _drop_slower_than_sure(self) -> None:
        left = self._fastest_first()
        sure = next((item for item in left if self._is_surely_within(item)), None)
        if sure is None:
            return
        which = f"{sure.name}, {sure.speed:.2f}×, which surely loses at most"
        for runner in left[left.index(sure) + 1 :]:
            why = f"{runner.speed:.2f}×: slower than {which} {percent(self.goal.max_loss)}"
            runner.behind = sure
            self._drop(runner, why)

    def _is_surely_within(self, runner: _Runner) -> bool:
        # of few images the rare bad one may not have come yet
        if runner.seen < FEWEST_IMAGES:
            return False
        return runner.lost.high is not None and runner.lost.high <= self.goal.max_loss

    def _unfinished(self, runners: Iterable[_Runner]) -> list[_Runner]:
        return [item for item in runners if item.seen < self._looks[-1]]

    def _aside(self) -> list[_Runner]:
        return [item for item in self._runners.values() if item.is_aside and not item.is_out]

    def _in_race(self) -> list[_Runner]:
        return [
            item for item in self._runners.values() if not item.is_out and not item.is_passed_over
        ]

    def _fastest_first(self) -> list[_Runner]:
        known = [item for item in self._in_race() if item.speedup is not None]
        return sorted(known, key=lambda item: -item.speed)

    def _drop(self, runner: _Runner, why: str) -> None:
        runner.is_out = True
        self._note("dropped", why, runner)

    def _note(self, what: What, why: str, runner: _Runner | None = None) -> None:
        name, look = (None, 0) if runner is None else (runner.name, runner.seen)
        self.decisions.append(Decision(what, why, self.images, name, look))

    def _why_over(self) -> str:
        found = self.found()
        # of those that are not measured one may be better, but a target is met all the same
        if self._no_time is not None and (self.goal.wants != "target" or found.sure is None):
            return self._no_time
        if self.goal.wants == "frontier" and found.frontier:
            return "no further image could move the frontier by more than " + percent(_TOLERANCE)
        if self.goal.wants != "frontier" and found.sure is not None:
            return f"found {self.goal.in_words()}: {found.sure}{self._open_beside(found.sure)}"
        if self.goal.wants != "frontier" and found.chosen is not None:
            return f"{found.chosen} may be {self.goal.in_words()}: all {self._looks[-1]} prompts were seen"
        seen = [item.lost.value for item in self._in_race() if item.loss is not None]
        if seen and not any(map(math.isfinite, seen)):
            return "the baseline's scores have a mean of zero, of which no share can be lost"
        return f"found nothing; looked for {self.goal.in_words()}"

    def _open_beside(self, sure: str) -> str:
        """Return in words what is faster than the one that surely will do, and may do as well."""
        faster = [item.name for item in self._fastest_first() if item.loss is not None]
        open_ = ", ".join(faster[: faster.index(sure)])
        if not open_ or self.goal.wants != "fastest":
            return ""
        return f"; faster, and perhaps within it after all {self._looks[-1]} prompts: {open_}"
