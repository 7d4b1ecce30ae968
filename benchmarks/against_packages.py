"""Our DeepCache, T-GATE and ToMe beside the published packages, in the same run.

    python benchmarks/against_packages.py --pipe SDXL --batch-size 2 --out packages.jsonl
    python benchmarks/against_packages.py --pipe TINY_SD15 --steps 10 --rounds 3 --device cpu

Both arms make the same images (the largest difference of a pixel is printed), turn by turn; the
ratio is package / ours, above 1 where ours is faster. Our ToMe is its package, put in and out around
each image: there it is these that are compared. T-GATE's package comes with the extra [test];
without it its arm is left out. acceleration.py runs this as two of its jobs.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from worker.accelerators.compose import Accelerated
from worker.models.catalogue import find_pipe, find_sched
from worker.models.loading import load_pipeline
from worker.results import environment, statistics
from worker.results.row import finite

PROMPTS = ["a brown dog on a porch", "a red bicycle at a wall", "a train on a bridge", "a fox"]


@contextmanager
def ours(pipeline, accelerators: dict, steps: int) -> Iterator[Callable]:
    with Accelerated(pipeline, accelerators) as accelerated:
        yield lambda **call: pipeline(**call, **accelerated.begin(steps, seed=0)).images


@contextmanager
def deepcache_package(pipeline, parameters: dict) -> Iterator[Callable]:
    from DeepCache import DeepCacheSDHelper

    helper = DeepCacheSDHelper(pipe=pipeline)
    helper.set_params(**parameters)
    helper.enable()
    try:
        yield lambda **call: pipeline(**call).images
    finally:
        helper.disable()
        forget(pipeline)


@contextmanager
def tgate_package(pipeline, parameters: dict) -> Iterator[Callable]:
    import tgate

    is_sdxl = "XL" in type(pipeline).__name__
    loader = tgate.TgateSDXLLoader if is_sdxl else tgate.TgateSDLoader
    loader(pipeline)
    try:
        yield lambda **call: pipeline.tgate(**call, **parameters).images
    finally:
        forget(pipeline)


@contextmanager
def tome_package(pipeline, parameters: dict) -> Iterator[Callable]:
    import tomesd

    def generate(**call):
        torch.manual_seed(0)  # the package's random choices follow from the global generator
        return pipeline(**call).images

    tomesd.apply_patch(pipeline, **parameters)
    try:
        yield generate
    finally:
        tomesd.remove_patch(pipeline)
        forget(pipeline)


def forget(pipeline) -> None:
    """Remove what the packages leave in the modules' dictionaries."""
    for module in pipeline.unet.modules():
        for name in ("forward", "cache", "_tome_info"):
            vars(module).pop(name, None)


def compare(
    pipeline, name: str, our_arm: Callable, their_arm: Callable, call: dict, rounds: int
) -> dict:
    """Time both arms turn by turn, after one untimed round."""
    seconds: dict[str, list[float]] = {"ours": [], "package": []}
    images = {}
    for turn in range(rounds + 1):
        order = [("ours", our_arm), ("package", their_arm)]
        for arm, enter in order if turn % 2 else reversed(order):
            generators = [torch.Generator("cpu").manual_seed(n) for n in range(len(call["prompt"]))]
            with torch.inference_mode(), enter() as generate:
                wait(pipeline)
                start = time.perf_counter()
                images[arm] = generate(**call, generator=generators, output_type="pt")
                wait(pipeline)
                if turn:
                    seconds[arm].append(time.perf_counter() - start)
    apart = float((images["ours"] - images["package"]).abs().max())
    ratio = statistics.speedup(seconds["package"], seconds["ours"])
    return {
        "accelerator": name,
        "our_seconds": statistics.percentile(seconds["ours"], 50),
        "package_seconds": statistics.percentile(seconds["package"], 50),
        "package_over_ours": [ratio.low, ratio.value, ratio.high],
        "samples": seconds,
        # random weights may overflow, and JSON has no word for NaN or Inf
        "largest_difference": finite([apart])[0],
        "rounds": rounds,
    }


def wait(pipeline) -> None:
    if pipeline.device.type == "cuda":
        torch.cuda.synchronize()


def measure(
    name: str, steps: int, batch_size: int, rounds: int, device: str, known: Sequence[dict] = ()
) -> Iterator[dict]:
    """Yield what was found for each package that is installed.

    What stands in ``known``, measured on this machine with these libraries, is not measured again.
    """
    pipe = find_pipe(name)
    here = environment.describe(device)
    about = {"pipe": name, "steps": steps, "batch_size": batch_size, "environment": here}
    cache = {"cache_interval": 3, "cache_branch_id": 0}
    gate = {"gate_step": max(1, steps // 5), "sp_interval": 1, "fi_interval": 1, "warm_up": 0}
    # at the first resolution that has attention, as in the paper
    merge = {"ratio": 0.5, "max_downsample": min(pipe.architecture.attention_downsamples)}
    arms = [
        ("deepcache", "DeepCache", cache, deepcache_package),
        ("tgate", "tgate", gate, tgate_package),
        ("tome", "tomesd", merge, tome_package),
    ]
    done = {row["accelerator"] for row in known if _is_of(row, about)}
    missing = [arm for arm in arms if arm[0] not in done]
    if not missing:
        return
    pipeline = load_pipeline(
        pipe,
        find_sched("DDIM"),
        source=pipe.source,
        weights="random" if pipe.is_published else "pretrained",
        device=device,
        dtype=torch.float16 if device.startswith("cuda") else torch.float32,
    )
    call = {
        "prompt": [PROMPTS[n % len(PROMPTS)] for n in range(batch_size)],
        "num_inference_steps": steps,
        "height": pipe.image_size,
        "width": pipe.image_size,
        "guidance_scale": pipe.architecture.guidance_scale,
    }
    for accelerator, distribution, parameters, package in missing:
        our_arm = functools.partial(ours, pipeline, {accelerator: parameters}, steps)
        their_arm = functools.partial(package, pipeline, parameters)
        try:
            published = f"{distribution} {version(distribution)}"
            found = compare(pipeline, accelerator, our_arm, their_arm, call, rounds)
        except ImportError as error:  # of which one that is not installed is a kind
            print(f"{accelerator}: left out, its package cannot be used here ({error})")
        else:
            yield found | {"package": published, "parameters": parameters} | about


def _is_of(row: dict, about: dict) -> bool:
    """Say whether a row tells what would be measured again here."""
    there, here = row.get("environment", {}), about["environment"]
    return environment.agree(there, here) and all(
        row.get(key) == about[key] for key in ("pipe", "steps", "batch_size")
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pipe", required=True)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--out", type=Path, help="append the results to this file")
    given = parser.parse_args()
    for found in measure(given.pipe, given.steps, given.batch_size, given.rounds, given.device):
        print(json.dumps(found), flush=True)
        if given.out:
            with given.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
