"""How well the trained miniatures draw what they are told, and a sheet of what they draw.

    python benchmarks/shapes_sheet.py --out docs/shapes.png

Half of the sheet's pictures are of each pipeline, all of captions that training never saw: 25 steps
of DDIM at the catalogue's guidance. For each pipeline it prints how often the trained scorer puts
the caption first among 32, and how often it prefers the caption to its opposite relation ("left of"
for "right of"), which the first figure hardly tests.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from worker.models.catalogue import find_pipe, find_sched
from worker.models.loading import load_pipeline
from worker.shapes import SCORER_FOLDER
from worker.shapes.grammar import captions_of, draw_scenes, has_two_objects, held_out_scenes
from worker.shapes.quality import Scorer, generate, share_of_relations_kept, share_ranked_first
from worker.shapes.raster import draw_pictures

STEPS = 25
COLUMNS, CELL_WIDTH, CELL_HEIGHT = 8, 150, 112


def describe(name: str, judge: Scorer, pictures: Tensor, scenes: Tensor) -> str:
    """One line of figures for pictures and the scenes that they should show."""
    similarities = judge.similarities(pictures, captions_of(scenes))
    return (
        f"{name}: {len(scenes)} pictures, {share_ranked_first(similarities):.1%} have their "
        f"caption first among 32; similarity to it {similarities.diagonal().mean():.3f}, to others "
        f"{_off_diagonal(similarities):.3f}; of {has_two_objects(scenes).sum()} with two objects, "
        f"{share_of_relations_kept(judge, pictures, scenes):.1%} prefer their relation to its "
        "opposite"
    )


def _off_diagonal(similarities: Tensor) -> float:
    apart = ~torch.eye(len(similarities), dtype=torch.bool)
    return similarities[apart].mean().item()


def draw_sheet(pictures: list[Tensor], captions: list[str]) -> Image.Image:
    """The pictures in rows of eight, each above its caption."""
    rows = -(-len(pictures) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * CELL_WIDTH, rows * CELL_HEIGHT), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        left, top = number % COLUMNS * CELL_WIDTH + 4, number // COLUMNS * CELL_HEIGHT + 4
        pixels = ((picture.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0)
        sheet.paste(Image.fromarray(pixels.numpy()), (left, top))
        draw.multiline_text((left, top + 66), _wrapped(draw, caption), fill="black", spacing=1)
    return sheet


def _wrapped(draw: ImageDraw.ImageDraw, text: str) -> str:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if draw.textlength(longer) > CELL_WIDTH - 8:
            lines.append(word)
        else:
            lines[-1] = longer
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="the sheet, a PNG")
    parser.add_argument("--images", type=int, default=64, help="of each pipeline; 64 by default")
    parser.add_argument("--guidance", type=float, help="instead of the catalogue's")
    options = parser.parse_args()

    judge = Scorer(SCORER_FOLDER)
    generator = torch.Generator().manual_seed(1)
    scenes = torch.unique(draw_scenes(1024, generator, held_out=True), dim=0)
    scenes = scenes[torch.randperm(len(scenes), generator=generator)]
    print(describe("real", judge, draw_pictures(scenes, generator), scenes))

    scenes = held_out_scenes(options.images)
    captions = captions_of(scenes)
    pictures: list[Tensor] = []
    for half, name in enumerate(("SHAPES_SD15", "SHAPES_SDXL")):
        pipe = find_pipe(name)
        pipeline = load_pipeline(
            pipe,
            find_sched("DDIM"),
            source=pipe.source,
            weights="pretrained",
            device="cpu",
            dtype=torch.float32,
        )
        guidance = options.guidance or pipe.architecture.guidance_scale
        drawn = generate(pipeline, captions, STEPS, guidance)
        print(describe(f"{name} at guidance {guidance}", judge, drawn, scenes), flush=True)
        pictures += drawn[half::2].unbind()
    # one pipeline has the even captions, the other the odd ones: together each caption once
    numbers = [*range(0, len(captions), 2), *range(1, len(captions), 2)]
    draw_sheet(pictures, [captions[i] for i in numbers]).save(options.out, optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
