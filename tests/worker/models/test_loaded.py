"""What only loading a folder shows is told in one sentence, as certain as what its files show."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.helpers.model_folders import UNET, Change, config, shapes, written
from worker.commands.main import main
from worker.errors import ConfigurationError
from worker.models.catalogue import find_pipe, find_sched
from worker.models.loading import load_pipeline


def lacking(file: str, words: str) -> Change:
    """Return what takes the weights with these words in their names out of a file."""

    def change(folder):
        weights = {name: it for name, it in load_file(folder / file).items() if words not in name}
        save_file(weights, folder / file, metadata={"format": "pt"})

    return change


def longest(tokens: int) -> Change:
    def change(folder):
        file = folder / "tokenizer/tokenizer_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"model_max_length": tokens}))

    return change


NOT_LOADED: dict[str, tuple[Change, str]] = {
    "some of the UNet": (
        lacking(f"unet/{UNET}.safetensors", "conv_out.bias"),
        r"the weights of unet in .* lack 1 of the 324 .*, such as conv_out.bias: copy or download",
    ),
    # transformers would draw them at random
    "some of the text encoder": (
        lacking("text_encoder/model.safetensors", "final_layer_norm"),
        r"of text_encoder in .* lack 2 of the 52 .*, such as final_layer_norm.weight",
    ),
    "more layers than weights": (
        config("text_encoder", num_hidden_layers=4),
        "such as encoder.layers.3.self_attn",
    ),
    "weights of other shapes": (
        config("text_encoder", max_position_embeddings=20),
        "weights of a part have other shapes than its config.json asks for; look at that folder",
    ),
    "a UNet of another shape": (
        config("unet", only_cross_attention=True),
        r"expected shape .* but got torch.Size\(\[48, 48\]\); look at that folder",
    ),
    "words that are none": (written("tokenizer/vocab.json", b"{}"), "initializing BPE: Token"),
    "more tokens than fit": (longest(1000), "set model_max_length in .*_config.json to 32$"),
    "heads that do not fit": (
        config("text_encoder", num_attention_heads=5),
        "96.* is not a multiple of the number of attention heads",
    ),
}


@pytest.mark.parametrize(("change", "words"), NOT_LOADED.values(), ids=NOT_LOADED.keys())
def test_a_folder_that_does_not_load(tmp_path, change, words):
    folder = shapes(tmp_path / "model", change)
    with pytest.raises(ConfigurationError, match=words):
        load_pipeline(
            find_pipe("SHAPES_SD15"), find_sched("DDIM"), source=str(folder),
            weights="pretrained", device="cpu", dtype=torch.float32,
        )  # fmt: skip


@pytest.mark.parametrize("warmup", [0, 1])
def test_a_model_whose_first_image_fails_is_not_tried_again(tmp_path, capsys, warmup):
    folder = shapes(tmp_path / "model", config("vae", scaling_factor=None))
    (tmp_path / "s.yaml").write_text(
        f"models: {{SHAPES_SD15: {folder}}}\ntiming: {{warmup: {warmup}}}\n"
    )
    flags = ["--pipe", "SHAPES_SD15", "--sched", "DDIM", "--steps", "2", "--num-samples", "1"]
    files = ["--search", str(tmp_path / "s.yaml"), "--results", str(tmp_path / "r.jsonl")]
    assert main(["search", *flags, *files]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: the model makes no image: TypeError: unsupported operand")
    assert len(said.splitlines()) == 1
