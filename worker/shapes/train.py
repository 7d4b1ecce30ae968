"""Train everything: `python -m worker.shapes.train --out build/shapes`.

Four parts, one after the other: the scorer, the autoencoder, the two generators. Each keeps its
state in the folder, so that the same command goes on where it was stopped. The trained weights are
in `<out>/weights`, where this package keeps its own.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from worker.errors import ConfigurationError, WorkerError
from worker.shapes import autoencoder, denoisers, quality, scorer
from worker.shapes.grammar import alter_scenes, captions_of, draw_scenes, held_out_scenes
from worker.shapes.raster import draw_pictures
from worker.shapes.trainer import Recipe, fit
from worker.shapes.vocabulary import load_tokenizer, save_tokenizer

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

RECIPES = {
    "scorer": Recipe(steps=2000, batch_size=2048, pool_size=2**17, learning_rate=1e-3),
    "vae": Recipe(steps=2450, batch_size=128, pool_size=2**16, learning_rate=1e-3),
    "sd15": Recipe(steps=3600, batch_size=320, pool_size=2**17, learning_rate=1.2e-3),
    "sdxl": Recipe(steps=3600, batch_size=320, pool_size=2**17, learning_rate=1.2e-3),
}

#: Captions leave little open, so little guidance is needed; much of it oversaturates.
_GUIDANCE = 3.0

_DENOISERS = {"sd15": denoisers.SD15Denoiser, "sdxl": denoisers.SDXLDenoiser}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m worker.shapes.train",
        description=__doc__.split("\n\n")[1],
        epilog="example: python -m worker.shapes.train --out build/shapes",
    )
    parser.add_argument("--out", type=Path, default=Path("build/shapes"), help="folder to fill")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", choices=list(RECIPES), help="train only this part")
    parser.add_argument(
        "--steps", type=_at_least(1), help="steps of each part, instead of its recipe's"
    )
    # examples come in twos: the scorer's and the generators'
    parser.add_argument("--batch-size", type=_at_least(2), help="likewise")
    parser.add_argument("--pool-size", type=_at_least(2), help="likewise")
    options = parser.parse_args(arguments)
    try:
        _train_parts(options)
    except WorkerError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except FloatingPointError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def _at_least(least: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(
                f"expected a whole number from {least} on, found {text!r}"
            )
        return int(text)

    return whole


def _train_parts(options: argparse.Namespace) -> None:
    given = {name: getattr(options, name) for name in ("steps", "batch_size", "pool_size")}
    changes = {name: value for name, value in given.items() if value is not None}
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    _silence_progress_bars()
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"--out: {options.out} cannot be a folder ({error.strerror}); name another"
        ) from error
    for part in [options.part] if options.part else RECIPES:
        train(part, replace(RECIPES[part], **changes), options.out, options.seed, device)


def train(part: str, recipe: Recipe, out: Path, seed: int, device: torch.device) -> None:
    """Train one part, write its weights under `out`, and print how good they are.

    Raises:
        ConfigurationError: what the part builds on is not there, or its state is of another run.
        FloatingPointError: the loss is no longer a number.
    """
    if part in _DENOISERS:
        _require_trained(out / "weights" / "scorer", out / "vae")
    save_tokenizer(out / "tokenizer")
    tokenizer = load_tokenizer(out / "tokenizer")
    state = out / f"{part}.safetensors"
    torch.manual_seed(seed)
    if part == "scorer":
        clip = fit(scorer.objective(tokenizer, recipe, seed, device), recipe, state, seed)
        scorer.save(clip, out / "weights" / part, tokenizer)
        _report_scorer(quality.Scorer(out / "weights" / part, device))
    elif part == "vae":
        vae = fit(autoencoder.objective(recipe, seed, device), recipe, state, seed)
        autoencoder.save(vae, out / part, seed)
        _report_autoencoder(vae, device)
    else:
        from diffusers import AutoencoderKL

        vae = AutoencoderKL.from_pretrained(out / "vae")
        judge = quality.Scorer(out / "weights" / "scorer")
        model = _DENOISERS[part](tokenizer, judge.model)
        task = denoisers.objective(model, vae, tokenizer, recipe, seed=seed, device=device)
        trained = fit(task, recipe, state, seed)
        denoisers.save(trained, vae, tokenizer, out / "weights" / part)
        _report_generator(part, out / "weights", device)


def _require_trained(*folders: Path) -> None:
    for folder in folders:
        if not any(folder.glob("*.safetensors")):
            raise ConfigurationError(
                f"a generator builds on the {folder.name}, and {folder} holds none; train it "
                f"first (--part {folder.name}), or everything (without --part)"
            )


def _silence_progress_bars() -> None:
    import diffusers
    import transformers

    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()


def _report_scorer(judge: quality.Scorer) -> None:
    generator = torch.Generator().manual_seed(1)
    scenes = draw_scenes(1024, generator, held_out=True)
    scenes = torch.unique(scenes, dim=0)
    scenes = scenes[torch.randperm(len(scenes), generator=generator)]
    altered = alter_scenes(scenes, generator, held_out=True)
    pictures = draw_pictures(scenes, generator)
    right = judge.similarities(pictures, captions_of(scenes))
    wrong = judge.similarities(pictures, captions_of(altered)).diagonal()
    print(
        f"scorer: of {len(scenes)} held-out pictures, {quality.share_ranked_first(right):.1%} "
        f"have their caption first among 32; {(right.diagonal() > wrong).float().mean():.1%} "
        f"prefer it to one that differs in one attribute; mean similarity "
        f"{right.diagonal().mean():.3f}, to all captions {right.mean():.3f}",
        flush=True,
    )


def _report_autoencoder(vae: AutoencoderKL, device: torch.device) -> None:
    generator = torch.Generator().manual_seed(1)
    pictures = draw_pictures(draw_scenes(256, generator, held_out=True), generator, device)
    with torch.no_grad():
        rebuilt = vae.decode(vae.encode(pictures).latent_dist.mode()).sample
    error = (rebuilt.clamp(-1, 1) - pictures).square().mean((1, 2, 3))
    print(
        f"vae: {(10 * (4 / error).log10()).mean():.1f} dB on 256 held-out pictures",
        flush=True,
    )


def _report_generator(part: str, weights: Path, device: torch.device) -> None:
    from diffusers import DDIMScheduler, DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained(weights / part).to(device)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    scenes = held_out_scenes(64)
    captions = captions_of(scenes)
    pictures = quality.generate(pipeline, captions, steps=25, guidance=_GUIDANCE)
    judge = quality.Scorer(weights / "scorer", device)
    similarities = judge.similarities(pictures, captions)
    print(
        f"{part}: of {len(captions)} generated pictures, "
        f"{quality.share_ranked_first(similarities):.1%} have their caption first among 32, "
        f"{quality.share_of_relations_kept(judge, pictures, scenes):.1%} of those with two objects "
        f"prefer their relation to its opposite; "
        f"mean similarity {similarities.diagonal().mean():.3f}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
