"""One task from beginning to end: measured, stopped, resumed, repeated."""

import json
import os
import signal
import subprocess
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler

from tests.helpers.tiny_task import (
    COMMAND,
    FLAGS,
    NO_CONTROLS,
    SECTION,
    labels,
    measure,
    read,
    request,
    value,
)
from worker.accelerators import compose
from worker.measure.rounds import call
from worker.measure.task.run import run
from worker.results.file import ResultsFile
from worker.results.statistics import relative_loss, speedup
from worker.search.section import Search

LABELS = [
    "baseline",
    "baseline, other seeds",
    "2 steps",
    "guidance off after 2",
    "DeepCache 2/0",
    "ToMe 0.5/1",
    "T-GATE 2",
]


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
    assert summary["configurations"] == {"planned": 7, "measured": 7, "dropped": 0}
    rows = read(path)[:-1]
    assert summary["images_generated"] == sum(value(row, "images_generated") for row in rows)
    assert summary["gpu_seconds"] == pytest.approx(
        sum(value(row, "gpu_seconds") for row in rows), abs=0.01
    )
    # three prompts in batches of two: one untimed and two timed batches for each of seven
    # configurations, and for the baseline of the second and third block
    assert summary["images_generated"] >= (7 + 2) * 3 * 2
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
    assert summary.images_generated >= (7 + 2) * 3 * 2


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


def test_other_captions_in_the_same_file_are_measured_again(tmp_path):
    file = tmp_path / "c.txt"
    section = {"captions": str(file), "configurations": [], "controls": NO_CONTROLS}
    section["timing"] = {"repeats": 1, "warmup": 0}
    for text in ("a cat", "a house", "a house"):
        file.write_text(text)
        measure(tmp_path / "r.jsonl", section=section, num_samples=1)
    assert labels(tmp_path / "r.jsonl") == ["baseline", "baseline"]


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
    # only what one timed round has found to be faster is worth repeating
    repeated = {label.split(" (")[0] for label in found if "(batch size 1)" in label}
    assert {"baseline", *summary.stability} == repeated
    assert "CUDA out of memory" not in "".join(said)


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
    assert summary.confirmation.configurations.measured >= 1


def test_what_is_confirmed_has_its_controls_beside_it(tmp_path, monkeypatch):
    set_timesteps = DDIMScheduler.set_timesteps

    clock = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)
    monkeypatch.setattr(call, "time", clock)

    def set_slowly(self, steps, *arguments, **options):
        clock.now += 9.0 if steps == 3 else 1.0  # slower than the baseline: on no frontier
        set_timesteps(self, steps, *arguments, **options)

    monkeypatch.setattr(DDIMScheduler, "set_timesteps", set_slowly)
    made, init = [], compose.Accelerated.__init__

    def note(self, pipe, accelerators, *more):
        made.append([*accelerators])
        init(self, pipe, accelerators, *more)

    monkeypatch.setattr(compose.Accelerated, "__init__", note)
    section = {
        "configurations": [{"deepcache": {"cache_interval": 2}}],
        "controls": NO_CONTROLS | {"fewer_steps": [3], "null_arm": True},
        "timing": {"repeats": 1, "warmup": 0},
        "stability": {"num_samples": 1, "batch_sizes": [1], "seeds": [], "prompts": []},
    }
    path = tmp_path / "r.jsonl"
    wanted = replace(request(section, num_samples=2), confirm=2)
    summary = run(wanted, ResultsFile.open(path), "cpu", lambda _line: None)
    assert "3 steps" not in summary.frontier
    assert "3 steps (confirmation)" in labels(path)
    assert "baseline, other seeds (confirmation)" in labels(path)
    assert "3 steps (batch size 1)" not in labels(path), "nothing is held against it there"
    assert made == [[], ["deepcache"]], "once for all studies: each would be compiled again"
