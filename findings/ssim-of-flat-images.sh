#!/usr/bin/env bash
# The SSIM of two equal images of one colour is NaN.
#
# package   torchmetrics 1.9.0
# date      2026-11-28
# expected  1: the images are equal
# happens   without data_range the range is taken from the two images; where they are flat it is 0, and so
#           are the constants that keep SSIM's fraction from being 0/0.
# matters   one image that overflowed or was blacked out turns a whole mean into NaN.
#           worker/metrics/similarity.py gives data_range=1.0.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet 'torchmetrics==1.9.0' 'torch==2.13.0'

venv/bin/python -I - <<'PYTHON'
import sys

import torch
import torchmetrics
from torchmetrics.functional.image import structural_similarity_index_measure as ssim

print("torchmetrics", torchmetrics.__version__)
seen = {}
for name, level in (("black", 0.0), ("grey", 0.5)):
    image = torch.full((1, 3, 32, 32), level)
    seen[name] = ssim(image, image).item(), ssim(image, image, data_range=1.0).item()
    print(f"{name} against itself: {seen[name][0]}; with data_range=1.0: {seen[name][1]}")
if any(ranged != 1 or free == free for free, ranged in seen.values()):
    sys.exit("this has changed")
PYTHON
