"""One task: configurations in, measurements out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

from worker.measure.adaptive.task import run_adaptive
from worker.measure.session import Session
from worker.measure.settings import TaskRequest, settings_of
from worker.measure.staged.stages import measure_untimed
from worker.measure.task.task_run import Say, TaskRun
from worker.results.file import ResultsFile
from worker.results.frontier import frontier
from worker.results.row import Row
from worker.results.summary import Summary, gpu_seconds, in_words, spread, summarise
from worker.search.configuration import Configuration
from worker.search.incompatible import check_task
from worker.search.plan import Plan
from worker.search.studies import Study, confirmation, stability, stages


def run(request: TaskRequest, results: ResultsFile, device: str, say: Say) -> Summary:
    """Measure what is not measured yet, append it, and return the task's summary.

    Args:
        request: the task.
        results: what an earlier attempt measured; rows and the summary are appended.
        device: a torch device.
        say: called with each line for the log.

    Raises:
        WorkerError: the task cannot be run (see its subclasses), or the results not be written.
        OutOfMemoryError: the pipeline or its baseline does not fit on the device.
    """
    check_task(request.task, request.search)
    results.check_writable()
    if request.search.strategy == "adaptive":
        return run_adaptive(request, results, device, say)
    own = Study("", request.num_samples, request.batch_size, seed=request.seed)
    parts = stages(request.search, own, request.confirm) if request.stage == "untimed" else None
    again = list(confirmation(own, request.confirm))
    varied = list(stability(own, request.search.stability))
    asked = replace(request.task, image_size=request.search.image_size)
    with Session(asked, device, say) as session:
        task = TaskRun(request, results, device, session, say)
        # a file that is too short for the last study is to fail before the first
        source = settings_of(request, own, device).captions
        session.prompts(source, max((own, *again, *varied), key=lambda study: study.end))
        plan = task.plan(own)
        for item in plan.left_out:
            say(f"left out: {item.label}: {item.reason}")
        if parts is None:
            measured = task.measure(own, plan.configurations)
        else:
            measured = measure_untimed(task, parts, own, plan.configurations)
        best = _worth_repeating(plan, measured)
        arms = _with_controls(plan, best)
        confirmed = [row for study in again for row in task.measure(study, arms)]
        repeated = {study.name: task.measure(study, best) for study in varied}
        if parts is None:
            measured = task.profile(own, plan.configurations)
    everything = [*measured, *confirmed, *chain.from_iterable(repeated.values())]
    max_loss = request.search.max_loss
    summary = replace(
        summarise(measured, max_loss),
        confirmation=summarise(confirmed, max_loss) if again else None,
        stability=spread(repeated) if varied else None,
        images_generated=sum(row.images_generated for row in everything),
        gpu_seconds=gpu_seconds(everything),
        overhead=None if parts or request.search.timing.is_off else task.overhead,
    )
    results.append({"summary": summary.as_json()})
    for line in in_words(summary):
        say(line)
    return summary


def _worth_repeating(plan: Plan, measured: Sequence[Row]) -> list[Configuration]:
    """Return the baseline and what lies on the frontier (everything, where there is none)."""
    best = {row.label for row in frontier(measured)} or {row.label for row in measured}
    return [item for item in plan.configurations if item.role == "baseline" or item.label in best]


def _with_controls(plan: Plan, best: Sequence[Configuration]) -> list[Configuration]:
    """Return the best, and what judges them: all controls with fewer steps, and the null arm."""
    return [
        item for item in plan.configurations if item in best or item.steps is not None or item.seeds
    ]
