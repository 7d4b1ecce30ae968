#!/usr/bin/env bash
# A Ray task that ends with sys.exit(0) runs four times, and one without GPUs sees all of them.
#
# package   ray 2.60.0
# date      2026-11-29
# expected  exit status 0 ends a task; a task that asks for no GPU is told of none
# happens   sys.exit(0) counts as the death of the task's process: it is run again max_retries (3) times, and
#           then WorkerCrashedError is raised. A task without GPUs keeps the node's CUDA_VISIBLE_DEVICES, all
#           GPUs, where a task with one sees that one alone
# matters   a finished measurement would be made four times and then be called failed; a task on a CPU could
#           take a GPU that another one is timed on. The Ray executor here lets Ray repeat nothing, runs the
#           worker as a child whose status it returns as a value, and sets the variable itself.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet 'ray==2.60.0'

cat >tasks.py <<'PYTHON'
import os
import sys
import tempfile

import ray

ray.init(
    num_cpus=1,
    num_gpus=2,
    include_dashboard=False,
    logging_level="ERROR",
    log_to_driver=False,
    object_store_memory=80 * 2**20,
    _temp_dir=os.getcwd(),
)
runs = tempfile.mkstemp()[1]


@ray.remote
def leave(path):
    with open(path, "a") as file:
        file.write("x")
    sys.exit(0)


@ray.remote
def visible():
    return os.environ.get("CUDA_VISIBLE_DEVICES")


try:
    ray.get(leave.remote(runs))
    end = "returned"
except ray.exceptions.RayError as error:
    end = type(error).__name__
count = os.path.getsize(runs)
none = ray.get(visible.options(num_gpus=0).remote())
one = ray.get(visible.options(num_gpus=1).remote())
print("ray", ray.__version__)
print(f"sys.exit(0): {count} runs, then {end}; without GPUs: {none}; with one: {one}")
if (count, end, none) != (4, "WorkerCrashedError", "GPU-a,GPU-b") or "," in one:
    sys.exit("this has changed")
PYTHON
CUDA_VISIBLE_DEVICES=GPU-a,GPU-b venv/bin/python -I -W ignore tasks.py
