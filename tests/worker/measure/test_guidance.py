"""A model whose UNet is told the guidance scale is measured as what it is: not guided."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.guidance_embedding import guidance_embedding
from tests.helpers.tiny_task import NO_CONTROLS, labels, measure, read, request
from worker.commands.main import main
from worker.measure.task import task_run
from worker.measure.task.run import run
from worker.models.catalogue import find_sched
from worker.models.random_weights import tiny_pipeline
from worker.results.file import ResultsFile

SECTION = {
    "configurations": [
        {"tgate": {"gate_step": 2}},
        {"deepcache": {"cache_interval": 2}, "tome": {"ratio": 0.5}, "tgate": {"gate_step": 2}},
    ],
    "controls": NO_CONTROLS | {"guidance_off": [2]},
    "timing": {"repeats": 1, "warmup": 0},
}
MEASURED = ["baseline", "T-GATE 2", "DeepCache 2/0 + ToMe 0.5/1 + T-GATE 2"]
LEFT_OUT = "guidance off after 2: the pipeline runs without guidance anyway"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, model_cache: None) -> Path:
    """Return the folder of a tiny model with a guidance embedding."""
    folder = tmp_path_factory.mktemp("model") / "embedded"
    shutil.copytree(tiny_pipeline("sd15"), folder)
    guidance_embedding(folder)
    return folder


def section(folder: Path, **more: Any) -> dict[str, Any]:
    return SECTION | {"models": {"TINY_SD15": str(folder)}} | more


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_it_is_measured_whatever_the_batch(tmp_path: Path, folder: Path, batch_size: int) -> None:
    said: list[str] = []
    results = tmp_path / "r.jsonl"
    asked = request(section(folder), num_samples=4, batch_size=batch_size)
    lcm = replace(asked, task=replace(asked.task, sched=find_sched("LCM")))
    run(lcm, ResultsFile.open(results), "cpu", said.append)
    assert labels(results) == MEASURED
    assert any(line.startswith(f"left out: {LEFT_OUT}") for line in said)
    for row in read(results)[:-1]:
        assert row["status"] == "measured"
        assert (row["settings"]["guidance_scale"], row["settings"]["guided"]) == (7.5, False)


@pytest.mark.parametrize(("scale", "guided"), [(0, False), (1, False), (7.5, True)])
def test_without_an_embedding_the_scale_decides(tmp_path: Path, scale: float, guided: bool) -> None:
    results = tmp_path / "r.jsonl"
    measure(results, section=SECTION | {"guidance_scale": scale}, num_samples=1, batch_size=1)
    assert ("guidance off after 2" in labels(results)) == guided
    assert {row["settings"]["guided"] for row in read(results)[:-1]} == {guided}


def test_where_no_file_tells_the_loaded_pipeline_decides(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a model on the hub that is not in its cache yet."""
    asked: list[object] = []
    monkeypatch.setattr(task_run, "denoiser_config", lambda *_: None)
    monkeypatch.setattr(task_run, "make_plan", _told(asked))
    results = tmp_path / "r.jsonl"
    wanted = replace(request(section(folder)), num_samples=1, batch_size=1)
    said: list[str] = []
    run(wanted, ResultsFile.open(results), "cpu", said.append)
    assert labels(results) == MEASURED
    assert any(line.startswith(f"left out: {LEFT_OUT}") for line in said)
    assert [getattr(config, "get", dict)("time_cond_proj_dim") for config in asked] == [None, 256]


def _told(asked: list[object]) -> Callable[..., object]:
    """Return ``make_plan`` that plans for any model where it is not told of this one."""
    make_plan = task_run.make_plan

    def planned(task: Any, search: Any, denoiser: Any) -> object:
        asked.append(denoiser or {})
        return make_plan(task, search, denoiser or {})

    return planned


def test_the_plan_says_it_where_a_folder_tells(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "search.yaml").write_text(f"models: {{TINY_SD15: {folder}}}")
    flags = ["--pipe", "TINY_SD15", "--sched", "DDIM", "--steps", "5"]
    assert main(["plan", *flags, "--search", str(tmp_path / "search.yaml")]) == 0
    assert LEFT_OUT in capsys.readouterr().out
