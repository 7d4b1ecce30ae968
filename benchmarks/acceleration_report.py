"""Turn what acceleration.py measured into a page of Markdown.

For each machine one table for each settings, with the newest measurement of each configuration
under the baseline that it was measured with, and what was published beside it; behind them how far
two runs agree, compiled beside eager, what the evaluation itself costs, and this house beside the
published packages.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import fmean

from worker.results import statistics
from worker.results.file import ResultsFile, Row, metric, value_of

AGREE = 0.03
OVERHEAD = 0.05

# (architecture, label): speed-up and where it stands; a label without branch is any branch
PUBLISHED = {
    ("SD15", "25 steps"): ("1.91", "a"),
    ("SD15", "20 steps"): ("2.22", "a"),
    ("SD15", "15 steps"): ("2.59", "a"),
    ("SD15", "DeepCache 2"): ("1.50", "a"),
    ("SD15", "DeepCache 3"): ("1.68", "a"),
    ("SD15", "DeepCache 5"): ("2.11", "a"),
    ("SD15", "DeepCache 8"): ("2.46", "a"),
    ("SD21", "DeepCache 3/0"): ("2.32", "b"),
    ("SD21", "DeepCache 5/0"): ("3.18", "b"),
    ("SD21", "DeepCache 5/1"): ("2.20", "b"),
    ("SD15", "ToMe 0.3/1"): ("1.50", "c"),
    ("SD15", "ToMe 0.5/1"): ("1.87", "c"),
    ("SD15", "ToMe 0.6/1"): ("2.03", "c"),
    ("SD15", "T-GATE 10"): ("1.63", "d"),
    ("SD21", "T-GATE 10"): ("1.63", "d"),
    ("SDXL", "T-GATE 10"): ("1.90", "d"),
    ("SDXL", "DeepCache 3/0"): ("2.67", "d"),
    ("SDXL", "DeepCache 5/0"): ("2.67", "d"),
    ("SDXL", "DeepCache 3/0 + T-GATE 10"): ("3.63", "d"),
}
SOURCES = """\
Published, each under a protocol of its own, so that it is a neighbour and not a target:
(a) DeepCache's paper: SD1.5, 512 px, PLMS 50 steps, branch 2, RTX 2080;
(b) diffusers' documentation: SD2.1, 512 px, 50 steps, batch 8, A5000;
(c) tomesd's README: SD1.5, PLMS 50 steps, fp16, without fused attention, RTX 4090;
(d) T-GATE's README: 25 steps, gate 10, GTX 1080 Ti; DeepCache's interval is not said.
"""


def page(out: Path) -> str:
    """Return the page; ``out`` is the folder of the results files."""
    parts = [
        "## How it was measured\n",
        "Made by `python benchmarks/acceleration.py`, with random weights at the models' published "
        "sizes: speed,\nmemory and energy do not depend on the weights, and there is no quality to "
        "tell. Each speed-up is\nthe mean of the faster half of the baseline's times over that of "
        "the configuration's, measured turn by turn\nwithin one process, with a 95 % bootstrap "
        "interval; s/image and s/batch are medians. What a speed-up costs\nin quality, and which of "
        "them lie on the frontier of both, is measured with trained weights in\n"
        "[shapes.md](shapes.md).\n",
        SOURCES,
    ]
    for machine, rows in _by_machine(out).items():
        measured = [row for row in rows if "metrics" in row]
        parts += [
            f"## On {machine}\n",
            *_tables(measured),
            *_section("Measured twice, in two processes", _agreement(measured)),
            *_section("Compiled beside eager", _compiled(measured)),
            *_section("What the evaluation itself costs", [*_overhead(rows), *_scoring(rows)]),
            *_section("This house beside the published packages", _packages(rows)),
        ]
    return "\n".join(parts).rstrip() + "\n"


def _by_machine(out: Path) -> dict[str, list[Row]]:
    """Return what each machine measured, each row with its visit, the newest visit last.

    A visit has one file on all machines; a summary there is of the rows before it.
    """
    diary = ResultsFile.open(out / "diary" / "visits.jsonl").rows
    age = {entry["visit"]: number for number, entry in enumerate(diary)}
    machines: dict[str, list[Row]] = {}
    for file in sorted(out.glob("*.jsonl"), key=lambda file: (age.get(file.stem, -1), file.stem)):
        machine = ""
        for row in ResultsFile.open(file).rows:
            about = row.get("scoring", row)
            machine = _machine(about["environment"]) if "environment" in about else machine
            machines.setdefault(machine, []).append(_estimated(row) | {"visit": file.stem})
    return machines


def _estimated(row: Row) -> Row:
    """Return the row with its speed-up estimated from its times again.

    The visits may be of several versions of this program, which estimated otherwise.
    """
    samples = row.get("samples", {})
    if "baseline_seconds" in samples:
        gain = statistics.speedup(samples["baseline_seconds"], samples["seconds"])
        others = [item for item in row["metrics"] if item["name"] != "speedup"]
        found = metric("speedup", gain.value, "×", "higher", low=gain.low, high=gain.high)
        return row | {"metrics": [*others, found]}
    if "house" in samples:
        gain = statistics.speedup(samples["package"], samples["house"])
        return row | {"package_over_house": [gain.low, gain.value, gain.high]}
    return row


def _section(title: str, lines: list[str]) -> list[str]:
    return [f"### {title}\n", *lines, ""] if lines else []


def _table(head: str, lines: Iterable[Iterable[str]]) -> list[str]:
    rows = [f"| {' | '.join(cells)} |" for cells in lines]
    return [f"| {head} |", f"|{'---|' * (head.count('|') + 1)}", *rows] if rows else []


def _machine(environment: dict) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in environment["versions"].items())
    threads = f"{environment['threads']} threads, " if environment["threads"] else ""
    driver = f"driver {environment['driver']}, " if environment["driver"] else ""
    return f"{environment['device']}, {driver}{threads}Python {environment['python']}, {versions}"


def _words(settings: dict) -> str:
    compiled = ", UNet compiled" if settings["pipeline"]["compile"] else ""
    return (
        f"{settings['pipe']}, {settings['image_size']} px, {settings['sched']}, "
        f"{settings['steps']} steps, batch {settings['batch_size']}, "
        f"{settings['timing']['repeats']} rounds, {settings['dtype']}{compiled}"
    )


def _configuration(row: Row) -> str:
    return json.dumps(row["configuration"], sort_keys=True)


def _grouped(rows: Iterable[Row], key: Callable[[Row], tuple]) -> Iterator[tuple[tuple, list[Row]]]:
    """Yield rows with equal keys together, keys in the order in which they first come."""
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    yield from groups.items()


def _tables(rows: list[Row]) -> Iterator[str]:
    commits = sorted({(row["environment"]["commit"] or "unknown")[:10] for row in rows})
    if commits:
        yield f"Commit: {', '.join(commits)}.\n"
    for (words, _), alike in _grouped(
        rows, lambda row: (_words(row["settings"]), row["settings"]["digest"])
    ):
        yield f"### {words}\n"
        yield from _table(
            "configuration | s/image | speed-up (95 %) | published | p95 s/batch | cold s | "
            "peak GiB | J/image | W | MHz | GPU % | batches",
            map(_cells, _newest(alike)),
        )
        yield ""


def _newest(rows: list[Row]) -> Iterator[Row]:
    """Yield the newest row of each configuration, visit by visit, each visit's baseline first."""
    newest = {_configuration(row): row for row in rows if row["role"] != "baseline"}
    for _, together in _grouped(rows, lambda row: (row["visit"],)):
        shown = [row for row in together if newest.get(_configuration(row)) is row]
        if shown or not newest:
            yield from (row for row in together if row["role"] == "baseline")
            yield from shown


def _cells(row: Row) -> list[str]:
    memory = value_of(row, "peak_memory")
    measured = row["status"] == "measured"
    return [
        row["label"] if measured else f"{row['label']}: {row['status']}",
        _number(value_of(row, "seconds_per_image"), 3),
        _speedup(row) or ("1" if row["role"] == "baseline" else ""),
        _published(row),
        _number(value_of(row, "seconds_per_batch_p95"), 3),
        _number(value_of(row, "seconds_cold_batch"), 1),
        _number(memory and memory / 2**30, 2),
        _number(value_of(row, "energy_per_image"), 0),
        _number(value_of(row, "mean_power"), 0),
        _number(value_of(row, "gpu_clock"), 0),
        _number(value_of(row, "gpu_utilization"), 0),
        _batches(row),
    ]


def _batches(row: Row) -> str:
    """Return how many batches were timed, and how many of them something disturbed."""
    disturbed = _number(value_of(row, "batches_disturbed"), 0)
    timed = _number(value_of(row, "timed_batches"), 0)
    return f"{timed}, {disturbed} disturbed" if disturbed else timed


def _speedup(row: Row) -> str:
    gain = next((item for item in row["metrics"] if item["name"] == "speedup"), None)
    if gain is None or gain["value"] is None:
        return ""
    return _interval(gain["low"], gain["value"], gain["high"], 2)


def _interval(low: float | None, value: float, high: float | None, digits: int) -> str:
    """Return a value with the ends of its interval, which too few runs leave unknown."""
    ends = (_number(end, digits) or "?" for end in (low, high))
    return f"{value:.{digits}f} ({' to '.join(ends)})"


def _published(row: Row) -> str:
    pipe, label = row["settings"]["pipe"], row["label"]
    bare = " + ".join(part.partition("/")[0] for part in label.split(" + "))
    found = (PUBLISHED.get((pipe, name)) for name in (label, bare))
    value, source = next((entry for entry in found if entry), ("", ""))
    return f"{value} ({source})" if value else ""


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _agreement(rows: list[Row]) -> list[str]:
    """Return what was measured by several visits, and whether the visits agree."""
    lines = []
    far = 0
    with_gain = (row for row in rows if value_of(row, "speedup") is not None)
    for _, alike in _grouped(
        with_gain, lambda row: (row["settings"]["digest"], _configuration(row))
    ):
        visits = {row["visit"]: row for row in alike}  # the newest of each
        for one, other in itertools.combinations(visits.values(), 2):
            apart = abs(value_of(one, "speedup") / value_of(other, "speedup") - 1)
            far += apart > AGREE
            verdict = "yes" if apart <= AGREE else "no"
            settings = _words(one["settings"])
            cells = [settings, one["label"], _speedup(one), _speedup(other)]
            lines.append([*cells, f"{apart:.1%}", verdict])
    if not lines:
        return []
    head = "settings | configuration | one run | the other | apart | within 3 %"
    said = "All agree" if far == 0 else f"{far} of {len(lines)} do not agree"
    return [*_table(head, lines), "", f"{said} within {AGREE:.0%}."]


def _compiled(rows: list[Row]) -> list[str]:
    def alike(row: Row) -> tuple:
        settings = row["settings"] | {"digest": None}
        settings["pipeline"] = settings["pipeline"] | {"compile": None}
        text = json.dumps(settings, sort_keys=True)
        return text, _configuration(row)

    lines = []
    for _, both in _grouped((row for row in rows if row["status"] == "measured"), alike):
        arms = {row["settings"]["pipeline"]["compile"]: row for row in both}
        if len(arms) == 2:
            cells = [_words(arms[False]["settings"]), arms[False]["label"]]
            for arm in (arms[False], arms[True]):
                cells += [_number(value_of(arm, "seconds_per_image"), 3), _speedup(arm)]
            lines.append([*cells, _number(value_of(arms[True], "seconds_cold_batch"), 0)])
    head = (
        "settings | configuration | eager s/image | speed-up | compiled s/image | speed-up | "
        "compiled cold s"
    )
    return _table(head, lines)


def _overhead(rows: list[Row]) -> list[str]:
    """Return each visit's share of time in the evaluation that was not the pipeline's call.

    And what it would be with a scorer, which random weights leave nothing to do: its time for a
    batch, measured by itself, is added to what each batch took.
    """
    scoring = {
        (found["pipe"], found["batch_size"]): found["seconds_per_batch"]
        for found in (row["scoring"] for row in rows if "scoring" in row)
    }
    lines = []
    for (visit,), own in _grouped(rows, lambda row: (row["visit"],)):
        shares = [row["summary"]["overhead"] for row in own if "overhead" in row.get("summary", {})]
        if not shares:
            continue
        share = shares[-1]
        measured = [row for row in own if "seconds" in row.get("samples", {})]
        settings = measured[0]["settings"] if measured else {}
        scorer = scoring.get((settings.get("pipe"), settings.get("batch_size")))
        whole = share
        if scorer is not None:
            batch = fmean(itertools.chain(*(row["samples"]["seconds"] for row in measured)))
            beside = scorer + batch * share / (1 - share)
            whole = beside / (batch + beside)
        verdict = "yes" if whole <= OVERHEAD else "no"
        lines.append([visit, f"{share:.1%}", "" if scorer is None else f"{whole:.1%}", verdict])
    note = (
        "Random weights leave a scorer nothing to do: what it would add is its time for a batch, "
        "measured by itself.\n"
    )
    return [note, *_table("visit | overhead | with a scorer | within 5 %", lines)] if lines else []


def _scoring(rows: list[Row]) -> list[str]:
    """Return what it takes to score a batch."""
    newest = {row["visit"]: row["scoring"] for row in rows if "scoring" in row}
    lines = [
        [
            f"{found['pipe']}, batch {found['batch_size']}, {found['scorer']}",
            _number(found["seconds_per_batch"], 3),
        ]
        for found in newest.values()
    ]
    return ["", *_table("scoring | s/batch: CLIP score, PSNR, SSIM", lines)] if lines else []


def _packages(rows: list[Row]) -> list[str]:
    """Return the newest of each comparison; a ratio above 1 means that the house is faster."""
    lines = []
    compared = (row for row in rows if "accelerator" in row)
    for _, alike in _grouped(
        compared, lambda row: (row["pipe"], row["steps"], row["batch_size"], row["accelerator"])
    ):
        row = alike[-1]
        low, value, high = row["package_over_house"]
        verdict = "?" if high is None else "slower" if high < 1 else "not slower"
        apart = row["largest_difference"]
        lines.append(
            [
                f"{row['pipe']}, {row['steps']} steps, batch {row['batch_size']}",
                row.get("package", row["accelerator"]),
                _number(row["house_seconds"], 3),
                _number(row["package_seconds"], 3),
                _interval(low, value, high, 3),
                verdict,
                "NaN or Inf" if apart is None else f"{apart:.1e}",
            ]
        )
    head = (
        "settings | package | house s/batch | package s/batch | package / house (95 %) | "
        "the house is | largest difference of a pixel"
    )
    return _table(head, lines)
