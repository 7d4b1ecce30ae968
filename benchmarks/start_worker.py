"""The worker of start.py: this project's own, which notes when each part of its start is over.

As a program it imports as the plain worker does, when it is to; as a module (``worker.preload``) before.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

IS_PROGRAM = __name__ == "__main__"
if not IS_PROGRAM:
    from worker.commands import preloaded

    prepare = preloaded.prepare

marks: dict[str, float] = {}


def note(name: str) -> None:
    """Note the time of something that happens once."""
    marks.setdefault(name, time.time())


def main(argv: Sequence[str]) -> int:
    """Run an attempt; the last line of its log are the times, in seconds of the day's clock."""
    note("entered")
    if IS_PROGRAM:
        # all of these are imported anyway, bit by bit
        import diffusers
        import transformers

        import worker.measure.task.run

        for name in ("StableDiffusionPipeline", "StableDiffusionXLPipeline"):
            getattr(diffusers, name)
        transformers.CLIPTextModel  # noqa: B018  # imported as it is asked for
        assert worker.measure.task.run
    note("imported")
    _watch()
    if IS_PROGRAM:
        from worker.commands.main import main as run
    else:
        run = preloaded.main
    code = run(argv)
    note("returned")
    print(f"marks: {json.dumps(marks)}", flush=True)
    return code


def _watch() -> None:
    """Have times noted where CUDA is begun with, models are moved, a denoiser is called, all is done."""
    import torch

    from worker.measure.memory import Memory
    from worker.metrics.clip import ClipScorer
    from worker.models import loading
    from worker.results import environment

    describe, encode = environment.describe, ClipScorer.encode
    move, wait = loading.to_device, Memory.wait

    def finish(device):
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize()

    def describing(device):
        described = describe(device)
        torch.zeros(1, device=device)
        note("context")
        return described

    def encoding(scorer, *given):
        encoded = encode(scorer, *given)
        finish(encoded.device)
        note("scored")
        return encoded

    def moving(modules, device):
        modules = list(modules)
        note("loaded")
        move(modules, device)
        finish(device)
        note("moved")
        for module in modules:
            if type(module).__name__.startswith("UNet"):
                hooks.append(module.register_forward_pre_hook(stepping))
                hooks.append(module.register_forward_hook(stepped))

    def stepping(_module, given):
        finish(given[0].device)
        note("prompted")

    def stepped(_module, _given, found):
        while hooks:
            hooks.pop().remove()
        finish(found[0].device)
        note("stepped")

    def waited(memory):
        wait(memory)
        marks["last"] = time.time()

    hooks: list = []
    environment.describe, ClipScorer.encode = describing, encoding
    loading.to_device, Memory.wait = moving, waited


if IS_PROGRAM:
    sys.exit(main(sys.argv[1:]))
