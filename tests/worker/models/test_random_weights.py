"""What is built here is what was published, or a scaled-down version of it."""

import multiprocessing

import pytest
import torch
from diffusers.pipelines.stable_diffusion_xl import pipeline_stable_diffusion_xl

from worker.errors import ConfigurationError
from worker.models import random_weights as building
from worker.models.catalogue import find_pipe, find_sched
from worker.models.families.clip import make_tokenizer
from worker.models.families.registry import buildable
from worker.models.loading import load_pipeline
from worker.models.random_weights import tiny_pipeline


@pytest.mark.parametrize(
    ("architecture", "sizes"),
    [
        ("sd15", {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480}),
        ("sd21", {"unet": 865_910_724, "vae": 83_653_863, "text_encoder": 340_387_840}),
        (
            "sdxl",
            {
                "unet": 2_567_463_684,
                "vae": 83_653_863,
                "text_encoder": 123_060_480,
                "text_encoder_2": 694_659_840,
            },
        ),
    ],
)
def test_published_sizes(architecture, sizes):
    with torch.device("meta"):
        family = buildable()[architecture]
        pipeline = building.assemble(family, family.published[architecture])
    for name, size in sizes.items():
        assert sum(p.numel() for p in getattr(pipeline, name).parameters()) == size


def test_tokenizer_is_clips():
    tokenizer = make_tokenizer(padding="<|endoftext|>")
    ids = tokenizer("A photo of a cat, 2 dogs & größe")["input_ids"]
    import open_clip

    theirs = open_clip.tokenize(["A photo of a cat, 2 dogs & größe"])[0]
    assert ids == theirs[: len(ids)].tolist()
    assert tokenizer.model_max_length == 77


def _build(cache, gate, built):
    import os

    os.environ["DIFFUSION_SWEEPS_CACHE"] = cache
    gate.wait()
    built.put(str(tiny_pipeline("sd15")))


def test_two_workers_at_once_build_one_pipeline(tmp_path):
    context = multiprocessing.get_context("spawn")
    gate, built = context.Barrier(2), context.Queue()
    workers = [context.Process(target=_build, args=(str(tmp_path), gate, built)) for _ in range(2)]
    for worker in workers:
        worker.start()
    assert built.get() == built.get() == str(tmp_path / "tiny-sd15-1")
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["tiny-sd15-1"]


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DIFFUSION_SWEEPS_CACHE", str(tmp_path / "file"))
    with pytest.raises(ConfigurationError, match="set DIFFUSION_SWEEPS_CACHE"):
        tiny_pipeline("sd15")


def test_an_interrupted_build_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFUSION_SWEEPS_CACHE", str(tmp_path))

    def fail(folder):
        (folder / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        building._built("something", fail)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_no_watermark_is_drawn_into_what_is_timed(monkeypatch):
    """Where the package for it is installed, SDXL's pipeline draws one by itself."""
    monkeypatch.setattr(pipeline_stable_diffusion_xl, "is_invisible_watermark_available", lambda: 1)
    pipe, where = find_pipe("TINY_SDXL"), {"weights": "pretrained", "device": "cpu"}
    loaded = load_pipeline(
        pipe, find_sched("DDIM"), source=pipe.source, dtype=torch.float32, **where
    )
    assert loaded.watermark is None
