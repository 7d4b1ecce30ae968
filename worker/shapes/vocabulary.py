"""CLIP's tokenizer with its vocabulary cut down to the grammar.

CLIP's byte-pair encoding has 49,408 tokens; their embeddings alone would be larger than these
models. Kept are the bytes and those merges that the grammar's words go through, so every word of
the grammar is one token, exactly as in CLIP, and every other text still has an encoding, in bytes.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from worker.shapes.grammar import words

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

#: Tokens of a prompt, the two marks at its ends included. The longest caption has 16.
MAX_TOKENS = 32

_START, _END = "<|startoftext|>", "<|endoftext|>"
_WORD_END = "</w>"


def save_tokenizer(folder: Path) -> None:
    """Write the files from which `CLIPTokenizer.from_pretrained(folder)` works.

    The token that ends a text has the highest number, as CLIP's pooling expects.
    """
    from open_clip.tokenizer import bytes_to_unicode

    merges = _merges_of(words())
    alphabet = list(bytes_to_unicode().values())
    tokens = [*alphabet, *(letter + _WORD_END for letter in alphabet)]
    tokens += ["".join(merge) for merge in merges]
    tokens += [_START, _END]
    special = {
        "bos_token": _START,
        "eos_token": _END,
        "unk_token": _END,
        "pad_token": _END,
    }
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": MAX_TOKENS, **special}

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), "utf-8")
    lines = ["#version: 0.2", *(" ".join(merge) for merge in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", "utf-8")
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2), "utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2), "utf-8")


def load_tokenizer(folder: Path) -> CLIPTokenizer:
    """Read the tokenizer that `save_tokenizer` wrote."""
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(folder)


def _merges_of(vocabulary: list[str]) -> list[tuple[str, str]]:
    """CLIP's merges on the way to these words, in CLIP's order."""
    from open_clip.tokenizer import SimpleTokenizer

    ranks: dict[tuple[str, str], int] = SimpleTokenizer().bpe_ranks
    used: set[tuple[str, str]] = set()
    for word in vocabulary:
        parts = [*word[:-1], word[-1] + _WORD_END]
        while len(parts) > 1:
            pair = min(pairwise(parts), key=lambda pair: ranks.get(pair, len(ranks)))
            if pair not in ranks:
                break
            used.add(pair)
            parts = _merge(parts, pair)
    return sorted(used, key=ranks.__getitem__)


def _merge(parts: list[str], pair: tuple[str, str]) -> list[str]:
    """Join every occurrence of the pair, from left to right."""
    merged: list[str] = []
    for part in parts:
        if merged and (merged[-1], part) == pair:
            merged[-1] += part
        else:
            merged.append(part)
    return merged
