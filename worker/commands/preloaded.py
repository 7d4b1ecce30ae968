"""The worker for a process that has loaded its libraries: imported once, then forked for each attempt.

Importing this imports all that ``python -m worker search`` needs, starts no thread and touches no GPU:
a process with threads cannot be forked safely, and a child of one that has used CUDA cannot use it.
``main`` is an attempt, in a forked child (docs/protocol.md).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from worker.accelerators.compiled_code import VARIABLE

# Some libraries start threads as they are loaded: numpy's BLAS one for each core, pyarrow's allocator one
# that gives memory back.
_WITHOUT_THREADS = {
    "OPENBLAS_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}
# imported inside functions, so that commands that need none of it answer at once
_MODULES = (
    *("datasets", "open_clip", "pynvml", "torch.profiler"),
    *("torchmetrics.functional.image.lpips", "torchmetrics.functional.image.ssim"),
    *("torchmetrics.image.fid", "torchvision.models"),
    *("worker.commands.main", "worker.commands.search", "worker.measure.task.run"),
)
# What is read when it is used: by CUDA at its first call, by this package, or here. All other variables
# count as read at import (HF_HOME, HF_HUB_OFFLINE, TRANSFORMERS_*, DIFFUSERS_*, TORCHINDUCTOR_*,
# PYTORCH_CUDA_ALLOC_CONF, LD_LIBRARY_PATH, PYTHONPATH, PYTHONHASHSEED and hundreds more are).
_READ_WHEN_USED = (
    *("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "CUDA_MPS_", "NVIDIA_VISIBLE_DEVICES"),
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"),
    *("PYTHONUNBUFFERED", "PYTORCH_NVML_BASED_CUDA_CHECK"),
    *("SWEEP_", "DIFFUSION_SWEEPS_"),
)
# what torch's generator begins with (c10's default_rng_seed_val), if it is not drawn
_FIXED_SEED = 67280421310721


@contextmanager
def _environment(changed: Mapping[str, str]) -> Iterator[None]:
    """Set variables for a while."""
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _import_everything() -> None:
    for name in _MODULES:
        # a library that is not installed, the task that needs it tells of
        with suppress(ModuleNotFoundError):
            import_module(name)
    import diffusers
    import transformers
    from PIL import Image

    from worker.accelerators.registry import specs
    from worker.models.catalogue import SCHEDS
    from worker.models.families.registry import families
    from worker.models.noise_schedule import scheduler_class

    # the libraries import a class's module when the class is first asked for
    for family in families().values():
        family.load_class()
        for kind in family.kinds.values():
            getattr(diffusers, kind, None) or getattr(transformers, kind)
    for sched in SCHEDS.values():
        scheduler_class(sched)
    for package in (name for spec in specs().values() for name in spec.needs):
        if find_spec(package) is not None:
            import_module(package)
    Image.preinit()


_before = dict(os.environ)
with _environment(_WITHOUT_THREADS):
    _import_everything()
# some of the libraries set variables as they are loaded; this one a task may set itself
_set_by_libraries = {
    name: value
    for name, value in os.environ.items()
    if _before.get(name) != value and name != VARIABLE
}
if VARIABLE not in _before:
    os.environ.pop(VARIABLE, None)


def main(argv: Sequence[str]) -> int:
    """Run an attempt as ``python -m worker`` would, and return its exit code.

    Where the libraries were loaded with another environment than this process has now, it becomes a
    plainly started worker, in the same process.

    Args:
        argv: the command and its arguments, ``search`` first.
    """
    differing = differing_from_import(os.environ)
    if differing:
        print(
            f"started anew: {', '.join(differing)} changed since the libraries were loaded",
            flush=True,
        )
        program = os.fspath(Path(__file__).parents[1] / "__main__.py")
        os.execv(sys.executable, [sys.executable, program, *argv])  # noqa: S606  # none is wanted
    for name, value in _set_by_libraries.items():
        os.environ.setdefault(name, value)
    _set_threads()
    _draw_anew()
    from worker.commands.main import main as run

    return run(argv)


def prepare(argv: Sequence[str]) -> None:
    """Load what an attempt will need into host memory, before its device is known.

    ``main`` takes what is still what it needs, whatever else has changed. Weights that are drawn at
    random are drawn on their device, and not loaded here.

    Args:
        argv: as for ``main``.

    Raises:
        SystemExit: they are no arguments of ``search``.
        WorkerError: something cannot be loaded.
    """
    import torch

    from worker.commands.main import understand
    from worker.commands.search import request_of
    from worker.measure.settings import settings_of
    from worker.metrics import clip
    from worker.models.loading import load_ahead
    from worker.models.prompts import COCO, load_coco_ahead
    from worker.search.studies import Study

    _set_threads()
    # asked otherwise, CUDA would remember that there is no device
    with _environment({"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}):
        request = request_of(understand(list(argv)))
        own = Study("", request.num_samples, request.batch_size, seed=request.seed)
        settings = settings_of(request, own, _probable_device())
        if settings.captions == COCO:
            load_coco_ahead()
        if settings.clip is not None:
            clip.load_ahead(*settings.clip)
        if settings.weights == "pretrained":
            load_ahead(
                request.task.pipe,
                request.task.sched,
                source=settings.source,
                dtype=getattr(torch, settings.dtype),
                image_size=request.search.image_size,
            )


def _probable_device() -> str:
    """Return which kind of device an attempt on this machine will have, by its driver alone."""
    import pynvml
    import torch

    if torch.version.cuda is None:
        return "cpu"
    try:
        pynvml.nvmlInit()
        return "cuda" if pynvml.nvmlDeviceGetCount() else "cpu"
    except pynvml.NVMLError:
        return "cpu"


def differing_from_import(environment: Mapping[str, str]) -> list[str]:
    """Return the variables that the libraries may have read and that were others then."""
    names = environment.keys() | _before.keys()
    return sorted(
        name
        for name in names
        if environment.get(name) not in (_before.get(name), _set_by_libraries.get(name))
        and not name.startswith(_READ_WHEN_USED)
    )


def _set_threads() -> None:
    """Give torch the threads that it would have taken from the environment when it was loaded."""
    import torch

    # where torch has MKL, it goes by MKL's number first
    names = ["MKL_NUM_THREADS"] * torch._C.has_mkl + ["OMP_NUM_THREADS"]
    # of a list, the first is that of the outermost loops
    numbers = (os.environ.get(name, "").partition(",")[0].strip() for name in names)
    chosen = next((int(number) for number in numbers if number.isdigit() and int(number)), None)
    torch.set_num_threads(chosen or len(os.sched_getaffinity(0)))


def _draw_anew() -> None:
    """Seed what a fresh process seeds by chance."""
    import random

    import numpy as np
    import torch

    random.seed()
    np.random.seed()
    # from 2.14 on by chance as well, and before by the same number in every process
    if torch.initial_seed() != _FIXED_SEED:
        torch.default_generator.seed()
