"""The README's table and figure, from what was measured.

    python benchmarks/front_page.py                         print the table
    python benchmarks/front_page.py --draw docs/front-page.svg

Speed is that of docs/data/acceleration.md, loss in the table that of benchmarks/front-page-results, and the
figure's curves those of docs/shapes.md. The rows behind the loss were measured by

    python -m worker search --pipe SHAPES_SD15 --sched DDIM --steps 50 --num-samples 64 --batch-size 8 \\
        --search benchmarks/front_page.yaml --results benchmarks/front-page-results/SHAPES_SD15.jsonl

and by the same command for SHAPES_SDXL.

Drawing needs matplotlib (`pip install -e '.[benchmarks]'`).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SPEEDS = ROOT / "docs/data/acceleration.md"
SHAPES = ROOT / "docs/shapes.md"
LOSSES = ROOT / "benchmarks/front-page-results"

# what the README calls it; its label in SDXL's table, in SD1.5's, and in the miniatures' rows
WAYS = (
    ("DeepCache, interval 3", "DeepCache 3/0", "DeepCache 3/0", "DeepCache 3/0"),
    ("T-GATE from step 10", "T-GATE 10", "T-GATE 10", "T-GATE 10"),
    ("both", *["DeepCache 3/0 + T-GATE 10"] * 3),
    ("ToMe, ratio 0.5", "ToMe 0.5/2", "ToMe 0.5/1", "ToMe 0.5/2"),
    ("15 steps instead of 50", "15 steps", "15 steps", "15 steps"),
)
SDXL = "SDXL, 1024 px, DDIM, 50 steps, batch 2, 10 rounds, float16"
SD15 = "SD15, 512 px, DDIM, 50 steps, batch 4, 10 rounds, float16"
CURVES = "SHAPES_SD15, 20 steps"


class Figure(NamedTuple):
    """A measured value with its 95 % interval."""

    value: float
    low: float
    high: float


def tables(page: Path, title: str) -> dict[str, dict[str, str]]:
    """Return the table under a heading: each row's cells by their columns, rows by their label."""
    _, _, rest = page.read_text(encoding="utf-8").partition(f"\n### {title}\n")
    lines = re.findall(r"^\| (.*) \|$", rest.partition("\n### ")[0], flags=re.MULTILINE)
    head, *rows = [[cell.strip() for cell in line.split("|")] for line in lines]
    return {cells[0]: dict(zip(head, cells, strict=True)) for cells in rows}


def figure(cell: str) -> Figure:
    """Read `2.45 (2.34 to 2.51)` or `0.6% (-0.3% to 1.8%)`, percent as percent."""
    return Figure(*map(float, re.findall(r"-?[\d.]+", cell)))


def speeds(title: str) -> dict[str, Figure]:
    """Return the speed-ups of one table of docs/data/acceleration.md, by the configurations' labels."""
    found = tables(SPEEDS, title).items()
    return {label: figure(row["speed-up (95 %)"]) for label, row in found if label != "baseline"}


def losses(pipe: str) -> dict[str, Figure]:
    """Return a miniature's losses of CLIP score in percent, by the configurations' labels."""
    rows = map(json.loads, (LOSSES / f"{pipe}.jsonl").read_text(encoding="utf-8").splitlines())
    return {
        row["label"]: Figure(*(100 * metric[key] for key in ("value", "low", "high")))
        for row in rows
        for metric in row.get("metrics", [])
        if metric["name"] == "quality_loss"
    }


def percent(value: float) -> str:
    rounded = round(value, 1) + 0.0  # no -0.0
    return f"{rounded:.1f}".replace("-", "−")


def table() -> str:
    """Return the README's table."""
    sdxl, sd15 = speeds(SDXL), speeds(SD15)
    lost = [losses("SHAPES_SDXL"), losses("SHAPES_SD15")]
    lines = [
        "| of 50 steps of DDIM | SDXL, 1024 px | SD1.5, 512 px | loss, `SHAPES_SDXL` "
        "| loss, `SHAPES_SD15` |",
        "|---|---|---|---|---|",
    ]
    for name, in_sdxl, in_sd15, in_miniature in WAYS:
        cells = [f"{sdxl[in_sdxl].value:.2f} ×", f"{sd15[in_sd15].value:.2f} ×"]
        for loss in (found[in_miniature] for found in lost):
            ends = f"{percent(loss.low)} to {percent(loss.high)}"
            cells.append(f"{percent(loss.value)} % ({ends})")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(target: Path) -> None:
    """Draw speed at full size beside speed against loss in the miniature."""
    from matplotlib import pyplot as plt

    plt.rcParams |= {"svg.hashsalt": "front page", "font.size": 9, "axes.titlesize": 10}
    canvas, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.5), layout="constrained")

    colours = {"SDXL, 1024 px": "#1b5e9e", "SD1.5, 512 px": "#7fb2e0"}
    for shift, (model, title, column) in enumerate(
        (("SDXL, 1024 px", SDXL, 1), ("SD1.5, 512 px", SD15, 2))
    ):
        found = speeds(title)
        shown = [found[way[column]] for way in WAYS]
        at = [row + 0.38 * shift for row in range(len(WAYS))]
        errors = [[f.value - f.low for f in shown], [f.high - f.value for f in shown]]
        left.barh(
            at, [f.value for f in shown], 0.36, xerr=errors, label=model, color=colours[model],
            error_kw={"elinewidth": 1, "ecolor": "#333333"},
        )  # fmt: skip
        for row, f in zip(at, shown, strict=True):
            left.text(f.high + 0.06, row, f"{f.value:.2f}", va="center", fontsize=8)
    left.axvline(1, color="#888888", linewidth=1)
    left.set_yticks([row + 0.19 for row in range(len(WAYS))], [way[0] for way in WAYS])
    left.invert_yaxis()
    left.set_xlim(0, 3.9)
    left.set_xlabel("speed-up on one H100 (random weights)")
    left.set_title("How much faster, at full size")
    left.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 0.18))

    found = tables(SHAPES, CURVES)
    for name, pattern, colour, above in (
        ("DeepCache, interval 2, 3, 5, 10", r"DeepCache (\d+)/0", "#1b5e9e", False),
        ("fewer steps: 10, 5, 3 of 20", r"(\d+) steps", "#c2571a", True),
    ):
        points = [
            (match[1], figure(row["speed-up"]), figure(row["CLIP loss"]))
            for label, row in found.items()
            if (match := re.fullmatch(pattern, label))
        ]
        fast, lost = [p[1] for p in points], [p[2] for p in points]
        right.errorbar(
            [f.value for f in fast], [f.value for f in lost],
            xerr=[[f.value - f.low for f in fast], [f.high - f.value for f in fast]],
            yerr=[[f.value - f.low for f in lost], [f.high - f.value for f in lost]],
            marker="o", markersize=4, capsize=2, elinewidth=1, color=colour, label=name,
        )  # fmt: skip
        for text, f, loss in points:
            offset = (-9, 6) if above else (4, -12)
            right.annotate(
                text, (f.value, loss.value), offset, textcoords="offset points", color=colour
            )
    right.axhline(0, color="#888888", linewidth=1)
    right.set_xlim(1, 6)
    right.set_xlabel("speed-up on a CPU")
    right.set_ylabel("loss of CLIP score, %")
    right.set_title("What it costs, in a trained miniature (SHAPES_SD15)")
    right.legend(frameon=False, loc="upper left")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    canvas.savefig(target, metadata={"Date": None} if target.suffix == ".svg" else None, dpi=110)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draw", type=Path, metavar="FILE", help="draw the figure to this file")
    options = parser.parse_args()
    if options.draw:
        draw(options.draw)
    else:
        print(table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
