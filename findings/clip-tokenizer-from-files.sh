#!/usr/bin/env bash
# CLIPTokenizer(vocab_file=..., merges_file=...) knows no word, and does not say so.
#
# package   transformers 5.24.0 (4.57.1 reads the files)
# date      2026-11-28
# expected  a tokenizer with the vocabulary of the files, as before, or an error about unknown arguments
# happens   both arguments are swallowed. The vocabulary holds special tokens only, and all characters are
#           given the same number. vocab= and merges=, or from_pretrained of the folder, read it.
# matters   a pipeline with such a tokenizer draws the same image for every prompt, and its CLIP score is
#           that of no text at all. worker/models/loading.py refuses a folder whose tokenizer files are not
#           under the names that from_pretrained reads.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet 'transformers==5.24.0'

venv/bin/python -I - <<'PYTHON'
import json
import string
import sys
from pathlib import Path

import transformers
from transformers import CLIPTokenizer

letters = list(string.ascii_lowercase)
tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
tokens += ["re", "red</w>", "<|startoftext|>", "<|endoftext|>"]
folder = Path("tokenizer")
folder.mkdir()
(folder / "vocab.json").write_text(json.dumps({token: n for n, token in enumerate(tokens)}))
(folder / "merges.txt").write_text("#version: 0.2\nr e\nre d</w>\n")
files = {"vocab": f"{folder}/vocab.json", "merges": f"{folder}/merges.txt"}

print("transformers", transformers.__version__)
made = {
    "vocab_file=, merges_file=": CLIPTokenizer(vocab_file=files["vocab"], merges_file=files["merges"]),
    "vocab=, merges=": CLIPTokenizer(**files),
    "from_pretrained": CLIPTokenizer.from_pretrained(str(folder)),
}
seen = {how: (len(tokenizer), tokenizer("red").input_ids) for how, tokenizer in made.items()}
for how, (size, red) in seen.items():
    print(f"{how}: {size} tokens of {len(tokens)}; 'red' is {red}")
wrong, *right = seen.values()
if wrong[0] >= 4 or any(found != (56, [54, 53, 55]) for found in right):
    sys.exit("this has changed")
PYTHON
