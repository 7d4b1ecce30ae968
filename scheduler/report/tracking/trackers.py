"""The trackers: each makes or finds the run of a task, logs rows as its steps, and returns when it has them.

Where the server is, and who may write there, each package reads from its own variables
(``MLFLOW_TRACKING_URI``, ``WANDB_MODE``, ``TRACKIO_DIR``, …). A package may raise what it likes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

_LONGEST_NAME = 128  # characters; Weights & Biases takes no more
_MOST_AT_ONCE = 100  # params and tags of one call; MLflow takes no more


@dataclass(frozen=True)
class Run:
    """The run of a task. ``key`` names it for good: what is sent again finds the same run."""

    key: str
    project: str
    sweep: str
    task: str
    params: Mapping[str, str]


@dataclass(frozen=True)
class Step:
    """A measurement: where it stands among those of its run, what it is of, its figures."""

    number: int
    label: str
    metrics: Mapping[str, float]


def send_to_mlflow(run: Run, steps: Sequence[Step]) -> None:
    """Log to MLflow; a step's label is a tag, since its metrics are numbers."""
    # A server that is down is tried again at the next occasion, not for minutes here.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

    client = MlflowClient()
    experiment = client.get_experiment_by_name(run.project)
    where = experiment.experiment_id if experiment else client.create_experiment(run.project)
    found = client.search_runs([where], f"tags.run_key = '{run.key}'", max_results=1)
    if found:
        identity = found[0].info.run_id
    else:
        named = {"run_key": run.key, "sweep": run.sweep, "task": run.task}
        identity = client.create_run(where, tags=named, run_name=run.task).info.run_id
    at = int(time.time() * 1000)
    params = [Param(name, value) for name, value in run.params.items()]
    tags = [RunTag(f"step {step.number}", step.label) for step in steps]
    for start in range(0, max(len(params), len(tags)), _MOST_AT_ONCE):
        part = slice(start, start + _MOST_AT_ONCE)
        client.log_batch(identity, params=params[part], tags=tags[part])
    for step in steps:
        client.log_batch(
            identity, [Metric(name, value, at, step.number) for name, value in step.metrics.items()]
        )
    client.set_terminated(identity)


def send_to_wandb(run: Run, steps: Sequence[Step]) -> None:
    """Log to Weights & Biases, which has the steps when `finish` returns."""
    import wandb

    begun = wandb.init(
        project=run.project,
        group=run.sweep[:_LONGEST_NAME],
        name=run.task[:_LONGEST_NAME],
        id=run.key,
        resume="allow",
        config=dict(run.params),
        settings=wandb.Settings(
            silent=True, console="off", disable_git=True, save_code=False, x_disable_stats=True
        ),
    )
    for step in steps:
        begun.log({**step.metrics, "label": step.label}, step=step.number)
    begun.finish()


def send_to_trackio(run: Run, steps: Sequence[Step]) -> None:
    """Log to Trackio, which finds a run again by its name."""
    import trackio

    trackio.init(
        project=run.project,
        group=run.sweep,
        name=run.task,
        resume="allow",
        config=dict(run.params),
        embed=False,
        auto_log_gpu=False,
        auto_log_cpu=False,
    )
    for step in steps:
        trackio.log({**step.metrics, "label": step.label}, step=step.number)
    trackio.finish()


SENDERS: Mapping[str, Callable[[Run, Sequence[Step]], None]] = {
    "mlflow": send_to_mlflow,
    "wandb": send_to_wandb,
    "trackio": send_to_trackio,
}
