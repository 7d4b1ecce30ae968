"""The noise scheduler of a task on the model's own configuration: made, tried out, told."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Mapping
from typing import Any

from worker.errors import ConfigurationError, PipelineFailsError, first_line, is_out_of_memory
from worker.models.catalogue import Sched
from worker.types import Opaque, Pipeline

# where the steps go and what noise they have; what else a class leaves out is its own solver's
_TELLING = (
    *("timestep_spacing", "timestep_type", "interpolation_type", "final_sigmas_type"),
    *("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas"),
    *("sigma_min", "sigma_max", "thresholding"),
)


def make_scheduler(sched: Sched, config: Mapping[str, Any]) -> Opaque:
    """Return the noise scheduler with the model's own configuration.

    Raises:
        ConfigurationError: it cannot be right, or the class does not take the configuration.
    """
    refused = sched.refusal(config)
    if refused is not None:
        raise ConfigurationError(refused)
    try:
        return scheduler_class(sched).from_config(dict(config), **dict(sched.options))
    except Exception as error:  # whatever diffusers makes of a value
        raise ConfigurationError(
            f"{sched.name} does not take the model's scheduler configuration "
            f"({_chosen(config)}): {_reason(error)}; name another noise scheduler, or change the "
            "model's scheduler_config.json"
        ) from error


def effective_config(sched: Sched, scheduler: Opaque) -> dict[str, Any]:
    """Return what of its configuration a noise scheduler goes by, as plain data for JSON."""
    taken = _parameters(scheduler_class(sched))
    return {"_class_name": sched.class_name} | {
        name: _plain(value) for name, value in sorted(scheduler.config.items()) if name in taken
    }


def passed_over(sched: Sched, config: Mapping[str, Any]) -> list[str]:
    """Return what of a model's scheduler configuration a noise scheduler does not take.

    Only what differs from the default of the model's own class, and says where steps go or what
    noise they have: solvers have options of their own.
    """
    from diffusers import schedulers

    taken = _parameters(scheduler_class(sched))
    own = getattr(schedulers, str(config.get("_class_name")), None)
    defaults = {} if own is None else _parameters(own)
    return [
        f"{name}: {config[name]}"
        for name in _TELLING
        if config.get(name) and name not in taken and config[name] != defaults.get(name)
    ]


def try_out(pipeline: Pipeline, sched: Sched, steps: int) -> None:
    """Take all steps once with tiny tensors, which is a matter of milliseconds.

    Raises:
        PipelineFailsError: the noise scheduler fails, as it would in the pipeline.
    """
    import torch

    config = pipeline.scheduler.config
    generator = torch.Generator().manual_seed(0)
    arguments = pipeline.prepare_extra_step_kwargs(generator, 0.0)
    trial = type(pipeline.scheduler).from_config(config)
    sample = torch.zeros(1, 4, 2, 2)
    try:
        trial.set_timesteps(steps)
        for timestep in trial.timesteps:
            noise = trial.scale_model_input(sample, timestep)
            sample = trial.step(noise, timestep, sample, **arguments, return_dict=False)[0]
    except Exception as error:  # whatever diffusers makes of this configuration
        if is_out_of_memory(error):
            return  # which is the configuration's own result, once it is measured
        raise PipelineFailsError(
            f"{sched.name} fails in {steps} steps of the model's scheduler configuration "
            f"({_chosen(config)}): {_reason(error)}; name another noise scheduler or number of steps, "
            "or change the model's scheduler_config.json",
            _reason(error),
        ) from error


def scheduler_class(sched: Sched) -> Opaque:
    """Return the noise scheduler's class in diffusers."""
    from diffusers import schedulers

    return getattr(schedulers, sched.class_name)


def _parameters(kind: Opaque) -> dict[str, Any]:
    """Return the names and defaults of a scheduler class's configuration."""
    items = inspect.signature(kind.__init__).parameters.items()
    return {name: parameter.default for name, parameter in items if name != "self"}


def _chosen(config: Mapping[str, Any]) -> str:
    """Return the values that decide most, for a message."""
    names = ("beta_schedule", "prediction_type", "algorithm_type", *_TELLING)
    return ", ".join(f"{name}: {config[name]}" for name in names if config.get(name))


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"


def _plain(value: object) -> object:
    """Return a value as JSON has it; infinities, which it has not, as texts."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    try:
        return json.loads(json.dumps(value, default=_listed))
    except (TypeError, ValueError):
        return str(value)


def _listed(value: Any) -> object:
    """Return the list that an array, such as ``trained_betas`` may be, stands for."""
    return value.tolist()
