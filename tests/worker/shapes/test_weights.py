"""The weights that ship: few enough, and as good as the model card says."""

from itertools import pairwise

import pytest
import torch

from worker.accelerators.compose import Accelerated
from worker.accelerators.deepcache import branches, same_branch
from worker.measure.settings import TaskRequest
from worker.measure.task.run import run
from worker.models.catalogue import find_pipe, find_sched
from worker.models.sources import local_source
from worker.models.task import Task
from worker.results.file import ResultsFile
from worker.results.row import read_rows
from worker.search.section import Search
from worker.shapes import PIPELINE_FOLDERS, SCORER_FOLDER
from worker.shapes.grammar import captions_of, draw_scenes, held_out_scenes
from worker.shapes.quality import Scorer, generate, share_of_relations_kept, share_ranked_first
from worker.shapes.raster import draw_pictures

STEPS = 25


@pytest.fixture(scope="module")
def judge():
    return Scorer(SCORER_FOLDER)


def test_all_weights_together_are_small_and_nothing_else_is_there():
    files = [path for path in SCORER_FOLDER.parent.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".safetensors", ".json", ".txt"}
    assert sum(path.stat().st_size for path in files) <= 16_000_000


@pytest.mark.parametrize("name", PIPELINE_FOLDERS)
def test_the_catalogue_leads_to_the_weights(name):
    pipe = find_pipe(name)
    assert local_source(pipe.source) == str(PIPELINE_FOLDERS[name])
    assert local_source(pipe.clip[0]) == str(SCORER_FOLDER)


def test_the_captions_that_ship_are_held_out_ones():
    from worker.models.prompts import load_captions

    shipped = load_captions(find_pipe("SHAPES_SD15").captions, 256)
    assert shipped == captions_of(held_out_scenes(256))


def test_the_scorer_finds_the_caption_of_a_held_out_picture(judge):
    generator = torch.Generator().manual_seed(11)
    scenes = torch.unique(draw_scenes(256, generator, held_out=True), dim=0)
    scenes = scenes[torch.randperm(len(scenes), generator=generator)]
    similarities = judge.similarities(draw_pictures(scenes, generator), captions_of(scenes))
    assert share_ranked_first(similarities) >= 0.9


@pytest.mark.parametrize("name", PIPELINE_FOLDERS)
def test_a_generator_draws_held_out_captions(load, judge, name):
    scenes = held_out_scenes(32, seed=1)
    captions = captions_of(scenes)
    guidance = find_pipe(name).architecture.guidance_scale
    pictures = generate(load(name), captions, STEPS, guidance, batch_size=8)
    similarities = judge.similarities(pictures, captions)
    assert share_ranked_first(similarities, among=32) >= 0.75
    real = draw_pictures(scenes, torch.Generator().manual_seed(1))
    right = similarities.diagonal().mean()
    assert right > 0.9 * judge.similarities(real, captions).diagonal().mean()
    assert right > 3 * similarities.mean()
    # ranking among random captions does not tell: few of them hold the same two objects
    assert share_of_relations_kept(judge, pictures, scenes) >= 0.9


@pytest.mark.parametrize("name", PIPELINE_FOLDERS)
def test_branches_of_deepcache_that_the_catalogue_calls_the_same_are(load, name):
    pipeline, architecture = load(name), find_pipe(name).architecture
    drawn = {}
    for branch in range(branches(architecture)):
        deepcache = {"cache_interval": 2, "cache_branch_id": branch}
        with Accelerated(pipeline, {"deepcache": deepcache}) as accelerated:
            images = pipeline(
                "a red circle",
                num_inference_steps=2,
                generator=torch.Generator().manual_seed(0),
                output_type="pt",
                **accelerated.begin(calls=2, seed=0),
            ).images
        drawn.setdefault(images.numpy().tobytes(), []).append(branch)
    called_same = {}
    for branch in range(branches(architecture)):
        called_same.setdefault(same_branch(architecture, branch), []).append(branch)
    assert list(drawn.values()) == list(called_same.values())


def measure(name, path, num_samples, batch_size, intervals, **controls):
    """Rows by their labels, of 20 steps of DDIM: enough that few of them are seen to be too few."""
    section = {
        "configurations": [{"deepcache": {"cache_interval": intervals}}],
        "controls": {"fewer_steps": [], "guidance_off": [], "null_arm": False} | controls,
        "timing": {"warmup": 0, "repeats": 1, "block": 8},
    }
    request = TaskRequest(
        task=Task(find_pipe(name), find_sched("DDIM"), 20),
        search=Search.model_validate(section),
        num_samples=num_samples,
        batch_size=batch_size,
    )
    results = ResultsFile.open(path)
    run(request, results, "cpu", lambda _line: None)
    return {row.label: row for row in read_rows(results.lines)[0]}


@pytest.mark.parametrize("name", PIPELINE_FOLDERS)
def test_the_less_deepcache_computes_the_farther_pictures_are_from_the_baseline(name, tmp_path):
    rows = measure(name, tmp_path / "results.jsonl", 8, 8, [2, 3, 5, 10])
    psnr = [rows[f"DeepCache {interval}/0"].value_of("psnr") for interval in (2, 3, 5, 10)]
    assert all(nearer > farther + 2 for nearer, farther in pairwise(psnr))


@pytest.mark.parametrize("name", PIPELINE_FOLDERS)
def test_strong_acceleration_loses_more_than_other_latents_do(name, tmp_path):
    rows = measure(
        name, tmp_path / "results.jsonl", 64, 16, [5, 10], fewer_steps=[3], null_arm=True
    )
    losses = {
        label: row.estimate_of("quality_loss") for label, row in rows.items() if label != "baseline"
    }
    for strong in ("DeepCache 10/0", "3 steps"):
        assert losses[strong].value > losses["baseline, other seeds"].high
        assert losses[strong].value > losses["DeepCache 5/0"].value + 0.01
        assert losses[strong].low > 0
