"""CLIP's text encoder and tokenizer, which several families share."""

from __future__ import annotations

import gzip
import json
import tempfile
from importlib.resources import files
from pathlib import Path

from worker.models.families.base import Config
from worker.types import Opaque

# of ViT-L/14
TEXT_ENCODER: Config = {
    "vocab_size": 49408,
    "max_position_embeddings": 77,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
    "hidden_act": "quick_gelu",
    "bos_token_id": 0,
    # below 3 the text encoder takes the highest token as a text's end, as OpenAI's CLIP does
    "eos_token_id": 2,
}
TINY_TEXT_ENCODER: Config = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "projection_dim": 32,
}


def make_tokenizer(padding: str) -> Opaque:
    """Make CLIP's tokenizer from the merge table that open_clip ships.

    The vocabulary is defined by the table: 256 bytes, the same at a word's end, one entry for each
    merge, two special tokens (OpenAI's ``simple_tokenizer.py``).
    """
    from transformers import CLIPTokenizer

    table = files("open_clip").joinpath("bpe_simple_vocab_16e6.txt.gz").read_bytes()
    merges = gzip.decompress(table).decode("utf-8").split("\n")[1 : 49152 - 256 - 2 + 1]
    symbols = _byte_symbols()
    words = [*symbols, *(symbol + "</w>" for symbol in symbols)]
    words += ["".join(merge.split()) for merge in merges]
    words += ["<|startoftext|>", "<|endoftext|>"]
    with tempfile.TemporaryDirectory() as folder:
        vocabulary = {word: index for index, word in enumerate(words)}
        (Path(folder) / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
        text = "\n".join(["#version: 0.2", *merges, ""])
        (Path(folder) / "merges.txt").write_text(text, encoding="utf-8")
        config = {"model_max_length": 77, "pad_token": padding}
        (Path(folder) / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
        return CLIPTokenizer.from_pretrained(folder)


def _byte_symbols() -> list[str]:
    """Return a printable character for each byte, in the order of CLIP's vocabulary."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1)]
    printable += range(ord("®"), ord("ÿ") + 1)
    others = 256 - len(printable)
    return [chr(code) for code in printable] + [chr(256 + n) for n in range(others)]
