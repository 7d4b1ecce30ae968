"""Record a whole grid of the trained miniatures: each configuration's score on each prompt, and its speed.

    python benchmarks/record_grid.py --out recordings --seconds 460

Searches can then be replayed on the recordings (`adaptive_replay.py`), with many seeds and no GPU.
For SHAPES_SD15 and SHAPES_SDXL: the baseline, its null arm, fewer steps, and DeepCache, ToMe and T-GATE
alone and together, on 512 captions that training never saw. Each configuration makes all images in each
of --passes calls: the first gives the CLIP scores and the PSNR to the baseline's images, each gives a
time: for how long the GPU computed, by torch's profiler, or on a CPU wall time. The baseline is timed
again every ten configurations.

Each pipeline is loaded once, in one process. What is recorded is on disk after each configuration, in
PIPE.jsonl, and a later call goes on behind it; a complete grid becomes PIPE.npz (no pickle in it; see
`read`). Exit code 75: there was no time for all of it. --tiny tries it all on a CPU with a few
configurations and prompts. Needs no open_clip: the scorer is built from its weights here.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from worker.models.catalogue import find_pipe, find_sched
from worker.models.task import Task
from worker.search.configuration import BASELINE, Configuration
from worker.search.plan import make_plan
from worker.search.section import Search
from worker.search.studies import Study

if TYPE_CHECKING:
    from torch import Tensor

    from worker.measure.context import EvaluationContext

NOT_ALL = 75
PIPES = ("SHAPES_SD15", "SHAPES_SDXL")
WEIGHTS = Path(__file__).resolve().parent.parent / "worker" / "shapes" / "weights" / "scorer"
BASELINE_EVERY = 10
# Seconds that a further configuration must at least have left, the last one included.
RESERVE = 15.0


def grid(pipe: str, tiny: bool) -> dict[str, Any]:
    """Return the search section: what is recorded."""
    if tiny:
        return {
            "configurations": [
                {"deepcache": {"cache_interval": [2, 6]}},
                {"deepcache": {"cache_interval": 3}, "tgate": {"gate_step": 4}},
            ],
            "controls": {"fewer_steps": [0.25], "guidance_off": []},
        }
    # at its first attention: merging behind it costs more than it gains
    least = 1 if pipe == "SHAPES_SD15" else 2
    tome = {"ratio": [0.3, 0.5, 0.7], "max_downsample": least}
    return {
        "configurations": [
            {"deepcache": {"cache_interval": [2, 3, 4, 5, 6, 8, 10], "cache_branch_id": [0, 1, 3]}},
            {"deepcache": {"cache_interval": [3, 4, 5, 6], "center": [2, 4, 8]}},
            {"tome": {"ratio": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], "max_downsample": least}},
            {"tome": {"ratio": [0.3, 0.5, 0.7], "max_downsample": 4}},
            {"tgate": {"gate_step": [0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8]}},
            {"tgate": {"gate_step": [0.4, 0.6, 0.8], "sp_interval": [2, 3, 5], "warm_up": 2}},
            {
                "deepcache": {"cache_interval": [2, 3, 4, 5, 7, 10], "cache_branch_id": [0, 1]},
                "tgate": {"gate_step": [0.2, 0.4, 0.6]},
            },
            {
                "deepcache": {"cache_interval": [2, 3, 5, 10], "cache_branch_id": [0, 1]},
                "tome": tome,
            },
            {"tome": tome, "tgate": {"gate_step": [0.2, 0.4, 0.6]}},
            {
                "deepcache": {"cache_interval": [2, 3, 5, 10]},
                "tome": tome,
                "tgate": {"gate_step": [0.2, 0.4, 0.6]},
            },
        ],
        "controls": {
            "fewer_steps": [0.75, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15],
            "guidance_off": [0.2, 0.4, 0.6],
        },
    }


@dataclass(frozen=True)
class Recording:
    """A recorded grid, in the order of its plan, the baseline first."""

    configurations: list[dict[str, Any]]
    """Of each: label, role, accelerators, steps, status, as a row of a results file has them."""
    scores: np.ndarray
    """CLIP score, shape [configurations, prompts], float32; NaN where it failed."""
    psnr: np.ndarray
    """To the baseline's image, in dB, the same shape."""
    seconds: np.ndarray
    """Of one call with all prompts, shape [configurations, passes]: the GPU's time, else wall time."""
    baseline_seconds: np.ndarray
    """Of the baseline, last measured before each of these; the same shape."""
    about: dict[str, Any]
    """What was recorded where: task, device, versions, which seconds these are."""

    @property
    def speedups(self) -> np.ndarray:
        """How much faster than the baseline each is by all its passes, shape [configurations]."""
        return np.median(self.baseline_seconds, axis=1) / np.median(self.seconds, axis=1)


def read(path: Path) -> Recording:
    """Read a recorded grid."""
    with np.load(path, allow_pickle=False) as stored:
        told = json.loads(bytes(stored["told"]).decode())
        return Recording(
            told["configurations"],
            stored["scores"],
            stored["psnr"].astype(np.float32),
            stored["seconds"],
            stored["baseline_seconds"],
            told["about"],
        )


class Scorer:
    """The miniatures' CLIP, from its weights: what worker/metrics/clip.py does through open_clip.

    Args:
        device: a torch device.
    """

    def __init__(self, device: str) -> None:
        from safetensors.torch import load_file

        from worker.shapes.vocabulary import load_tokenizer

        settings = json.loads((WEIGHTS / "open_clip_config.json").read_text())
        stored = load_file(WEIGHTS / "open_clip_model.safetensors")
        self._weights = {name: value.float().to(device) for name, value in stored.items()}
        self._vision = settings["model_cfg"]["vision_cfg"]
        self._text = settings["model_cfg"]["text_cfg"]
        self._mean, self._std = (settings["preprocess_cfg"][name][0] for name in ("mean", "std"))
        self._tokenizer = load_tokenizer(WEIGHTS)
        self._device = device
        heads = self._vision["width"] // self._vision["head_width"]
        self._visual_blocks = self._blocks("visual.transformer", self._vision, heads)
        self._text_blocks = self._blocks("transformer", self._text, self._text["heads"])

    def _blocks(self, prefix: str, settings: Mapping[str, int], heads: int) -> Any:
        """Return a transformer in torch's own modules."""
        from torch import nn

        names = {"attn": "self_attn", "ln_1": "norm1", "ln_2": "norm2"}
        names |= {"mlp.c_fc": "linear1", "mlp.c_proj": "linear2"}
        width = settings["width"]
        layers = nn.ModuleList()
        for number in range(settings["layers"]):
            layer = nn.TransformerEncoderLayer(
                width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
            )
            start = f"{prefix}.resblocks.{number}."
            state = {}
            for name, value in self._weights.items():
                if name.startswith(start):
                    inner = name.removeprefix(start)
                    theirs = next(item for item in names if inner.startswith(f"{item}."))
                    state[names[theirs] + inner.removeprefix(theirs)] = value
            layer.load_state_dict(state)
            layers.append(layer)
        return layers.to(self._device).eval()

    def _norm(self, values: Tensor, name: str) -> Tensor:
        from torch.nn.functional import layer_norm

        weights = self._weights
        return layer_norm(
            values, values.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"]
        )

    def encode(self, captions: list[str]) -> Tensor:
        """Return one unit vector for each caption: a tensor of shape [captions, width]."""
        import torch
        from torch.nn.functional import embedding, normalize

        weights = self._weights
        length = self._text["context_length"]
        told = self._tokenizer(
            captions, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        )
        tokens = told.input_ids.to(self._device)
        mask = torch.full((length, length), -torch.inf, device=self._device).triu(1)
        with torch.inference_mode():
            x = embedding(tokens, weights["token_embedding.weight"])
            x = x + weights["positional_embedding"]
            for block in self._text_blocks:
                x = block(x, src_mask=mask)
            x = self._norm(x, "ln_final")
            # the first end mark, which has the highest number
            x = x[torch.arange(len(x)), tokens.argmax(dim=1)] @ weights["text_projection"]
            return normalize(x, dim=-1)

    def embed(self, images: Tensor) -> Tensor:
        """Return one unit vector for each image of shape [3, 64, 64] with values from 0 to 1."""
        import torch
        from torch.nn.functional import conv2d, normalize

        weights = self._weights
        with torch.inference_mode():
            pixels = (images.to(self._device, torch.float32) - self._mean) / self._std
            x = conv2d(pixels, weights["visual.conv1.weight"], stride=self._vision["patch_size"])
            x = x.flatten(2).transpose(1, 2)
            first = weights["visual.class_embedding"].expand(len(x), 1, -1)
            x = torch.cat([first, x], dim=1) + weights["visual.positional_embedding"]
            x = self._norm(x, "visual.ln_pre")
            for block in self._visual_blocks:
                x = block(x)
            return normalize(self._norm(x[:, 0], "visual.ln_post") @ weights["visual.proj"], dim=-1)


class Recorder:
    """Records one pipeline's grid, and knows what was recorded before.

    Args:
        pipe: one of the miniatures.
        arguments: the command line's.
        device: a torch device.
    """

    def __init__(self, pipe: str, arguments: argparse.Namespace, device: str) -> None:
        self.pipe = pipe
        self._arguments = arguments
        self._device = device
        out: Path = arguments.out
        self.lines = out / f"{pipe}.jsonl"
        self.packed = out / f"{pipe}.npz"
        self._captions = out / f"captions-{arguments.prompts}.txt"
        section = grid(pipe, arguments.tiny) | {"captions": str(self._captions)}
        self.search = Search.model_validate(section)
        self.task = Task(find_pipe(pipe), find_sched("DDIM"), arguments.steps)
        self.wanted = make_plan(self.task, self.search).configurations
        self._references: Tensor | None = None
        self._baseline_seconds: list[float | None] = []

    def read(self) -> dict[str, dict[str, Any]]:
        """Return what is recorded, by the configurations' keys; what is cut off does not count."""
        found = {}
        lines = self.lines.read_bytes().splitlines() if self.lines.exists() else []
        for line in lines:
            try:
                content = json.loads(line)
            except ValueError:
                continue
            if content["about"] == self.about():
                found[content["key"]] = content
        return found

    def about(self) -> dict[str, Any]:
        """Return what the figures depend on."""
        import diffusers
        import torch

        gpu = self._device.startswith("cuda")
        name = torch.cuda.get_device_name(0) if gpu else "CPU"
        return {
            "pipe": self.pipe,
            "sched": "DDIM",
            "steps": self._arguments.steps,
            "prompts": self._arguments.prompts,
            "passes": self._arguments.passes,
            "dtype": "float16" if gpu else "float32",
            "device": name,
            "seconds": "device" if gpu else "wall",
            "torch": torch.__version__,
            "diffusers": diffusers.__version__,
        }

    def record(self, end: float) -> bool:
        """Record what is missing until the time has come; say whether all of it is there."""
        done = self.read()
        missing = [item for item in self.wanted if item.key not in done]
        print(f"{self.pipe}: {len(self.wanted)} configurations, {len(done)} recorded", flush=True)
        if missing and time.monotonic() + RESERVE < end:
            context = self._load()
            for number, configuration in enumerate(missing):
                if time.monotonic() + RESERVE > end:
                    return False
                if number % BASELINE_EVERY == 0:
                    self._time_baseline(context)
                start = time.monotonic()
                content = self._content(context, configuration)
                self._append(content)
                spent = time.monotonic() - start
                print(f"  {configuration.label}: {in_words(content)}; {spent:.1f} s", flush=True)
        done = self.read()
        if any(item.key not in done for item in self.wanted):
            return False
        self._pack([done[item.key] for item in self.wanted])
        return True

    def _load(self) -> EvaluationContext:
        """Return the loaded pipeline, with which the baseline's images were made."""
        from worker.measure.context import QualityMetrics
        from worker.measure.samples import Samples
        from worker.measure.session import Session
        from worker.measure.settings import TaskRequest, settings_of
        from worker.shapes.grammar import captions_of, held_out_scenes

        count = self._arguments.prompts
        self._captions.write_text("\n".join(captions_of(held_out_scenes(count))) + "\n")
        study = Study("", count, count)
        request = TaskRequest(self.task, self.search, count, count)
        # with its scorer the session would ask open_clip
        settings = replace(settings_of(request, study, self._device), clip=None)
        context = Session(self.task, self._device, print).context(settings, study)
        scorer = Scorer(self._device)
        quality = QualityMetrics(scorer, scorer.encode(list(context.prompts)))
        context = replace(context, quality=quality)
        # the device starts up, and chooses its kernels
        self._call(context, Samples(BASELINE))
        self._references, _ = self._call(context, Samples(BASELINE))
        return context

    def _call(self, context: EvaluationContext, samples: Any) -> tuple[Tensor | None, float]:
        """Make all images; return them, or None where that fails, and the seconds."""
        from worker.measure.rounds.call import generate

        made = generate(context, samples, context.batch(0))
        return (None, 0.0) if made is None else (made.images, made.seconds)

    def _time_baseline(self, context: EvaluationContext) -> None:
        self._baseline_seconds = [
            self._timed(context, BASELINE)[1] for _ in range(self._arguments.passes)
        ]

    def _timed(
        self, context: EvaluationContext, configuration: Configuration
    ) -> tuple[Tensor | None, float | None, str | None]:
        """Make all images; return them, the device's seconds, and why there are none, if so."""
        from worker.errors import UnknownFigureError
        from worker.measure.samples import Samples
        from worker.metrics.device_time import device_seconds

        samples = Samples(configuration)
        made: list[Tensor | None] = []

        def call() -> float:
            images, seconds = self._call(context, samples)
            made.append(images)
            if images is None:
                raise UnknownFigureError(str(samples.failure))
            return seconds

        try:
            on_gpu = self._device.startswith("cuda")
            seconds = device_seconds(call) if on_gpu else call()
        except UnknownFigureError as error:
            return (made[-1] if made else None), None, str(error)
        return made[-1], seconds, None

    def _content(self, context: EvaluationContext, configuration: Configuration) -> dict[str, Any]:
        """Return a line of the file: all that is recorded of a configuration."""
        from worker.metrics.clip import scores
        from worker.metrics.similarity import psnr

        passes = [self._timed(context, configuration) for _ in range(self._arguments.passes)]
        images = passes[0][0]
        assert context.quality is not None and self._references is not None
        told = {}
        if images is not None:
            quality = context.quality
            told["scores"] = rounded(scores(quality.scorer.embed(images), quality.captions))
            told["psnr"] = rounded(psnr(images, self._references))
        failures = [failure for _, _, failure in passes if failure is not None]
        return {
            "about": self.about(),
            "key": configuration.key,
            "label": configuration.label,
            "role": configuration.role,
            "configuration": configuration.as_json(),
            "status": "recorded" if not failures else failures[0],
            "seconds": [seconds for _, seconds, _ in passes],
            "baseline_seconds": self._baseline_seconds,
            **told,
        }

    def _append(self, content: Mapping[str, Any]) -> None:
        torn = self.lines.exists() and not self.lines.read_bytes().endswith(b"\n")
        with self.lines.open("a", encoding="utf-8") as file:
            file.write(("\n" if torn else "") + json.dumps(content) + "\n")

    def _pack(self, contents: list[dict[str, Any]]) -> None:
        """Write the whole grid as arrays."""
        unknown = [None] * self._arguments.prompts
        told = {
            "about": self.about(),
            "configurations": [
                {name: item[name] for name in ("label", "role", "configuration", "status")}
                for item in contents
            ],
        }
        np.savez_compressed(
            self.packed,
            told=np.frombuffer(json.dumps(told).encode(), dtype=np.uint8),
            scores=np.array([item.get("scores", unknown) for item in contents], np.float32),
            psnr=np.array([item.get("psnr", unknown) for item in contents], np.float16),
            seconds=np.array([item["seconds"] for item in contents], np.float64),
            baseline_seconds=np.array([item["baseline_seconds"] for item in contents], np.float64),
        )
        size = self.packed.stat().st_size / 1024
        print(f"{self.packed}: {len(contents)} configurations, {size:.0f} KiB", flush=True)


def rounded(values: list[float]) -> list[float]:
    return [round(value, 4) for value in values]


def in_words(content: Mapping[str, Any]) -> str:
    if "scores" not in content:
        return str(content["status"])
    seconds = ", ".join("?" if value is None else f"{value:.3f}" for value in content["seconds"])
    mean = sum(content["scores"]) / len(content["scores"])
    return f"{seconds} s, CLIP {mean:.2f}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder of the recordings")
    add("--seconds", type=float, default=1e9, help="that this call may take")
    add("--only", choices=PIPES, help="one of the pipelines")
    add("--steps", type=int, default=20, help="of the baseline (default 20)")
    add("--prompts", type=int, default=512, help="images of each configuration (default 512)")
    add("--passes", type=int, default=1, help="timed calls of each configuration (default 1)")
    add("--tiny", action="store_true", help="few configurations and prompts, on a CPU")
    arguments = parser.parse_args()
    end = time.monotonic() + arguments.seconds
    if arguments.tiny:
        arguments.prompts = min(arguments.prompts, 16)
    arguments.out.mkdir(parents=True, exist_ok=True)
    import torch

    device = "cuda:0" if torch.cuda.is_available() and not arguments.tiny else "cpu"
    for pipe in PIPES if arguments.only is None else [arguments.only]:
        if not Recorder(pipe, arguments, device).record(end):
            print("there was no time for all of it: call again", flush=True)
            return NOT_ALL
    return 0


if __name__ == "__main__":
    sys.exit(main())
