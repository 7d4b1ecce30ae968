"""A model that is another one than asked for is refused from outside, with advice that fits."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.model_folders import UNET, Change, config, renamed, shapes, without, written
from worker.errors import ConfigurationError
from worker.models.catalogue import find_pipe, find_sched
from worker.models.families.registry import family_of
from worker.models.suitability import check_folder, check_source, denoiser_config
from worker.search.check import find_problems

SD, SDXL = find_pipe("SHAPES_SD15"), find_pipe("SHAPES_SDXL")
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3438167540\n"


def cut(folder: Path) -> None:
    file = folder / f"unet/{UNET}.safetensors"
    file.write_bytes(file.read_bytes()[:-7])


def cut_in_its_header(folder: Path) -> None:
    file = folder / "vae" / f"{UNET}.safetensors"
    file.write_bytes(file.read_bytes()[:100])


def sharded(folder: Path) -> None:
    renamed("unet", f"{UNET}-00001-of-00002.safetensors")(folder)
    files = {"a": f"{UNET}-00001-of-00002.safetensors", "b": f"{UNET}-00002-of-00002.safetensors"}
    index = json.dumps({"weight_map": files}).encode()
    written(f"unet/{UNET}.safetensors.index.json", index)(folder)


def only_a_part(folder: Path) -> None:
    (folder / "model_index.json").unlink()
    shutil.copy(folder / "unet/config.json", folder)


def hub_cache(folder: Path) -> None:
    snapshot = folder / "snapshots/0123"
    snapshot.mkdir(parents=True)
    (folder / "model_index.json").rename(snapshot / "model_index.json")


def lora(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
    header = json.dumps({"unet.to_q.lora_A.weight": {"data_offsets": [0, 0]}}).encode()
    written("some.safetensors", len(header).to_bytes(8, "little") + header)(folder)


def fifo(name: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return change


def single_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_bytes(b"")


OTHERS = {
    "inpainting": (config("unet", in_channels=9), "takes 9 channels, as for inpainting"),
    "instructions": (config("unet", in_channels=8), "as for editing by instruction"),
    "depth": (config("unet", in_channels=5), "as for depth-to-image"),
    "upscaler": (config("unet", in_channels=7), "as for upscaling"),
    "latents of another width": (config("vae", latent_channels=16), "its autoencoder has 16"),
    "learned variance": (config("unet", out_channels=8), "gives 8 channels"),
    "unclip": (config("unet", class_embed_type="projection"), "class_embed_type: projection"),
    "classes": (config("unet", num_class_embeds=1000), "num_class_embeds: 1000"),
    "image prompts": (config("unet", encoder_hid_dim_type="image_proj"), "encoder_hid_dim_type"),
    "other addition": (config("unet", addition_embed_type="image"), "addition_embed_type: image"),
    "other texts": (config("text_encoder", hidden_size=128), "gives 128: the parts are not of one"),
    "more layers": (
        config("unet", layers_per_block=2),
        "has 3 blocks of 2 layers.*'s has 3 blocks",
    ),
    "no middle block": (config("unet", mid_block_type=None), "without a middle block"),
    "its own size": (
        config("unet", sample_size=8),
        "made for images of 32 pixels.*image_size to 32",
    ),
    "its own size in two": (config("unet", sample_size=[32, 32]), "images of 128 pixels"),
    "another pipeline": (
        lambda folder: [
            change(folder)
            for change in (config("", _class_name="StableDiffusion3Pipeline"), without("unet"))
        ],
        r"lacks unet \(it is a StableDiffusion3Pipeline\)",
    ),
    "no text encoder": (without("text_encoder"), "it lacks text_encoder;"),
    "no tokenizer": (without("tokenizer"), "it lacks tokenizer;"),
    "an empty tokenizer": (
        lambda folder: [file.unlink() for file in (folder / "tokenizer").iterdir()],
        "holds neither vocab.json",
    ),
    "pickle": (renamed("unet", f"{UNET}.bin"), "holds no .safetensors file, and other formats"),
    "no weights": (renamed("vae", "notes.txt"), r"vae holds no weights \(no .safetensors file\)"),
    "other weights": (renamed("unet", f"{UNET}.non_ema.safetensors"), "variant non_ema alone"),
    "pointer": (written(f"unet/{UNET}.safetensors", POINTER), "is a Git LFS pointer.*git lfs pull"),
    "pointers in place of all files": (
        written("vae/config.json", POINTER),
        "vae/config.json is a Git LFS pointer",
    ),
    "pointer for words": (written("tokenizer/merges.txt", POINTER), "merges.txt is a Git LFS poi"),
    "pointer for noise": (written("scheduler/scheduler_config.json", POINTER), "is a Git LFS poi"),
    "weights that never come": (fifo(f"unet/{UNET}.safetensors"), "it is not a regular file"),
    "numbers that never come": (fifo("vae/config.json"), "it is not a regular file"),
    "another UNet": (
        config("", unet=["diffusers", "UNet3DConditionModel"]),
        "its unet is a UNet3DConditionModel, and SHAPES_SD15's is a UNet2DConditionModel",
    ),
    "another text encoder": (
        config("", text_encoder=["transformers", "T5EncoderModel"]),
        "its text_encoder is a T5EncoderModel",
    ),
    "another tokenizer": (
        config("", tokenizer=["transformers", "T5Tokenizer"]),
        "its tokenizer is a T5Tokenizer",
    ),
    "no blocks": (config("unet", down_block_types=None), "holds a value that none has"),
    "channels that are no list": (config("vae", block_out_channels=7), "a value that none has"),
    "no weights at all": (written(f"unet/{UNET}.safetensors", b"<html>"), "is no safetensors file"),
    "cut off": (cut, r"is cut off \(\d+ of \d+ bytes\)"),
    "cut off in the header": (cut_in_its_header, "is cut off"),
    "a shard is missing": (sharded, "lacks diffusion_pytorch_model-00002-of-00002.safetensors"),
    "no JSON": (written("unet/config.json", b"{"), "unet/config.json is not JSON"),
    "no object": (written("model_index.json", b"[]"), "holds no JSON object"),
    "no scheduler": (without("scheduler"), "it lacks scheduler;"),
    "a part alone": (only_a_part, r"holds one part alone \(UNet2DConditionModel\)"),
    "a hub's cache": (hub_cache, "is a hub's cache: give the folder in it, .*snapshots/0123"),
    "LoRA": (lora, "holds a LoRA"),
    "a single file": (single_file, "is a single file"),
    "nothing": (shutil.rmtree, "does not exist"),
}


@pytest.mark.parametrize(("change", "words"), OTHERS.values(), ids=OTHERS.keys())
def test_a_folder_that_is_not_the_pipes_model(tmp_path, change, words):
    folder = shapes(tmp_path / "model", change)
    with pytest.raises(ConfigurationError, match=words) as refused:
        check_source(SD, find_sched("DDIM"), str(folder), None)
    # it is a folder already
    assert "local folder" not in str(refused.value)
    ((key, said),) = find_problems(*question(folder))
    assert (key, said) == ("search.models.SHAPES_SD15", str(refused.value))


def question(folder: Path, sched: str = "DDIM"):
    task = {"pipe": "SHAPES_SD15", "sched": sched, "steps": 4}
    return [task], {}, {"models": {"SHAPES_SD15": str(folder)}}


XL = {
    "without its first encoder": (
        lambda folder: [without(part)(folder) for part in ("text_encoder", "tokenizer")],
        "it lacks text_encoder, tokenizer;",
    ),
    "without its second tokenizer": (without("tokenizer_2"), "it lacks tokenizer_2;"),
    "refiner": (config("unet", projection_class_embeddings_input_dim=0), "a refiner's"),
    "other sizes": (config("unet", projection_class_embeddings_input_dim=1), "not of one model"),
}


@pytest.mark.parametrize(("change", "words"), XL.values(), ids=XL.keys())
def test_a_folder_that_is_no_sdxl(tmp_path, change, words):
    folder = shapes(tmp_path / "model", change, weights="sdxl")
    unet = json.loads((folder / "unet/config.json").read_text())
    if unet["projection_class_embeddings_input_dim"] == 0:
        text = json.loads((folder / "text_encoder_2/config.json").read_text())
        five = text["projection_dim"] + 5 * unet["addition_time_embed_dim"]
        config("unet", projection_class_embeddings_input_dim=five)(folder)
    with pytest.raises(ConfigurationError, match=words):
        check_source(SDXL, None, str(folder), None)


def test_one_family_is_told_from_another_by_its_folder(tmp_path):
    with pytest.raises(ConfigurationError, match="it lacks text_encoder_2, tokenizer_2"):
        check_source(SDXL, None, str(shapes(tmp_path / "sd")), None)
    with pytest.raises(ConfigurationError, match=r"with pooled text|not of one model"):
        check_source(SD, None, str(shapes(tmp_path / "sdxl", weights="sdxl")), None)


def old(folder: Path) -> None:
    """As saved before diffusers 0.9, by another pipeline, with parts of classes long gone."""
    index = {
        "_class_name": "StableDiffusionInpaintPipelineLegacy",
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
        "feature_extractor": ["transformers", "CLIPFeatureExtractor"],
    }
    config("", drop=("image_encoder", "requires_safety_checker"), **index)(folder)
    left_out = ("addition_embed_type", "mid_block_type", "time_cond_proj_dim", "class_embed_type")
    config("unet", drop=left_out, _diffusers_version="0.6.0", sample_size=32)(folder)
    for part in ("safety_checker", "feature_extractor"):
        (folder / part).mkdir()


SUITABLE = {
    "as it is": (lambda _folder: None, None),
    "old": (old, None),
    "a guidance embedding": (config("unet", time_cond_proj_dim=256), None),
    "half precision alone": (
        lambda folder: [renamed(part, f"{name}.fp16.safetensors")(folder) for part, name in NAMES],
        "fp16",
    ),
    "a size that is none": (config("unet", sample_size=0), None),
    "half precision of one part": (renamed("unet", f"{UNET}.bf16.safetensors"), "bf16"),
    "sharded half precision": (renamed("vae", f"{UNET}.fp16-00001-of-00001.safetensors"), "fp16"),
    "sharded the old way": (renamed("vae", f"{UNET}-00001-of-00001.fp16.safetensors"), "fp16"),
}
NAMES = [("unet", UNET), ("vae", UNET), ("text_encoder", "model")]


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(("change", "variant"), SUITABLE.values(), ids=SUITABLE.keys())
def test_what_can_be_measured_is_not_refused(tmp_path, change, variant, half):
    folder = shapes(tmp_path / "model", change)
    assert check_folder(folder, SD, find_sched("DDIM"), image_size=None, half=half) == variant
    assert find_problems(*question(folder)) == []


def test_each_precision_is_loaded_where_both_are_there(tmp_path):
    folder = shapes(tmp_path / "model")
    for part, name in NAMES:
        shutil.copy(
            folder / part / f"{name}.safetensors", folder / part / f"{name}.fp16.safetensors"
        )
    variants = [
        check_folder(folder, SD, None, image_size=None, half=half) for half in (True, False)
    ]
    assert variants == ["fp16", None]


def test_precisions_that_no_variant_unites(tmp_path):
    mixed = [
        renamed("unet", f"{UNET}.fp16.safetensors"),
        renamed("vae", f"{UNET}.bf16.safetensors"),
    ]
    folder = shapes(tmp_path / "model", *mixed)
    with pytest.raises(
        ConfigurationError, match=r"different precisions alone \(unet fp16, vae bf16\)"
    ):
        check_source(SD, None, str(folder), None)


def test_a_size_that_was_chosen_is_the_users_own(tmp_path):
    folder = shapes(tmp_path / "model", config("unet", sample_size=8))
    check_source(SD, None, str(folder), 64)


@pytest.mark.parametrize("source", ["a/b/c", "models/", "a b/c", "http://x/y", "-x/y"])
def test_what_is_no_hub_id(source):
    with pytest.raises(ConfigurationError, match="neither a folder here nor a hub id"):
        check_source(SD, None, source, None)


def test_a_single_file_beside_a_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("model.safetensors").touch()
    with pytest.raises(ConfigurationError, match="is a single file"):
        check_source(SD, None, "model.safetensors", None)


ZERO_SNR = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}
SCHEDULES = [
    *(("DDIM", ZERO_SNR, None), ("PNDM", ZERO_SNR, "which PNDM does not take: exclude PNDM")),
    ("DPMSolverSinglestep", ZERO_SNR, "those that take it: DDIM, EulerDiscrete"),
    ("DDIM", {"_class_name": "FlowMatchEulerDiscreteScheduler"}, "for flow matching"),
    ("EulerDiscrete", {"use_beta_sigmas": True}, "package scipy, which is not installed"),
    ("DDIM", {"use_beta_sigmas": True}, None),
    ("DDIM", {"_class_name": "LMSDiscreteScheduler"}, "package scipy, which is not installed"),
    ("DDIM", {"_class_name": "DPMSolverSDEScheduler"}, "torchsde, which is not installed"),
]


@pytest.mark.parametrize(("sched", "values", "words"), SCHEDULES)
def test_a_noise_scheduler_that_the_model_cannot_have(tmp_path, monkeypatch, sched, values, words):
    monkeypatch.setattr("worker.models.catalogue.find_spec", lambda _name: None)
    folder = shapes(tmp_path / "model", config("scheduler", **values))
    problems = find_problems(*question(folder, sched))
    if words is None:
        assert problems == []
        return
    ((key, said),) = problems
    assert key == "matrix.sched"
    assert words in said
    with pytest.raises(ConfigurationError, match=words):
        check_source(SD, find_sched(sched), str(folder), None)


def test_a_noise_scheduler_that_the_index_alone_names(tmp_path, monkeypatch):
    monkeypatch.setattr("worker.models.catalogue.find_spec", lambda _name: None)
    folder = shapes(tmp_path / "model", config("", scheduler=["diffusers", "LMSDiscreteScheduler"]))
    ((key, said),) = find_problems(*question(folder))
    assert (key, "saved with LMSDiscreteScheduler" in said) == ("matrix.sched", True)


@pytest.mark.parametrize("command", ["plan", "search"])
def test_nothing_is_loaded_before_it_is_said(tmp_path, command):
    folder = shapes(tmp_path / "model", config("unet", in_channels=9))
    (tmp_path / "s.yaml").write_text(f"models: {{SHAPES_SD15: {folder}}}\n")
    done = subprocess.run(
        [
            *(sys.executable, "-X", "importtime", "-m", "worker", command, "--pipe", "SHAPES_SD15"),
            *("--sched", "DDIM", "--steps", "4", "--search", tmp_path / "s.yaml"),
        ],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "as for inpainting" in done.stderr
    assert " diffusers\n" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_denoiser_on_the_hub_is_known_where_the_cache_has_it(tmp_path, monkeypatch):
    repository = tmp_path / "models--own--embedded"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text("0123")
    shapes(repository / "snapshots/0123", config("unet", time_cond_proj_dim=256))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    family = family_of(SD.architecture)
    assert denoiser_config(family, "own/embedded")["time_cond_proj_dim"] == 256
    assert denoiser_config(family, "own/another") is None
