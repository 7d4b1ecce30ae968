"""One task: configurations in, measurements out."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.errors import ConfigurationError, OutOfMemoryError
from worker.measure import rows
from worker.measure.evaluation import EvaluationContext, NonFiniteImagesError, Samples, evaluate
from worker.measure.session import Session
from worker.models.task import Task
from worker.results import environment
from worker.results.file import NON_FINITE, OUT_OF_MEMORY, ResultsFile, Row, is_measurement
from worker.results.summary import frontier, in_words, spread, summarise
from worker.search.configuration import BASELINE, Configuration
from worker.search.incompatible import section_incompatibility
from worker.search.plan import Plan, captions_source, guidance_scale, make_plan
from worker.search.section import Search
from worker.search.studies import Study, confirmation, stability

Say = Callable[[str], None]
Known = dict[tuple[str, str], Row]
"""Rows that hold, by the digest of their settings and their configuration."""


@dataclass(frozen=True)
class Request:
    """What to measure, and with how many images."""

    task: Task
    search: Search
    num_samples: int
    batch_size: int
    seed: int = 0
    confirm: int = 0
    """So many other prompts on which the frontier is measured again."""
    command: str = ""
    """The command that repeats this task by hand."""


def settings_of(request: Request, study: Study, device: str) -> dict[str, Any]:
    """Return everything that a measurement depends on beside its configuration.

    What only chooses configurations or studies (the grids, the controls, the bound) is not in it:
    a changed grid leaves the measurements alone that it still contains.
    """
    task, search = request.task, request.search
    pipe = task.pipe
    clip = (search.clip.model, search.clip.pretrained) if search.clip else pipe.clip
    return {
        "pipe": pipe.name,
        "source": search.models.get(pipe.name, pipe.source),
        "weights": search.weights,
        "sched": task.sched.name,
        "steps": task.steps,
        "image_size": search.image_size or pipe.image_size,
        "guidance_scale": guidance_scale(pipe, search),
        "dtype": search.dtype or ("float16" if device.startswith("cuda") else "float32"),
        "captions": captions_source(pipe, search),
        "clip": list(clip) if search.weights == "pretrained" else None,
        "lpips": search.lpips if search.weights == "pretrained" else None,
        "fid": search.fid if search.weights == "pretrained" else None,
        "num_samples": study.count,
        "first_prompt": study.first_prompt,
        "prompts": study.length,
        "batch_size": study.batch_size,
        "seed": study.seed,
        "pipeline": search.settings.model_dump(),
        "timing": search.timing.model_dump(exclude={"block"}),
    }


def run(request: Request, results: ResultsFile, device: str, say: Say) -> dict[str, Any]:
    """Measure what is not measured yet, append it, and return the task's summary.

    Raises:
        WorkerError: the task cannot be run (see its subclasses), or the results not be written.
        OutOfMemoryError: the pipeline or its baseline does not fit on the device.
    """
    reason = section_incompatibility(request.task.pipe, request.search)
    if reason is not None:
        raise ConfigurationError(f"search.weights: {reason}")
    results.check_writable()
    here = environment.describe(device)
    known = _still_holding(results.rows, here, say)
    own = Study("", request.num_samples, request.batch_size, seed=request.seed)
    again = list(confirmation(own, request.confirm))
    varied = list(stability(own, request.search.stability))
    plan = make_plan(request.task, request.search)
    _announce(plan, say)
    with Session(request.task, request.search, device, say) as session:
        # a file that is too short for the last study is to fail before the first
        source = settings_of(request, own, device)["captions"]
        session.prompts(source, max((own, *again, *varied), key=lambda study: study.end))
        task = TaskRun(request, results, device, here, known, session, say)
        measured = task.measure(own, plan.configurations)
        summary = summarise(measured, request.search.max_loss)
        best = _worth_repeating(plan, measured)
        for study in again:
            confirmed = task.measure(study, _with_fewer_steps(plan, best))
            summary[study.name] = summarise(confirmed, request.search.max_loss)
            measured = measured + confirmed
        if varied:
            found = {study.name: task.measure(study, best) for study in varied}
            summary["stability"] = spread(found)
            measured = measured + [row for part in found.values() for row in part]
        if session.evaluating:
            summary["overhead"] = 1 - session.in_pipeline / session.evaluating
    summary["images_generated"] = sum(rows.images_of(row) for row in measured)
    results.append({"summary": summary})
    for line in in_words(summary):
        say(line)
    return summary


@dataclass(frozen=True)
class TaskRun:
    """What all studies of a task share."""

    request: Request
    results: ResultsFile
    device: str
    here: Mapping[str, Any]
    known: Known
    session: Session
    say: Say

    def measure(self, study: Study, wanted: Sequence[Configuration]) -> list[Row]:
        """Return a row for each configuration, measuring those that have none yet."""
        settings = settings_of(self.request, study, self.device)
        # their text as well: the same file may hold others tomorrow
        settings["prompts_digest"] = _digest(self.session.prompts(settings["captions"], study))
        digest = _digest(settings)
        missing = [item for item in wanted if (digest, item.key) not in self.known]
        done = len(wanted) - len(missing)
        self.say(
            f"{study.name or 'task'}: {len(wanted)} configurations, {done} of them measured before"
        )
        stamp = {
            "absent": rows.absent(settings),
            "settings": settings | {"digest": digest},
            "environment": dict(self.here),
            "reproduce": {
                "command": self.request.command,
                "search": self.request.search.model_dump(mode="json", exclude_defaults=True),
            },
        }
        if missing:
            context = self.session.context(settings, study)
            for block in _blocks(missing, self.request.search.timing.block):
                for row in self._block(context, block, study):
                    self._keep(row | stamp | ({"study": study.name} if study.name else {}), digest)
        return [self.known[digest, item.key] for item in wanted]

    def _block(
        self, context: EvaluationContext, block: list[Configuration], study: Study
    ) -> Iterator[Row]:
        self.say(f"measuring {', '.join(item.label for item in block)}")
        start = time.monotonic()
        try:
            measured = evaluate(context, block, lambda done: self.say(f"  {done}"))
        except (OutOfMemoryError, NonFiniteImagesError) as error:
            if not study.name:
                raise
            # the task itself is measured; that this study cannot be is its result
            failure = OUT_OF_MEMORY if isinstance(error, OutOfMemoryError) else NON_FINITE
            measured = [Samples(item, failure=failure) for item in block]
        self.session.evaluating += time.monotonic() - start
        self.session.in_pipeline += sum(samples.spent for samples in measured)
        for samples in measured:
            yield rows.make_row(samples, measured[0], context.batch_size)

    def _keep(self, row: Row, digest: str) -> None:
        key = (digest, json.dumps(row["configuration"], sort_keys=True))
        if key in self.known:
            return  # the baseline, measured again beside its block
        if "study" in row:
            row = row | {"label": f"{row['label']} ({row['study']})"}
        self.results.append(row)
        self.known[key] = row
        self.say(rows.in_words(row))


def _digest(content: Mapping[str, Any] | Sequence[str]) -> str:
    text = json.dumps(content, sort_keys=True).encode()
    return hashlib.sha256(text).hexdigest()[:16]


def _still_holding(existing: Sequence[Row], here: Mapping[str, Any], say: Say) -> Known:
    """Return the rows that were measured on this machine by these libraries; the newest of each.

    A ratio to a baseline of another GPU, driver or torch would mean nothing.
    """
    known: Known = {}
    unknown = 0
    for row in existing:
        if "configuration" not in row:
            continue  # a summary
        if not is_measurement(row):
            unknown += 1
        elif all(row["environment"].get(key) == here[key] for key in environment.MUST_AGREE):
            configuration = json.dumps(row["configuration"], sort_keys=True)
            known[row["settings"]["digest"], configuration] = row
    if unknown:
        say(f"{unknown} rows of the results file are not in this version's form and do not count")
    return known


def _announce(plan: Plan, say: Say) -> None:
    for item in plan.left_out:
        say(f"left out: {item.label}: {item.reason}")


def _blocks(missing: Sequence[Configuration], size: int) -> Iterator[list[Configuration]]:
    """Yield the baseline with up to ``size`` others, again and again."""
    others = [item for item in missing if item.role != "baseline"]
    for first in range(0, max(1, len(others)), size):
        yield [BASELINE, *others[first : first + size]]


def _worth_repeating(plan: Plan, measured: Sequence[Row]) -> list[Configuration]:
    """Return the baseline and what lies on the frontier (everything, where there is none)."""
    best = {row["label"] for row in frontier(measured)} or {row["label"] for row in measured}
    return [item for item in plan.configurations if item.role == "baseline" or item.label in best]


def _with_fewer_steps(plan: Plan, best: Sequence[Configuration]) -> list[Configuration]:
    """Return the best with all that they have to beat, which the best of them left behind."""
    return [item for item in plan.configurations if item in best or item.steps is not None]
