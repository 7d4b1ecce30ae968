"""The model's own scheduler configuration under each noise scheduler of the catalogue."""

from __future__ import annotations

import inspect
import json

import diffusers
import pytest
import torch

from tests.helpers.model_folders import UNET, config, renamed, shapes
from tests.helpers.tiny_task import NO_CONTROLS, read
from worker.errors import ConfigurationError
from worker.measure.settings import TaskRequest
from worker.measure.task.run import run
from worker.models.catalogue import SCHEDS, find_pipe, find_sched
from worker.models.loading import load_pipeline
from worker.models.noise_schedule import effective_config, make_scheduler, not_taken, try_out
from worker.models.task import Task
from worker.results.file import ResultsFile
from worker.search.section import Search

SD15 = {
    "_class_name": "PNDMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
}
# of published models: SDXL, SDXL Turbo, SD Turbo, one with zero terminal SNR, DPM++ with Karras' steps
SDXL = SD15 | {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "leading"}
TURBO = SDXL | {"_class_name": "EulerAncestralDiscreteScheduler", "timestep_spacing": "trailing"}
ZERO_SNR = SD15 | {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}
KARRAS = SD15 | {
    "_class_name": "DPMSolverMultistepScheduler",
    "use_karras_sigmas": True,
    "algorithm_type": "sde-dpmsolver++",
    "lambda_min_clipped": float("-inf"),
}
PUBLISHED = {"SD15": SD15, "SDXL": SDXL, "Turbo": TURBO, "zero SNR": ZERO_SNR, "Karras": KARRAS}


@pytest.mark.parametrize("sched", SCHEDS.values(), ids=SCHEDS.keys())
def test_what_the_catalogue_says_of_a_class_is_so(sched):
    taken = inspect.signature(getattr(diffusers, sched.class_name).__init__).parameters
    assert ("rescale_betas_zero_snr" in taken) == sched.zero_snr
    assert ("use_beta_sigmas" in taken) == sched.sigmas


@pytest.mark.parametrize("sched", SCHEDS.values(), ids=SCHEDS.keys())
@pytest.mark.parametrize("published", PUBLISHED.values(), ids=PUBLISHED.keys())
def test_a_published_configuration_is_taken_or_refused(sched, published, load, monkeypatch):
    pipeline = load("SHAPES_SD15")
    if published is ZERO_SNR and not sched.zero_snr:
        with pytest.raises(ConfigurationError, match=f"exclude {sched.name}"):
            make_scheduler(sched, published)
        return
    if published is KARRAS and sched.name == "DEISMultistep":
        with pytest.raises(
            ConfigurationError, match=r"DEISMultistep does not take .*sde-dpmsolver"
        ):
            make_scheduler(sched, published)
        return
    monkeypatch.setattr(pipeline, "scheduler", make_scheduler(sched, published))
    for steps in (sched.min_steps, 20):
        try_out(pipeline, sched, steps)
    told = effective_config(sched, pipeline.scheduler)
    assert told["_class_name"] == sched.class_name
    assert told["beta_schedule"] == "scaled_linear"
    json.dumps(told, allow_nan=False)
    assert told.keys() <= {"_class_name", *inspect.signature(type(pipeline.scheduler)).parameters}


EULER = {"_class_name": "EulerDiscreteScheduler"}
DDIM = {"_class_name": "DDIMScheduler"}
LEFT_OUT = [
    ("DDIM", SD15, {}),
    ("EulerDiscrete", SD15, {}),
    ("DPMSolverMultistep", KARRAS, {}),
    ("PNDM", SDXL, {}),
    ("PNDM", ZERO_SNR, {"rescale_betas_zero_snr": True}),
    ("DPMSolverSinglestep", SD15, {"steps_offset": 1}),
    ("DPMSolverSinglestep", TURBO, {"steps_offset": 1, "timestep_spacing": "trailing"}),
    *((name, KARRAS, {"use_karras_sigmas": True}) for name in ("PNDM", "DDIM")),
    *(
        (name, DDIM | {"thresholding": True, "clip_sample": False}, {"thresholding": True})
        for name in ("PNDM", "EulerDiscrete", "EulerAncestralDiscrete", "HeunDiscrete")
    ),
    # clips, though the file does not say so: it is the default of its class
    *((name, DDIM, {"clip_sample": True}) for name in ("PNDM", "UniPCMultistep")),
    ("HeunDiscrete", DDIM, {}),
    ("DDIM", EULER | {"final_sigmas_type": "sigma_min"}, {"final_sigmas_type": "sigma_min"}),
    ("DDIM", EULER | {"final_sigmas_type": "zero", "sigma_min": None}, {}),
    ("DEISMultistep", EULER | {"sigma_max": 9.0, "use_karras_sigmas": True}, {"sigma_max": 9.0}),
    ("HeunDiscrete", EULER | {"interpolation_type": "log"}, {"interpolation_type": "log"}),
]


@pytest.mark.parametrize(("name", "own", "left_out"), LEFT_OUT)
def test_what_does_something_and_is_not_taken_is_told(name, own, left_out):
    assert not_taken(find_sched(name), own) == left_out


@pytest.mark.parametrize("name", ["DDIM", "EulerDiscrete", "DPMSolverMultistep", "UniPCMultistep"])
def test_noise_alone_tells_a_model_that_predicts_noise_nothing(name, load, monkeypatch):
    """Zero terminal SNR wants another prediction, or steps that leave its last one out."""
    sched, pipeline = find_sched(name), load("SHAPES_SD15")
    config = ZERO_SNR | {"timestep_spacing": "trailing", "prediction_type": "epsilon"}
    monkeypatch.setattr(pipeline, "scheduler", make_scheduler(sched, config))
    with pytest.raises(ConfigurationError, match=r"noise alone .* set prediction_type to v_pred"):
        try_out(pipeline, sched, 6)
    for sound in ({"prediction_type": "v_prediction"}, {"timestep_spacing": "leading"}):
        monkeypatch.setattr(pipeline, "scheduler", make_scheduler(sched, config | sound))
        try_out(pipeline, sched, 6)


CERTAIN = [
    ("DPMSolverMultistep", {"beta_schedule": "squaredcos_cap_v2", "use_karras_sigmas": True}, 20),
    ("PNDM", {"prediction_type": "sample"}, 4),
    ("DPMSolverMultistep", {"algorithm_type": "dpmsolver"}, 4),
    ("DDIM", {"beta_schedule": "sigmoid"}, 4),
    ("DDIM", {"prediction_type": "flow"}, 4),
    ("EulerDiscrete", {"timestep_spacing": "sideways"}, 4),
    ("UniPCMultistep", {"solver_type": "bh7"}, 4),
    ("DDIM", {"num_train_timesteps": 100}, 200),
    ("LCM", {"original_inference_steps": 8}, 9),
    ("DDIM", {"trained_betas": [0.1, 0.2]}, 20),
    ("DDIM", {"beta_start": "a"}, 4),
]


@pytest.mark.parametrize(("name", "values", "steps"), CERTAIN)
def test_what_is_sure_to_fail_is_said_before_anything_is_measured(
    name, values, steps, load, monkeypatch
):
    sched, pipeline = find_sched(name), load("SHAPES_SD15")
    with pytest.raises(ConfigurationError, match=r"scheduler_config\.json$") as refused:
        monkeypatch.setattr(pipeline, "scheduler", make_scheduler(sched, SD15 | values))
        try_out(pipeline, sched, steps)
    assert f"{name} " in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_consistency_model_takes_some_of_the_steps_it_was_distilled_from():
    find_sched("LCM").check_steps(
        inspect.signature(diffusers.LCMScheduler).parameters["original_inference_steps"].default
    )
    with pytest.raises(ConfigurationError, match="LCM takes 1 to 50 steps, found 51"):
        find_sched("LCM").check_steps(51)


def test_a_trial_leaves_the_pipeline_alone(load):
    pipeline = load("SHAPES_SD15", "EulerAncestralDiscrete")
    state, random = dict(vars(pipeline.scheduler)), torch.get_rng_state()
    try_out(pipeline, find_sched("EulerAncestralDiscrete"), 5)
    assert {name: id(value) for name, value in vars(pipeline.scheduler).items()} == {
        name: id(value) for name, value in state.items()
    }
    assert torch.equal(torch.get_rng_state(), random)


def loaded(folder, sched="DDIM"):
    where = {"weights": "pretrained", "device": "cpu", "dtype": torch.float32}
    return load_pipeline(find_pipe("SHAPES_SD15"), find_sched(sched), source=str(folder), **where)


def test_a_model_is_loaded_whatever_its_own_noise_scheduler_and_its_precision(tmp_path):
    """Its own class would not take the configuration; its weights are of two precisions."""
    own = config("scheduler", _class_name="DPMSolverMultistepScheduler", algorithm_type="dpmsolver")
    index = config(
        "",
        scheduler=["diffusers", "DPMSolverMultistepScheduler"],
        feature_extractor=["transformers", "CLIPFeatureExtractor"],
        safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"],
    )
    half = renamed("unet", f"{UNET}.fp16.safetensors")
    pipeline = loaded(shapes(tmp_path / "model", own, index, half))
    assert type(pipeline.scheduler).__name__ == "DDIMScheduler"
    assert {part.dtype for part in (pipeline.unet, pipeline.vae)} == {torch.float32}
    assert pipeline.scheduler.config.steps_offset == 1


def test_what_is_not_taken_stands_in_log_and_row(tmp_path):
    folder = shapes(tmp_path / "model", config("scheduler", timestep_spacing="trailing"))
    section = {
        "models": {"SHAPES_SD15": str(folder)},
        "configurations": [],
        "controls": NO_CONTROLS,
        "timing": {"repeats": 1, "warmup": 0},
    }
    task = Task(find_pipe("SHAPES_SD15"), find_sched("DPMSolverSinglestep"), 2)
    path, said = tmp_path / "r.jsonl", []
    request = TaskRequest(task, Search.model_validate(section), num_samples=1, batch_size=1)
    run(request, ResultsFile.open(path), "cpu", said.append)
    for words in ("timestep_spacing: trailing", "steps_offset: 1"):
        assert (
            f"DPMSolverSinglestep does not take {words} of the model's scheduler configuration"
            in said
        )
    settings = read(path)[0]["settings"]
    assert settings["scheduler_not_taken"] == {"steps_offset": 1, "timestep_spacing": "trailing"}
    assert settings["scheduler_config"]["_class_name"] == "DPMSolverSinglestepScheduler"
    assert "timestep_spacing" not in settings["scheduler_config"]
