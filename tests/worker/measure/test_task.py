"""One task from beginning to end: measured, stopped, resumed, out of memory."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

from worker.__main__ import main
from worker.accelerators import compose
from worker.accelerators.registry import specs
from worker.errors import ConfigurationError, OutOfMemoryError, WorkerError, is_out_of_memory
from worker.measure import evaluation, rows, session
from worker.measure.samples import Samples
from worker.measure.settings import TaskRequest
from worker.measure.task import run
from worker.metrics.clip import ClipScorer
from worker.metrics.device import Meter, Reading
from worker.models.catalogue import find_pipe, find_sched
from worker.models.random_weights import tiny_pipeline
from worker.models.sources import local_source
from worker.models.task import Task
from worker.results.file import ResultsFile
from worker.results.statistics import relative_loss, speedup
from worker.search.configuration import BASELINE
from worker.search.section import Search

SECTION = {
    "configurations": [
        {"deepcache": {"cache_interval": 2}},
        {"tome": {"ratio": 0.5}},
        {"tgate": {"gate_step": 2}},
    ],
    "controls": {"fewer_steps": [2], "guidance_off": [0.5], "null_arm": True},
    "timing": {"repeats": 2, "block": 2, "warmup": 1},
}
NO_CONTROLS = {"fewer_steps": [], "guidance_off": [], "null_arm": False}
LABELS = [
    "baseline",
    "baseline, other seeds",
    "2 steps",
    "guidance off after 2",
    "DeepCache 2/0",
    "ToMe 0.5/1",
    "T-GATE 2",
]
COMMAND = [sys.executable, "-m", "worker", "search"]
FLAGS = ["--pipe", "TINY_SD15", "--sched", "DDIM", "--steps", "4"]
FLAGS += ["--num-samples", "3", "--batch-size", "2"]


def request(section=SECTION, num_samples=3, batch_size=2, steps=4):
    task = Task(find_pipe("TINY_SD15"), find_sched("DDIM"), steps)
    return TaskRequest(task, Search.model_validate(section), num_samples, batch_size)


def measure(path, say=lambda _line: None, **changes):
    return run(request(**changes), ResultsFile.open(path), "cpu", say)


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def value(line, name):
    """Return the metric of that name on a line of a results file, or None."""
    return next((entry["value"] for entry in line["metrics"] if entry["name"] == name), None)


def labels(path):
    return [row["label"] for row in read(path) if "label" in row]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, model_cache):
    """Return the results file of a task that ran as a scheduler runs it, and what it printed."""
    folder = tmp_path_factory.mktemp("finished")
    spec = folder / "spec.json"
    spec.write_text(json.dumps({"task": "t", "matrix": {}, "args": {}, "search": SECTION}))
    results = folder / "t.jsonl"
    environment = os.environ | {
        "SWEEP_TASK": "t",
        "SWEEP_SPEC": str(spec),
        "SWEEP_RESULTS": str(results),
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run([*COMMAND, *FLAGS], env=environment, capture_output=True, text=True)
    return results, done


def test_a_task_as_a_scheduler_runs_it(finished):
    path, done = finished
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "Successfully completed"
    for pattern in ("Traceback", "RuntimeError", "CUDA out of memory"):
        assert pattern not in done.stdout + done.stderr
    assert labels(path) == LABELS


def test_rows_say_all_that_the_schema_promises(finished):
    path, _ = finished
    measured = read(path)[:-1]
    assert [row["role"] for row in measured] == ["baseline", *["control"] * 3, *["candidate"] * 3]
    for row in measured:
        assert row["status"] == "measured"
        assert row["environment"]["threads"] == 1
        assert "worker search --pipe TINY_SD15" in row["reproduce"]["command"]
        again = Search.model_validate(row["reproduce"]["search"])
        assert again == Search.model_validate(SECTION)
        for metric in row["metrics"]:
            assert set(metric) == {"name", "value", "low", "high", "unit", "better"}
        assert value(row, "clip_score") is not None
        assert (value(row, "speedup") is None) == (row["role"] == "baseline")
        samples = row["samples"]
        assert (len(samples["seconds"]), len(samples["clip_score"])) == (2, 3)
        if row["role"] != "baseline":
            # each row can be computed again from what stands in it alone
            pairs = samples["baseline_clip_score"], samples["clip_score"]
            assert relative_loss(*pairs).value == value(row, "quality_loss")
            pairs = samples["baseline_seconds"], samples["seconds"]
            assert speedup(*pairs).value == value(row, "speedup")
    assert measured[4]["configuration"]["accelerators"] == {
        "deepcache": {"cache_interval": 2, "cache_branch_id": 0}
    }


def test_the_last_line_is_the_summary(finished):
    path, _ = finished
    summary = read(path)[-1]["summary"]
    # three prompts in batches of two: two timed batches for each of seven configurations
    assert summary["images_generated"] == 7 * 4
    assert summary["configurations"] == 7
    assert summary["out_of_memory"] == []


def test_a_finished_task_measures_nothing_again(finished, tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_bytes(finished[0].read_bytes())
    torch.set_num_threads(1)
    said = []
    measure(path, said.append)
    assert "task: 7 configurations, 7 of them measured before" in said
    assert labels(path) == LABELS


def test_a_killed_task_goes_on_where_it_was(tmp_path):
    # names as Linux has them: not all of them are text
    path = tmp_path / os.fsdecode(b"t\xff.jsonl")
    section = tmp_path / os.fsdecode(b"search\xff.yaml")
    section.write_text(json.dumps({"search": SECTION}))
    command = [*COMMAND, *FLAGS, "--results", str(path), "--search", str(section)]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as worker:
        for line in worker.stdout:
            if line.startswith("2 steps:"):
                worker.send_signal(signal.SIGKILL)
    assert worker.returncode == -signal.SIGKILL
    before = path.read_bytes()
    path.write_bytes(before + b'{"role": "candi')
    torch.set_num_threads(1)
    said = []
    summary = measure(path, said.append)
    assert any("cut off" in notice for notice in ResultsFile.open(path).notices)
    assert path.read_bytes().startswith(before)
    whole = [json.loads(line) for line in path.read_bytes().splitlines() if line[-1:] == b"}"]
    assert [row["label"] for row in whole if "label" in row] == LABELS
    assert summary.images_generated == 7 * 4


def test_a_changed_grid_leaves_the_rest_alone(tmp_path):
    path = tmp_path / "t.jsonl"
    small = SECTION | {"controls": NO_CONTROLS}
    measure(path, section=small | {"configurations": [{"deepcache": {"cache_interval": 2}}]})
    measure(path, section=small | {"configurations": [{"deepcache": {"cache_interval": [2, 3]}}]})
    assert labels(path) == ["baseline", "DeepCache 2/0", "DeepCache 3/0"]


@pytest.mark.parametrize("change", [{"batch_size": 1}, {"num_samples": 2}])
def test_a_changed_setting_measures_again_with_its_own_baseline(tmp_path, change):
    path = tmp_path / "t.jsonl"
    small = {"configurations": [], "timing": {"repeats": 1, "warmup": 0}}
    small["controls"] = NO_CONTROLS
    measure(path, section=small)
    measure(path, section=small, **change)
    assert labels(path) == ["baseline", "baseline"]


@pytest.mark.parametrize(
    "changed", [{"device": "another"}, {"driver": "another"}, {"versions": {"torch": "2.0"}}]
)
def test_a_baseline_of_another_machine_is_not_used(tmp_path, changed):
    path = tmp_path / "t.jsonl"
    small = {"configurations": [], "timing": {"repeats": 1, "warmup": 0}}
    small["controls"] = NO_CONTROLS
    measure(path, section=small)
    row = read(path)[0]
    row["environment"] |= changed
    path.write_text(json.dumps(row) + "\n")
    measure(path, section=small)
    assert labels(path) == ["baseline", "baseline"]


def damaged(row, *keys, value=None):
    """Return the row without what the keys lead to, or with a value in its place."""
    *path, last = keys
    at = row
    for key in path:
        at = at[key]
    if value is None:
        del at[last]
    else:
        at[last] = value
    return row


@pytest.mark.parametrize(
    "damage",
    [
        *(["samples"], ["metrics"], ["status"], ["role"], ["label"]),
        ["metrics", 0, "name"],
        {"keys": ["metrics", 0, "value"], "value": "fast"},
        {"keys": ["settings", "digest"], "value": ["a list"]},
        {"keys": ["environment"], "value": ["a list"]},
    ],
)
def test_rows_in_another_versions_form_do_not_count(tmp_path, damage):
    path, said = tmp_path / "t.jsonl", []
    small = {"configurations": [], "timing": {"repeats": 1, "warmup": 0}}
    small["controls"] = NO_CONTROLS
    measure(path, section=small)
    damage = damage if isinstance(damage, dict) else {"keys": damage}
    row = damaged(read(path)[0], *damage["keys"], value=damage.get("value"))
    path.write_text(json.dumps(row) + "\n")
    measure(path, said.append, section=small)
    assert "1 rows of the results file are not in this version's form and do not count" in said
    assert read(path)[1]["label"] == "baseline"


class TooLarge:
    """An accelerator that needs more memory than there is."""

    def __init__(self, **_parameters):
        pass

    def prepare(self, pipe, clock):
        pass

    def install(self):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 TiB")

    def begin(self, seed):
        pass

    def step(self):
        pass

    def remove(self):
        pass


def replace_accelerator(monkeypatch, name, made):
    monkeypatch.setattr(specs()[name], "make", lambda values: made(**values))


def test_one_configuration_out_of_memory_does_not_stop_the_next(tmp_path, monkeypatch):
    replace_accelerator(monkeypatch, "tome", TooLarge)
    path = tmp_path / "t.jsonl"
    said = []
    summary = measure(path, said.append)
    assert summary.out_of_memory == ["ToMe 0.5/1"]
    status = {row["label"]: row["status"] for row in read(path)[:-1]}
    assert status["ToMe 0.5/1"] == "out of memory"
    assert status["T-GATE 2"] == "measured"
    text = path.read_text() + "\n".join(said)
    assert "CUDA out of memory" not in text
    assert "RuntimeError" not in text


class TooLargeToDecode(TooLarge):
    """An accelerator under which the images cannot be decoded for want of memory."""

    def prepare(self, pipe, clock):
        self.vae = pipe.vae

    def install(self):
        self.vae.decode = lambda *_arguments, **_options: TooLarge.install(self)

    def remove(self):
        del self.vae.decode


def test_half_decoded_images_leave_the_decoder_as_it_was(tmp_path, monkeypatch):
    """In half precision SDXL's pipeline decodes in single precision, and casts back afterwards."""
    replace_accelerator(monkeypatch, "tome", TooLargeToDecode)
    section = {
        "configurations": [
            {"tome": {"ratio": 0.5, "max_downsample": 2}},
            {"tgate": {"gate_step": 1}},
        ],
        "controls": NO_CONTROLS,
        "dtype": "float16",
        "timing": {"repeats": 1},
    }
    task = Task(find_pipe("TINY_SDXL"), find_sched("DDIM"), 2)
    results = ResultsFile.open(tmp_path / "r.jsonl")
    run(TaskRequest(task, Search.model_validate(section), 1, 1), results, "cpu", lambda _: None)
    status = {row["label"]: row["status"] for row in results.lines if "label" in row}
    assert status == {"baseline": "measured", "ToMe 0.5/2": "out of memory", "T-GATE 1": "measured"}


def test_a_control_out_of_memory_does_not_stop_the_next(tmp_path, monkeypatch):
    set_timesteps = DDIMScheduler.set_timesteps

    def set_few(self, steps, *arguments, **options):
        if steps == 3:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 TiB")
        set_timesteps(self, steps, *arguments, **options)

    monkeypatch.setattr(DDIMScheduler, "set_timesteps", set_few)
    section = SECTION | {"controls": NO_CONTROLS | {"fewer_steps": [3]}}
    summary = measure(tmp_path / "t.jsonl", section=section)
    assert summary.out_of_memory == ["3 steps"]
    assert summary.configurations == 5


@pytest.mark.parametrize(
    "words",
    [
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes",
        "InductorError: OutOfMemoryError: CUDA out of memory. Tried to allocate 1 GiB",
    ],
)
def test_memory_runs_out_in_many_words(words):
    assert is_out_of_memory(RuntimeError(words))
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access"))


class Overflowing(TooLarge):
    """An accelerator that overflows."""

    def prepare(self, pipe, clock):
        self.unet = pipe.unet

    def install(self):
        self.hook = self.unet.register_forward_hook(lambda _module, _in, out: (out[0] * torch.nan,))

    def remove(self):
        self.hook.remove()


def test_images_with_nan_are_no_result(tmp_path, monkeypatch):
    replace_accelerator(monkeypatch, "deepcache", Overflowing)
    path = tmp_path / "t.jsonl"
    summary = measure(path)
    status = {row["label"]: row["status"] for row in read(path)[:-1]}
    assert status["DeepCache 2/0"] == "images contain NaN or Inf"
    assert status["T-GATE 2"] == "measured"
    assert summary.non_finite == ["DeepCache 2/0"]
    assert summary.best is None or summary.best.label != "DeepCache 2/0"


def test_a_baseline_that_overflows_is_a_mistake_of_the_section(tmp_path):
    with pytest.raises(ConfigurationError, match=r"contain NaN or Inf in torch\.float16"):
        measure(tmp_path / "t.jsonl", section={"dtype": "float16", "guidance_scale": 1e6})


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        ("--pipe SDLX --sched DDIM --steps 4", 2, "did you mean SDXL"),
        ("--pipe TINY_SD15 --sched DDMI --steps 4", 2, "did you mean DDIM"),
        ("--pipe TINY_SD15 --sched PNDM --steps 1", 2, "takes 2 to 999 steps"),
        ("--pipe TINY_SD15 --sched DDIM --steps 0", 2, "whole number from 1 on"),
        ("--pipe TINY_SD15 --sched DDIM --steps 4 --search nowhere.yaml", 2, "cannot be read"),
    ],
)
def test_mistakes_get_one_sentence(tmp_path, flags, code, words):
    done = subprocess.run(
        [*COMMAND, *flags.split(), "--results", str(tmp_path / "r.jsonl")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_too_few_captions(tmp_path):
    file = tmp_path / "c.txt"
    file.write_text("one\ntwo\n")
    section = SECTION | {"captions": str(file)}
    with pytest.raises(ConfigurationError, match="has 2 captions, but the task needs 3"):
        measure(tmp_path / "r.jsonl", section=section)
    # for the confirmation as well, before anything is measured
    wanted = replace(request(section, num_samples=2), confirm=2)
    with pytest.raises(ConfigurationError, match="has 2 captions, but the task needs 4"):
        run(wanted, ResultsFile.open(tmp_path / "r.jsonl"), "cpu", lambda _line: None)
    assert read(tmp_path / "r.jsonl") == []


def test_other_captions_in_the_same_file_are_measured_again(tmp_path):
    file = tmp_path / "c.txt"
    section = {"captions": str(file), "configurations": [], "controls": NO_CONTROLS}
    section["timing"] = {"repeats": 1, "warmup": 0}
    for text in ("a cat", "a house", "a house"):
        file.write_text(text)
        measure(tmp_path / "r.jsonl", section=section, num_samples=1)
    assert labels(tmp_path / "r.jsonl") == ["baseline", "baseline"]


def test_scores_that_do_not_fit_end_the_attempt_in_a_sentence(tmp_path, monkeypatch):
    def score(_self, _images, _captions):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 TiB")

    monkeypatch.setattr(ClipScorer, "score", score)
    small = {"configurations": [], "controls": NO_CONTROLS, "timing": {"repeats": 1, "warmup": 0}}
    with pytest.raises(OutOfMemoryError, match="the CLIP/LPIPS/FID scorer does not fit"):
        measure(tmp_path / "r.jsonl", section=small, num_samples=1)


@pytest.mark.parametrize("status", ["out of memory", "images contain NaN or Inf"])
def test_a_study_that_cannot_be_is_a_result_of_its_own(tmp_path, monkeypatch, status):
    decode = AutoencoderKL.decode

    def decode_few(self, latents, *arguments, **options):
        if len(latents) > 2 and status == "out of memory":
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 TiB")
        (images,) = decode(self, latents, *arguments, **options)
        return (images * torch.nan if len(latents) > 2 else images,)

    monkeypatch.setattr(AutoencoderKL, "decode", decode_few)
    section = {
        "configurations": [{"deepcache": {"cache_interval": 2}}],
        "controls": NO_CONTROLS,
        "timing": {"repeats": 1, "warmup": 0},
        "stability": {"num_samples": 1, "batch_sizes": [4, 1], "seeds": [], "prompts": []},
    }
    path, said = tmp_path / "r.jsonl", []
    summary = measure(path, said.append, section=section, num_samples=2)
    found = {row["label"]: row["status"] for row in read(path)[:-1]}
    assert found["baseline (batch size 4)"] == status
    assert found["baseline (batch size 1)"] == "measured"
    assert "DeepCache 2/0" in summary.stability
    assert "CUDA out of memory" not in "".join(said)


def test_a_model_folder_without_safetensors(tmp_path):
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(ConfigurationError, match=r"holds no \.safetensors file"):
        measure(tmp_path / "r.jsonl", section={"models": {"TINY_SD15": str(tmp_path)}})


def of_tiny_sd15(folder):
    shutil.copytree(tiny_pipeline("sd15"), folder)
    return folder


def cut_off(folder):
    file = of_tiny_sd15(folder) / "text_encoder" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    return "cannot be loaded"


def with_no_index(folder):
    (of_tiny_sd15(folder) / "model_index.json").write_text("[]")
    return "cannot be loaded"


def without_tokenizer(folder):
    shutil.rmtree(of_tiny_sd15(folder) / "tokenizer")
    return "holds neither vocab.json nor tokenizer.json"


def of_other_blocks(folder):
    shutil.copytree(local_source("package:shapes/weights/sd15"), folder)
    return "its UNet has 3 blocks of 1 layers.*TINY_SD15's has 4 blocks of 2"


def without_middle_block(folder):
    of_tiny_sd15(folder)
    config = UNet2DConditionModel.load_config(folder / "unet")
    unet = UNet2DConditionModel.from_config(config | {"mid_block_type": None})
    unet.save_pretrained(folder / "unet")
    return "without a middle block"


def of_sdxl(folder):
    shutil.copytree(tiny_pipeline("sdxl"), folder)
    return "3 blocks.*with pooled text"


@pytest.mark.parametrize(
    "make",
    [cut_off, with_no_index, without_tokenizer, of_other_blocks, without_middle_block, of_sdxl],
)
def test_a_model_folder_that_is_not_what_it_should_be(tmp_path, make):
    folder = tmp_path / "model"
    words = make(folder)
    with pytest.raises(ConfigurationError, match=words):
        measure(tmp_path / "r.jsonl", section={"models": {"TINY_SD15": str(folder)}})


def test_a_folder_of_sd15_is_no_sdxl(tmp_path):
    task = Task(find_pipe("TINY_SDXL"), find_sched("DDIM"), 4)
    section = SECTION | {"models": {"TINY_SDXL": str(tiny_pipeline("sd15"))}}
    wanted = replace(request(section), task=task)
    with pytest.raises(ConfigurationError, match=r"it lacks text_encoder_2|cannot be loaded"):
        run(wanted, ResultsFile.open(tmp_path / "r.jsonl"), "cpu", lambda _line: None)


def test_what_cannot_be_built_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match="'built:sd51' cannot be built"):
        measure(tmp_path / "r.jsonl", section={"models": {"TINY_SD15": "built:sd51"}})


def test_a_scorer_that_open_clip_does_not_know(tmp_path):
    section = {"clip": {"model": "ViT-g-15", "pretrained": "laion2b_s34b_b88k"}}
    with pytest.raises(ConfigurationError, match=r"search\.clip\.model"):
        measure(tmp_path / "r.jsonl", section=section)
    section = {"clip": {"model": "ViT-g-14", "pretrained": "nothing"}}
    with pytest.raises(ConfigurationError, match="laion2b_s34b_b88k"):
        measure(tmp_path / "r.jsonl", section=section)


def test_confirmation_and_stability_use_other_prompts_and_conditions(tmp_path):
    path = tmp_path / "r.jsonl"
    section = {
        "configurations": [{"deepcache": {"cache_interval": 2}}],
        "controls": NO_CONTROLS,
        "timing": {"repeats": 1, "warmup": 0},
        "stability": {"num_samples": 2, "batch_sizes": [1], "seeds": [9], "prompts": ["long"]},
    }
    wanted = replace(request(section), confirm=2)
    summary = run(wanted, ResultsFile.open(path), "cpu", lambda _line: None)
    studies = [row.get("study") for row in read(path)[:-1]]
    assert studies[:3] == [None, None, "confirmation"]
    assert {"batch size 1", "seed 9", "long prompts"} <= set(studies)
    confirmed = next(row for row in read(path) if row.get("study") == "confirmation")
    assert confirmed["settings"]["first_prompt"] == 3
    assert confirmed["label"] == "baseline (confirmation)"
    assert set(summary.stability) <= {"DeepCache 2/0"}
    assert summary.confirmation.configurations >= 1


def test_what_is_confirmed_has_fewer_steps_to_beat(tmp_path, monkeypatch):
    set_timesteps = DDIMScheduler.set_timesteps

    clock = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)
    monkeypatch.setattr(evaluation, "time", clock)

    def set_slowly(self, steps, *arguments, **options):
        clock.now += 9.0 if steps == 3 else 1.0  # slower than the baseline: on no frontier
        set_timesteps(self, steps, *arguments, **options)

    monkeypatch.setattr(DDIMScheduler, "set_timesteps", set_slowly)
    made, init = [], compose.Accelerated.__init__

    def note(self, pipe, accelerators, compiled):
        made.append([*accelerators])
        init(self, pipe, accelerators, compiled)

    monkeypatch.setattr(compose.Accelerated, "__init__", note)
    section = {
        "configurations": [{"deepcache": {"cache_interval": 2}}],
        "controls": NO_CONTROLS | {"fewer_steps": [3]},
        "timing": {"repeats": 1, "warmup": 0},
        "stability": {"num_samples": 1, "batch_sizes": [1], "seeds": [], "prompts": []},
    }
    path = tmp_path / "r.jsonl"
    wanted = replace(request(section, num_samples=2), confirm=2)
    summary = run(wanted, ResultsFile.open(path), "cpu", lambda _line: None)
    assert "3 steps" not in summary.frontier
    assert "3 steps (confirmation)" in labels(path)
    assert "3 steps (batch size 1)" not in labels(path), "nothing is held against it there"
    assert made == [[], ["deepcache"]], "once for all studies: each would be compiled again"


PLAN = [sys.executable, "-m", "worker", "plan", "--pipe", "SDXL", "--sched", "DDIM", "--steps"]


def test_plan_says_what_is_left_out():
    done = subprocess.run([*PLAN, "10"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "candidate  T-GATE 4" in done.stdout
    done = subprocess.run([*PLAN, "1"], capture_output=True, text=True)
    assert "so it is measured as 'baseline'" in done.stdout


@pytest.mark.parametrize("command", [["--help"], ["plan", "--help"], [*PLAN[3:], "10"]])
def test_a_reader_that_has_seen_enough(command):
    """As `python -m worker … | head`: no traceback."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [*PLAN[:3], *command], stdout=write_end, stderr=subprocess.PIPE, env=environment, text=True
    )
    os.close(write_end)
    assert "Traceback" not in done.stderr, done.stderr
    assert "BrokenPipe" not in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "max_loss: 0.05\nmax_loss: 0.5",
            "line 2: duplicate key 'max_loss'; it is on line 1 already",
        ),
        ("max_loss: 2020-13-45", "search.max_loss: "),
        (f"seed: {'9' * 5000}", "line 1: seed: 9999"),
        ("[" * 300, "line 1: is nested more than 100 levels deep"),
    ],
)
def test_what_is_wrong_with_a_search_file(tmp_path, capsys, text, words):
    (tmp_path / "search.yaml").write_text(text)
    flags = ["--pipe", "TINY_SD15", "--sched", "DDIM", "--steps", "4"]
    assert main(["plan", *flags, "--search", str(tmp_path / "search.yaml")]) == 2
    assert words in capsys.readouterr().err


def test_a_sweep_file_without_a_search_section_has_the_defaults(tmp_path, capsys):
    (tmp_path / "sweep.yaml").write_text("matrix: {pipe: [SD15]}")
    flags = ["--pipe", "TINY_SD15", "--sched", "DDIM", "--steps", "4"]
    assert main(["plan", *flags, "--search", str(tmp_path / "sweep.yaml")]) == 0
    assert "candidate  DeepCache 2/0" in capsys.readouterr().out


def test_energy_is_of_the_batches_that_it_is_known_of():
    readings = [Reading(joules=200.0), Reading(), Reading(joules=200.0), Reading()]
    samples = Samples(BASELINE, seconds=[2.0] * 4, readings=readings, images=8)
    row = rows.make_measurement(samples, samples, batch_size=2)
    assert row.value_of("energy_per_image") == 100
    assert row.value_of("mean_power") == 100


def test_of_a_score_below_zero_no_share_can_be_lost():
    base, other = (
        Samples(BASELINE, seconds=[1.0] * 2, readings=[Reading()] * 2, clip=clip)
        for clip in ([-2.0, -2.0], [-1.0, -1.0])
    )
    row = rows.make_measurement(other, base, batch_size=1)
    assert row.value_of("speedup") == 1
    assert row.value_of("quality_loss") is None


def test_a_plan_that_cannot_be_run_is_none(tmp_path, capsys):
    (tmp_path / "search.yaml").write_text("weights: random")
    flags = ["--pipe", "TINY_SD15", "--sched", "DDIM", "--steps", "4"]
    assert main(["plan", *flags, "--search", str(tmp_path / "search.yaml")]) == 2
    said = capsys.readouterr()
    assert "search.weights" in said.err
    assert said.out == ""


@torch.no_grad()
def change_a_weight(unet):
    unet.conv_in.weight.mul_(1.001)


def leave_a_hook(unet):
    unet.mid_block.register_forward_hook(lambda *_: None)


def change_a_setting(unet):
    unet.conv_norm_out.eps = 1e3


@pytest.mark.parametrize("warmup", [0, 1])
@pytest.mark.parametrize("leave", [change_a_weight, leave_a_hook, change_a_setting])
def test_an_accelerator_that_leaves_something_behind_is_noticed(
    tmp_path, monkeypatch, leave, warmup
):
    class Leaking(TooLarge):
        def prepare(self, pipe, clock):
            self.unet = pipe.unet

        def install(self):
            leave(self.unet)

    replace_accelerator(monkeypatch, "deepcache", Leaking)
    section = SECTION | {"configurations": [{"deepcache": {"cache_interval": 2}}]}
    section |= {"controls": NO_CONTROLS, "timing": {"repeats": 1, "warmup": warmup}}
    with pytest.raises(WorkerError, match="an accelerator was not undone"):
        measure(tmp_path / "r.jsonl", section=section, num_samples=2)
    assert read(tmp_path / "r.jsonl") == []


def test_a_baseline_that_does_not_fit_ends_the_attempt(tmp_path):
    """With the real allocator's real words, which a scheduler's judgement looks for."""
    section = tmp_path / "search.yaml"
    section.write_text(json.dumps({"image_size": 40960, "timing": {"warmup": 0}}))
    path = tmp_path / "r.jsonl"
    done = subprocess.run(
        [*COMMAND, *FLAGS, "--results", str(path), "--search", str(section)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30)),
    )
    assert done.returncode == 1
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("error: the baseline does not fit into the device's memory")
    assert "OutOfMemoryError" in sentence
    assert "can't allocate memory" in sentence
    assert "Successfully completed" not in done.stdout
    assert labels(path) == [] if path.exists() else True


class DisturbedOnce(Meter):
    """A meter that sees another process during the first stretch."""

    stretches = 0

    def stop(self):
        self.stretches += 1
        return Reading(spoiled="another process used the GPU" if self.stretches == 3 else None)


class DisturbedAlways(Meter):
    """A meter that sees another process all the time."""

    def stop(self):
        return Reading(spoiled="another process used the GPU")


def test_a_disturbance_that_stays_is_waited_for_once(tmp_path, monkeypatch):
    monkeypatch.setattr(session, "Meter", DisturbedAlways)
    small = {"configurations": [], "timing": {"repeats": 3, "warmup": 0}}
    small["controls"] = {"fewer_steps": [], "guidance_off": [], "null_arm": False}
    measure(tmp_path / "r.jsonl", section=small)
    (row,) = read(tmp_path / "r.jsonl")[:-1]
    assert value(row, "timed_batches") == value(row, "batches_disturbed") == 3
    assert value(row, "batches_retaken") == 2


def test_a_disturbed_batch_is_timed_again(tmp_path, monkeypatch):
    monkeypatch.setattr(session, "Meter", DisturbedOnce)
    small = {"configurations": [], "timing": {"repeats": 2, "warmup": 1}}
    small["controls"] = NO_CONTROLS
    measure(tmp_path / "r.jsonl", section=small)
    (row,) = read(tmp_path / "r.jsonl")[:-1]
    assert value(row, "batches_retaken") == 1
    assert value(row, "timed_batches") == 2
    assert value(row, "batches_disturbed") is None


@pytest.mark.parametrize(
    "settings",
    [{"attention": "plain"}, {"channels_last": True}, {"fused_qkv": True}, {"vae_slicing": True}],
)
def test_settings_change_no_image_and_suit_every_accelerator(tmp_path, settings):
    """What is no trade-off gives the same images, but for rounding."""
    section = SECTION | {"controls": NO_CONTROLS}
    section |= {"timing": {"repeats": 1, "warmup": 0, "block": 3}}
    measure(tmp_path / "plain.jsonl", section=section, num_samples=2)
    measure(tmp_path / "set.jsonl", section=section | {"settings": settings}, num_samples=2)
    for before, after in zip(
        read(tmp_path / "plain.jsonl"), read(tmp_path / "set.jsonl"), strict=True
    ):
        if "summary" not in before:
            assert before["label"] == after["label"]
            assert before["settings"]["digest"] != after["settings"]["digest"]
            scores = [value(row, "clip_score") for row in (before, after)]
            assert scores[0] == pytest.approx(scores[1], abs=0.05)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({}, "the data set phiyodr/coco2017 is not in the local cache"),
        ({"captions": "package:captions/tiny.txt"}, "the CLIP weights ViT-g-14"),
        (
            {"captions": "package:captions/tiny.txt", "clip": {"model": "built:tiny-clip"}},
            "the model stabilityai/stable-diffusion-xl-base-1.0",
        ),
    ],
)
def test_what_the_hub_cannot_give_now_may_come_later(tmp_path, section, words):
    file = tmp_path / "search.yaml"
    file.write_text(json.dumps(section))
    flags = ["--pipe", "SDXL", "--sched", "DDIM", "--steps", "4", "--search", str(file)]
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub"), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*COMMAND, *flags, "--results", str(tmp_path / "r.jsonl")],
        capture_output=True,
        text=True,
        env=os.environ | offline,
    )
    assert done.returncode == 75
    assert words in done.stderr
    for pattern in ("Traceback", "RuntimeError"):
        assert pattern not in done.stdout + done.stderr
