"""The noise scheduler of a task on the model's own configuration: made, tried out, told."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Mapping
from functools import cache
from typing import Any

from worker.errors import ConfigurationError, PipelineFailsError, first_line, is_out_of_memory
from worker.models.catalogue import SCHEDS, Sched
from worker.types import Opaque, Pipeline

# how one solver goes from step to step: another one goes its own way
_SOLVERS_OWN = frozenset(
    (
        *("algorithm_type", "solver_order", "solver_type", "solver_p", "predict_x0"),
        *("lower_order_final", "euler_at_final", "disable_corrector", "skip_prk_steps"),
        *("variance_type", "lambda_min_clipped", "set_alpha_to_one"),
    )
)
# the default of some classes, and what those that do not take it never do
_ON_BY_DEFAULT = "clip_sample"
# where the steps go and what noise they have: what a message shows
_TELLING = (
    *("rescale_betas_zero_snr", "timestep_spacing", "timestep_type", "final_sigmas_type"),
    *("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas"),
    *("interpolation_type", "sigma_min", "sigma_max", "thresholding"),
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


def not_taken(sched: Sched, config: Mapping[str, Any]) -> dict[str, object]:
    """Return what of a model's scheduler configuration a noise scheduler does not take.

    Only what does something: what is switched on, or differs from the default of the model's own
    class. Solvers have options of their own, which do not count.
    """
    from diffusers import schedulers

    taken = _parameters(scheduler_class(sched))
    own = getattr(schedulers, str(config.get("_class_name")), None)
    defaults = _defaults_anywhere() | ({} if own is None else _parameters(own))
    own_clips = own is not None and _parameters(own).get(_ON_BY_DEFAULT) is True
    effective = ({_ON_BY_DEFAULT: True} if own_clips else {}) | dict(config)
    return {
        name: _plain(value)
        for name, value in effective.items()
        if name not in taken
        and name not in _SOLVERS_OWN
        and not name.startswith("_")
        and value
        and (value != defaults.get(name) or name == _ON_BY_DEFAULT)
    }


def try_out(pipeline: Pipeline, sched: Sched, steps: int) -> None:
    """Take all steps once with tiny tensors, which is a matter of milliseconds.

    Raises:
        PipelineFailsError: the noise scheduler fails, as it would in the pipeline, or begins where
            the model can tell nothing.
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
    _refuse_noise_alone(trial)


def _refuse_noise_alone(scheduler: Opaque) -> None:
    """Refuse steps of which the first says nothing of an image.

    Where the noise schedule ends in noise alone, a model that predicts the noise gives back what it
    was given (Lin et al. 2023, "Common Diffusion Noise Schedules and Sample Steps are Flawed",
    section 3.2). Steps that are spaced so that they leave out the last are not concerned.

    Raises:
        PipelineFailsError: the steps, whose number was set before, are so.
    """
    config = scheduler.config
    if not config.get("rescale_betas_zero_snr") or config.get("prediction_type") != "epsilon":
        return
    if float(scheduler.timesteps.max()) < config.num_train_timesteps - 1:
        return
    said = (
        "its steps begin with noise alone (rescale_betas_zero_snr, timestep_spacing: "
        f"{config.get('timestep_spacing')}), of which a model that predicts the noise "
        "(prediction_type: epsilon) can tell nothing"
    )
    raise PipelineFailsError(
        f"the baseline would make no picture: {said}; in the model's scheduler_config.json set "
        "prediction_type to v_prediction, if the model was trained so, or else "
        "rescale_betas_zero_snr to false",
        said,
    )


def scheduler_class(sched: Sched) -> Opaque:
    """Return the noise scheduler's class in diffusers."""
    from diffusers import schedulers

    return getattr(schedulers, sched.class_name)


def _parameters(kind: Opaque) -> dict[str, Any]:
    """Return the names and defaults of a scheduler class's configuration."""
    items = inspect.signature(kind.__init__).parameters.items()
    return {name: parameter.default for name, parameter in items if name != "self"}


@cache
def _defaults_anywhere() -> dict[str, Any]:
    """Return a default of each parameter of the noise schedulers of the catalogue.

    Configurations keep what other classes wrote into them, which their own class passes over.
    """
    return {
        name: default
        for sched in SCHEDS.values()
        for name, default in _parameters(scheduler_class(sched)).items()
    }


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
