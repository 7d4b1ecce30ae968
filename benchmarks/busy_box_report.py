"""The page of benchmarks/busy_box.py: each arm's speed-up in every situation, and what held."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from worker.results.file import ResultsFile
from worker.results.row import Row, read_rows

PIPES = ("SD15", "SDXL")
SITUATIONS = ("alone", "neighbour", "load", "alone again")
NULL_ARM_WITHIN = 0.01
PRECISION = 0.02
SPEEDUPS_WITHIN = 0.03
DEVICE_WITHIN = 0.01


def page(out: Path) -> str:
    """Return the page; ``out`` is the folder of the results files."""
    parts = [
        "# The same task alone, beside others, and alone again\n",
        "Written by `python benchmarks/busy_box.py` from the rows in its results folder. A speed-up "
        "stands with its 95 % interval;\n`device` is that of the kernels' time alone; in brackets how "
        "many calls of how many were disturbed to the end.\n",
    ]
    for name in PIPES:
        found = {situation: _rows(out, name, situation) for situation in SITUATIONS}
        found = {situation: rows for situation, rows in found.items() if rows}
        if found:
            parts += _section(name, found)
    return "\n".join(parts) + "\n"


def _rows(out: Path, name: str, situation: str) -> list[Row]:
    path = out / f"{name}-{situation.replace(' ', '-')}.jsonl"
    found = read_rows(ResultsFile.open(path).lines)[0] if path.exists() else []
    # a row is appended again with the device's time in it
    return list({row.key: row for row in found}.values())


def _section(name: str, found: dict[str, list[Row]]) -> Iterator[str]:
    first = next(iter(found.values()))[0]
    settings = first.settings
    versions = first.environment["versions"]
    yield (
        f"## {name}: {settings['image_size']} px, {settings['sched']}, {settings['steps']} steps, "
        f"batch {settings['batch_size']}, {settings['dtype']}\n"
    )
    yield (
        f"{first.environment['device']}, driver {first.environment['driver']}, torch "
        f"{versions['torch']}, diffusers {versions['diffusers']}.\n"
    )
    yield f"| configuration | {' | '.join(found)} |"
    yield "|---" * (len(found) + 1) + "|"
    for label in dict.fromkeys(row.label for rows in found.values() for row in rows):
        cells = [_cell(_of(rows, label)) for rows in found.values()]
        yield f"| {label} | {' | '.join(cells)} |"
    yield ""
    yield from _held(found)
    yield ""


def _of(rows: Sequence[Row], label: str) -> Row | None:
    return next((row for row in rows if row.label == label), None)


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    if row.role == "baseline":
        device = row.value_of("device_seconds")
        words = f"{row.value_of('seconds_per_batch'):.3f} s"
        words += f", device {device:.3f} s" if device is not None else ""
    else:
        gain, device = row.estimate_of("speedup"), row.value_of("speedup_device")
        words = "" if gain is None else f"{gain.value:.3f}"
        if gain is not None and gain.low is not None:
            words += f" ({gain.low:.3f} to {gain.high:.3f})"
        words += f", device {device:.3f}" if device is not None else ""
    disturbed = row.value_of("batches_disturbed")
    return words + (f" [{disturbed:g} of {row.value_of('timed_batches'):g}]" if disturbed else "")


def _held(found: dict[str, list[Row]]) -> Iterator[str]:
    """Yield what was to hold, and whether it did."""
    for situation, rows in found.items():
        null = next((row for row in rows if row.is_null_arm), None)
        gain = None if null is None else null.estimate_of("speedup")
        widths = [
            estimate.relative_half_width
            for row in rows
            if (estimate := row.estimate_of("speedup")) is not None
        ]
        known = [width for width in widths if width is not None]
        disturbed = sum(row.value_of("batches_disturbed") or 0 for row in rows)
        retaken = sum(row.value_of("batches_retaken") or 0 for row in rows)
        words = []
        if gain is not None:
            words.append(
                f"null arm {gain.value:.3f} ({_yes(abs(gain.value - 1) <= NULL_ARM_WITHIN)} within 1 %)"
            )
        if known:
            words.append(
                f"widest interval ±{max(known):.1%} ({_yes(max(known) <= PRECISION)} within ±2 %)"
            )
        words.append(f"{retaken:g} calls retaken, {disturbed:g} left disturbed")
        yield f"* {situation}: {'; '.join(words)}"
    for name, bound in (("speedup", SPEEDUPS_WITHIN), ("speedup_device", DEVICE_WITHIN)):
        apart = list(_apart(found, name))
        if apart:
            label, most = max(apart, key=lambda item: item[1])
            yield (
                f"* {name}: the four runs of an arm lie at most {most:.1%} apart ({label}; "
                f"{_yes(most <= bound)} within {bound:.0%})"
            )


def _apart(found: dict[str, list[Row]], name: str) -> Iterator[tuple[str, float]]:
    """Yield how far each arm's figures lie apart between the situations, as a share."""
    for label in dict.fromkeys(row.label for rows in found.values() for row in rows):
        rows = [row for rows in found.values() if (row := _of(rows, label)) is not None]
        values = [value for row in rows if (value := row.value_of(name)) is not None]
        if len(values) > 1:
            yield label, max(values) / min(values) - 1


def _yes(held: bool) -> str:
    return "is" if held else "is not"
