#!/usr/bin/env bash
# Karras sigmas on the cosine schedule end in an IndexError at the last step of four noise schedulers.
#
# package   diffusers 0.42.1
# date      2026-11-28
# expected  beta_schedule="squaredcos_cap_v2" and use_karras_sigmas=True are options of the same class, so
#           they work together or are refused when they are given
# happens   four classes take both, and all steps but the last, where three raise IndexError and one an
#           AssertionError. The first timesteps are so near to each other that they are rounded to the same
#           one; the first step looks its own up by value, begins at the second of them, and every later
#           index is one too high. Euler's method takes the two together.
# matters   a sweep would compute all images up to their last step, fail, and try again.
#           worker/models/noise_schedule.py takes all steps with tiny tensors before anything is generated.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet 'diffusers==0.42.1' 'torch==2.13.0'

venv/bin/python -I - <<'PYTHON'
import sys

import diffusers
import torch

diffusers.utils.logging.set_verbosity_error()
STEPS = 20


def failed_at(name, **options):
    """Return the number of the step that fails and the kind of its error, or None."""
    scheduler = getattr(diffusers, name)(**options)
    scheduler.set_timesteps(STEPS)
    sample = torch.zeros(1, 4, 2, 2)
    for number, timestep in enumerate(scheduler.timesteps, 1):
        try:
            sample = scheduler.step(torch.zeros_like(sample), timestep, sample).prev_sample
        except (IndexError, AssertionError) as error:
            return number, type(error).__name__
    return None


print("diffusers", diffusers.__version__)
both = {"beta_schedule": "squaredcos_cap_v2", "use_karras_sigmas": True}
expected = {
    "DPMSolverMultistepScheduler": (20, "IndexError"),
    "DEISMultistepScheduler": (20, "IndexError"),
    "DPMSolverSinglestepScheduler": (20, "IndexError"),
    "UniPCMultistepScheduler": (20, "AssertionError"),
    "EulerDiscreteScheduler": None,
}
changed = False
for name, outcome in expected.items():
    alone = [failed_at(name, **{key: value}) for key, value in both.items()]
    together = failed_at(name, **both)
    print(f"{name}: each alone fails at {alone}, together at {together}")
    changed |= (alone, together) != ([None, None], outcome)
if changed:
    sys.exit("this has changed")
PYTHON
