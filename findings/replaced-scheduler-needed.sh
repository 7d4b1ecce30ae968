#!/usr/bin/env bash
# A pipeline whose noise scheduler is given still needs the package of the one that it was saved with.
#
# package   diffusers 0.42.1, without scipy (which it does not require)
# date      2026-11-28
# expected  from_pretrained(folder, scheduler=…) does not load the folder's own noise scheduler, so what
#           that one needs need not be here; at least the error names the missing package, as the one
#           without scheduler=… does
# happens   of a folder that was saved with LMSDiscreteScheduler, "TypeError: issubclass() arg 2 must be a
#           class": without scipy a stand-in has the place of the class in the index, no class of noise
#           schedulers is found that it belongs to, and what is given is compared with None
# matters   every task of a sweep replaces the noise scheduler, and nobody would look for scipy.
#           worker/models/catalogue.py names the package before anything is loaded.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet 'diffusers==0.42.1' 'torch==2.13.0' 'transformers==5.24.0' 'accelerate==1.15.0'

venv/bin/python -I - <<'PYTHON'
import importlib.util
import json
import sys
import tempfile
from pathlib import Path

import diffusers
from diffusers import DDIMScheduler, DDPMPipeline, UNet2DModel

diffusers.utils.logging.set_verbosity_error()
diffusers.utils.logging.disable_progress_bar()
print("diffusers", diffusers.__version__)
if importlib.util.find_spec("scipy") is not None:
    sys.exit("scipy is here, without which this is to be seen")


def outcome(**given):
    """Return how loading the folder ends."""
    try:
        DDPMPipeline.from_pretrained(folder, **given)
    except (ImportError, TypeError) as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    return "it loads"


with tempfile.TemporaryDirectory() as folder:
    unet = UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 8),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=8,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
    )
    DDPMPipeline(unet, DDIMScheduler()).save_pretrained(folder)
    before = outcome(scheduler=DDIMScheduler())
    # as it is saved where scipy is installed
    for name, key, value in (
        ("model_index.json", "scheduler", ["diffusers", "LMSDiscreteScheduler"]),
        ("scheduler/scheduler_config.json", "_class_name", "LMSDiscreteScheduler"),
    ):
        file = Path(folder, name)
        file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    itself, replaced = outcome(), outcome(scheduler=DDIMScheduler())
print("saved with DDIM, another one given:", before)
print("saved with LMS, as it is:", itself[:60])
print("saved with LMS, another one given:", replaced)
if (before, "scipy" in itself, "scipy" in replaced) != ("it loads", True, False) or (
    "issubclass() arg 2 must be a class" not in replaced
):
    sys.exit("this has changed")
PYTHON
