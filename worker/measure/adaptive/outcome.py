"""What a search found and what it cost, as its summary and in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from worker.measure.adaptive.confirming import Verdict, best_of
from worker.measure.adaptive.decisions import loss_in_words
from worker.measure.adaptive.race import Race
from worker.measure.settings import TaskRequest
from worker.results.row import Row
from worker.results.summary import Counts, Summary, gpu_seconds, summarise
from worker.search.configuration import Configuration
from worker.search.plan import Plan


@dataclass(frozen=True)
class Outcome:
    """A search that is over."""

    request: TaskRequest
    plan: Plan
    race: Race
    rows: Sequence[Row]
    """One for each configuration: all looks at it together."""
    confirmed: Sequence[Row]
    """What was measured on prompts that the search did not see."""
    verdicts: Sequence[Verdict]
    """On each that was to be confirmed, in this order."""

    def summary(self) -> Summary:
        """Return what the search found, and what it cost."""
        max_loss = self.request.search.max_loss
        again = summarise(self.confirmed, max_loss) if self.confirmed else None
        everything = [*self.rows, *self.confirmed]
        return replace(
            summarise(self.rows, max_loss),
            images_generated=sum(row.images_generated for row in everything),
            gpu_seconds=gpu_seconds(everything),
            configurations=Counts(
                planned=len(self.plan.configurations),
                measured=len(self.rows),
                dropped=len(self.race.dropped),
            ),
            frontier=self.race.found().frontier,
            # what needs careful timing is answered by the confirmation
            null_arm=None if again is None else again.null_arm,
            told_apart={},
            beats_fewer_steps={},
            beside_load=[],
            best=best_of(self.verdicts),
            confirmation=again,
            search=self._as_json(),
        )

    def in_words(self) -> list[str]:
        """Return what was chosen, by the search and by its confirmation, and what would come next."""
        told = self._as_json()
        lines = []
        if not any(item.keeps for item in self.verdicts):
            tried = ", ".join(item.best.label for item in self.verdicts)
            lines.append(f"confirmed: none{tried and f' of {tried}'}")
        lines += [f"would do next: {told['next']}"] if told["next"] else []
        if "chosen" in told:
            chosen = told["chosen"]
            lines.append(
                f"{chosen['label']}: {chosen['searched']}; confirmed: {chosen['confirmed']}"
            )
        return lines

    def _as_json(self) -> dict[str, Any]:
        """Return what stands under ``search`` in the summary."""
        label = best_of(self.verdicts).label
        best = self._configuration(label)
        plain: dict[str, Any] = {
            "strategy": "adaptive",
            "wanted": self.race.goal.in_words(),
            "stopped": self.race.stopped,
            "next": self._next(),
            "prompts": self.request.num_samples,
            "accelerators": best.as_json()["accelerators"],
        }
        if best.role != "baseline":
            plain["chosen"] = {"label": label, **self._figures(best)}
        if len(self.verdicts) > 1:
            plain["tried"] = [
                {"label": item.best.label, **self._figures(self._configuration(item.best.label))}
                for item in self.verdicts
            ]
        return plain

    def _next(self) -> str | None:
        """Return what more images would be made for, if any."""
        if (ask := self.race.would_ask()) is not None:
            return ask.in_words()
        if any(item.keeps for item in self.verdicts):
            return None
        following = self.race.found().best
        best = best_of(self.verdicts)
        if best.more_images is not None:
            return f"{best.label} on about {best.more_images} more unseen prompts (confirm)"
        return None if following is None else f"the confirmation of {following}"

    def _configuration(self, label: str) -> Configuration:
        return next(item for item in self.plan.configurations if item.label == label)

    def _figures(self, configuration: Configuration) -> dict[str, str | None]:
        judged = next(item for item in self.verdicts if item.best.label == configuration.label)
        return {
            "searched": _in_words(row_of(self.rows, configuration)),
            "confirmed": judged.figures,
        }


def row_of(rows: Sequence[Row], configuration: Configuration) -> Row | None:
    """Return the row of a configuration, None where there is none."""
    return next((row for row in rows if row.key == configuration.key), None)


def _in_words(row: Row | None) -> str | None:
    """Return speed-up and loss, and on how many prompts they were measured."""
    gain, loss = (None, None) if row is None else map(row.estimate_of, ("speedup", "quality_loss"))
    if row is None or gain is None or loss is None:
        return None
    count = len(row.samples.clip_score)
    return f"{gain.value:.2f}×, loss {loss_in_words(loss)} on {count} prompts"
