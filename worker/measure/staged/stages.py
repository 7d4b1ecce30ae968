"""The two stages of a task: on its first prompts all is measured, on the others what needs no clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from worker.config.settings import NoTiming
from worker.errors import WorkerError
from worker.measure.adaptive.pooling import pooled
from worker.measure.session import Session
from worker.measure.settings import TaskRequest, settings_of
from worker.measure.task.task_run import TaskRun
from worker.results import statistics
from worker.results.file import ResultsFile
from worker.results.row import MEASURED, Row
from worker.results.statistics import Estimate
from worker.search.configuration import Configuration
from worker.search.studies import Stages, Study, stages


def run_timed_stage(
    request: TaskRequest, results: ResultsFile, device: str, say: Callable[[str], None]
) -> bool:
    """Measure what is timed and not measured yet, and append it.

    Args:
        request: the task.
        results: what an earlier attempt measured; rows are appended.
        device: a torch device.
        say: called with each line for the log.

    Returns:
        whether the other stage is left; False: the task has no stages, and nothing was measured.

    Raises:
        WorkerError: the task cannot be run (see its subclasses), or the results not be written.
        OutOfMemoryError: the pipeline or its baseline does not fit on the device.
    """
    own = Study("", request.num_samples, request.batch_size, seed=request.seed)
    parts = stages(request.search, own, request.confirm)
    if parts is None:
        return False
    results.check_writable()
    asked = replace(request.task, image_size=request.search.image_size)
    with Session(asked, device, say) as session:
        task = TaskRun(request, results, device, session, say)
        session.prompts(settings_of(request, own, device).captions, own)
        plan = task.plan(own)
        for item in plan.left_out:
            say(f"left out: {item.label}: {item.reason}")
        task.measure(parts.timed, plan.configurations)
        task.profile(parts.timed, plan.configurations)
    return True


def measure_untimed(
    task: TaskRun, parts: Stages, own: Study, wanted: Sequence[Configuration]
) -> list[Row]:
    """Return a row for each configuration: its speed of the first stage, its quality of both.

    Args:
        task: the attempt; rows of the timed stage are there.
        parts: the two stages.
        own: both together.
        wanted: all configurations of the task, the baseline first.

    Raises:
        WorkerError: they are not, or models or captions cannot be had, or a row not be written.
        OutOfMemoryError: models do not fit on the device.
    """
    if not task.is_measured(parts.timed, wanted):
        raise WorkerError(
            "what is timed was not measured on this kind of device with this batch size, and is not timed "
            "on one that may be shared: have both stages on one model of GPU (devices.only), or begin anew "
            "with retry --force"
        )
    timed = task.measure(parts.timed, wanted)
    good = [item for item, row in zip(wanted, timed, strict=True) if row.status == MEASURED]
    rest = {row.key: row for row in task.with_timing(NoTiming()).measure(parts.untimed, good)}
    rows = []
    for item, first in zip(wanted, timed, strict=True):
        looks = [first, rest[item.key]] if item.key in rest else [first]
        rows.append(task.add_pooled(pooled(looks, item.label, _loss(looks)), own, first))
    return rows


def _loss(looks: Sequence[Row]) -> Estimate | None:
    """Return the loss on the images of all looks, each beside the baseline's of its prompt."""
    pairs = [pair for row in looks for pair in row.samples.score_pairs()]
    baseline = [beside for beside, _ in pairs]
    if sum(baseline) == 0:  # of a mean score of zero no share can be lost
        return None
    return statistics.relative_loss(baseline, [its for _, its in pairs])
