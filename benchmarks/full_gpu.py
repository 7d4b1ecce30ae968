"""What a full GPU says, and what the scheduler makes of it.

    python benchmarks/full_gpu.py [FOLDER]

Runs tasks under the real dispatcher on one idle GPU. Each fills the GPU's memory but for a little and then
uses a library for the first time; others say the same words on an empty GPU, or fail otherwise on a full one.
Prints the verdict on each beside the one that is right; exit code 1 if they differ. About two minutes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent

WORKER = """
import ctypes, glob, os, subprocess, sys
import torch
mode, left = sys.argv[1], int(sys.argv[2]) << 20
x = torch.randn(1, 3, 64, 64, device="cuda")
w = torch.randn(3, 3, 3, 3, device="cuda")
m = torch.eye(64, device="cuda")
pool = torch.empty(256 << 20, dtype=torch.uint8, device="cuda")  # for results: they are not what fails
del pool
beside = os.path.dirname(os.path.dirname(torch.__file__))
cudart = ctypes.CDLL(glob.glob(f"{beside}/nvidia/*/lib/libcudart.so.*")[0])
def fill():
    for size in (1 << 30, 64 << 20, 2 << 20):
        while torch.cuda.mem_get_info()[0] - size > left:
            block = ctypes.c_void_p()
            if cudart.cudaMalloc(ctypes.byref(block), ctypes.c_size_t(size)):
                break
if not mode.startswith("empty"):
    fill()
print(mode, "with", torch.cuda.mem_get_info()[0] >> 20, "MiB free", flush=True)
if mode == "convolution":
    torch.nn.functional.conv2d(x, w)
elif mode == "product":
    m @ m
elif mode == "fourier":
    torch.fft.fft2(x)
elif mode == "solve":
    torch.linalg.solve(m, m)
elif mode == "allocation":
    torch.empty(4 << 30, dtype=torch.uint8, device="cuda")
elif mode == "context":
    sys.exit(subprocess.run([sys.executable, "-c", "import torch; torch.zeros(1, device='cuda')"]).returncode)
elif mode == "full-wrong":
    raise ValueError("a number that does not fit")
elif mode == "empty-words":
    raise RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR")
elif mode == "empty-assert":
    torch.zeros(4, device="cuda")[torch.tensor([9], device="cuda")].cpu()
torch.cuda.synchronize()
print("Successfully completed")
"""
MEMORY = "out of memory"
RIGHT = {
    "convolution": MEMORY,
    "product": MEMORY,
    "fourier": MEMORY,
    "solve": MEMORY,
    "allocation": MEMORY,
    "context": MEMORY,
    "full-wrong": "failed",
    "empty-words": "failed",
    "empty-assert": "failed",
}


def main(folder: Path) -> int:
    """Run the tasks in ``folder``; print the table."""
    (folder / "worker.py").write_text(WORKER)
    sweep = {
        "matrix": {"mode": list(RIGHT), "left": [8]},
        "worker": {"command": ["python", "worker.py", "{mode}", "{left}"]},
        "devices": {"idle_for": "1s", "min_free_memory": "8GiB"},
        "retries": {"max_attempts": 1},
    }
    (folder / "full.yaml").write_text(json.dumps(sweep))
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")])
        ),
        "SCHEDULER_LEASES": str(folder / "leases"),
    }
    subprocess.run(
        [sys.executable, "-m", "scheduler", "full.yaml"], cwd=folder, env=environment, check=False
    )
    wrong = 0
    print("\ntask          verdict        right          cause")
    for mode, right in RIGHT.items():
        checkpoints = folder / "checkpoints" / "full"
        found = [checkpoints / f"{mode}_8.{end}" for end in ("failed", "done")]
        content = next((json.loads(file.read_text()) for file in found if file.exists()), {})
        verdict, cause = content.get("verdict", "none"), content.get("cause") or ""
        # What needs no more memory after all is completed; the others must be seen for what they are.
        wrong += verdict != right and not (right == MEMORY and verdict == "completed")
        print(f"{mode:13} {verdict:14} {right:14} {cause}")
    return 1 if wrong else 0


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(main(Path(sys.argv[1]).absolute()))
    with tempfile.TemporaryDirectory() as made:
        sys.exit(main(Path(made)))
