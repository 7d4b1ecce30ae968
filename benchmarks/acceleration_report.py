"""Turn what acceleration.py measured into a page of Markdown.

For each machine one table for each settings, with the newest measurement of each configuration
under the baseline that it was measured with, and what was published beside it; behind them how far
two runs agree, compiled beside eager, what the evaluation itself costs, and our accelerators beside
the published packages.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TypeVar

from run_log import order_of_jobs

from worker.results import statistics
from worker.results.file import ResultsFile
from worker.results.row import MEASURED, Row, metric, read_rows

T = TypeVar("T")

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
        "tell. Each speed-up is\nthe mean of the middle half of the ratios of the baseline's times to "
        "the configuration's, measured turn by\nturn within one process, with a 95 % interval; "
        "s/image and s/batch are medians. What a speed-up costs\nin quality, and which of them lie on "
        "the frontier of both, is measured with trained weights in\n"
        "[shapes.md](../shapes.md).\n",
        SOURCES,
    ]
    for machine, found in _by_machine(out).items():
        parts += [
            f"## On {machine}\n",
            *_tables(found.rows),
            *_section("Measured twice, in two processes", _agreement(found.rows)),
            *_section("Compiled beside eager", _compiled(found.rows)),
            *_section("What the evaluation itself costs", [*_overhead(found), *_scoring(found)]),
            *_section("Ours beside the published packages", _packages(found.packages)),
        ]
    return "\n".join(parts).rstrip() + "\n"


@dataclass(frozen=True)
class JobRow:
    """A row, and the job that measured it."""

    job: str
    row: Row


@dataclass
class Found:
    """What the jobs measured on one machine, the newest job last."""

    rows: list[JobRow] = field(default_factory=list)
    overheads: dict[str, float] = field(default_factory=dict)
    """Share of each job's evaluation that was not spent in the pipeline."""
    scoring: dict[str, dict] = field(default_factory=dict)
    """What each job found that it takes to score a batch."""
    packages: list[dict] = field(default_factory=list)
    """Comparisons with the published packages, the newest last."""

    def add(self, job: str, line: dict) -> None:
        """Add a line of a job's results file."""
        self.rows += [JobRow(job, _estimated(row)) for row in read_rows([line])[0]]
        if "overhead" in line.get("summary", {}):
            self.overheads[job] = line["summary"]["overhead"]
        if "scoring" in line:
            self.scoring[job] = line["scoring"]
        if "accelerator" in line:
            self.packages.append(_package(line))


def _by_machine(out: Path) -> dict[str, Found]:
    """Return what each machine measured.

    A job has one file on all machines; a summary there is of the rows before it.
    """
    age = order_of_jobs(out)
    machines: dict[str, Found] = {}
    for file in sorted(out.glob("*.jsonl"), key=lambda file: (age.get(file.stem, -1), file.stem)):
        machine = ""
        for line in ResultsFile.open(file).lines:
            about = line.get("scoring", line)
            machine = _machine(about["environment"]) if "environment" in about else machine
            machines.setdefault(machine, Found()).add(file.stem, line)
    return machines


def _estimated(row: Row) -> Row:
    """Return the row with its speed-up estimated from its times again.

    The jobs may be of several versions of this program, which estimated otherwise.
    """
    if not row.samples.baseline_seconds:
        return row
    gain = statistics.speedup(row.samples.baseline_seconds, row.samples.seconds)
    others = [item for item in row.metrics if item.name != "speedup"]
    found = metric("speedup", gain.value, "×", "higher", low=gain.low, high=gain.high)
    return row.model_copy(update={"metrics": [*others, found]})


def _package(line: dict) -> dict:
    """Return a comparison with a package under today's keys, its ratio estimated again."""
    found = {_NEW_KEYS.get(key, key): value for key, value in line.items()}
    samples = {_NEW_KEYS.get(key, key): value for key, value in line.get("samples", {}).items()}
    if samples:
        gain = statistics.speedup(samples["package"], samples["ours"])
        found["package_over_ours"] = [gain.low, gain.value, gain.high]
    return found


# the lines that were written at first call ours the house
_NEW_KEYS = {
    "house": "ours",
    "house_seconds": "our_seconds",
    "package_over_house": "package_over_ours",
}


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


def _grouped(items: Iterable[T], key: Callable[[T], tuple]) -> Iterator[tuple[tuple, list[T]]]:
    """Yield items with equal keys together, keys in the order in which they first come."""
    groups: dict[tuple, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    yield from groups.items()


def _tables(found: list[JobRow]) -> Iterator[str]:
    commits = sorted({(item.row.environment["commit"] or "unknown")[:10] for item in found})
    if commits:
        yield f"Commit: {', '.join(commits)}.\n"
    for (words, _), alike in _grouped(
        found, lambda item: (_words(item.row.settings), item.row.digest)
    ):
        yield f"### {words}\n"
        yield from _table(
            "configuration | s/image | speed-up (95 %) | published | p95 s/batch | cold s | "
            "peak GiB | J/image | W | MHz | GPU % | batches",
            map(_cells, _newest(alike)),
        )
        yield ""


def _newest(found: list[JobRow]) -> Iterator[Row]:
    """Yield the newest row of each configuration, job by job, each job's baseline first."""
    newest = {item.row.key: item.row for item in found if item.row.role != "baseline"}
    for _, together in _grouped(found, lambda item: (item.job,)):
        rows = [item.row for item in together]
        shown = [row for row in rows if newest.get(row.key) is row]
        if shown or not newest:
            yield from (row for row in rows if row.role == "baseline")
            yield from shown


def _cells(row: Row) -> list[str]:
    memory = row.value_of("peak_memory")
    measured = row.status == MEASURED
    return [
        row.label if measured else f"{row.label}: {row.status}",
        _number(row.value_of("seconds_per_image"), 3),
        _speedup(row) or ("1" if row.role == "baseline" else ""),
        _published(row),
        _number(row.value_of("seconds_per_batch_p95"), 3),
        _number(row.value_of("seconds_cold_batch"), 1),
        _number(memory and memory / 2**30, 2),
        _number(row.value_of("energy_per_image"), 0),
        _number(row.value_of("mean_power"), 0),
        _number(row.value_of("gpu_clock"), 0),
        _number(row.value_of("gpu_utilization"), 0),
        _batches(row),
    ]


def _batches(row: Row) -> str:
    """Return how many batches were timed, and how many of them something disturbed."""
    disturbed = _number(row.value_of("batches_disturbed"), 0)
    timed = _number(row.value_of("timed_batches"), 0)
    return f"{timed}, {disturbed} disturbed" if disturbed else timed


def _speedup(row: Row) -> str:
    gain = row.estimate_of("speedup")
    return "" if gain is None else _interval(gain.low, gain.value, gain.high, 2)


def _interval(low: float | None, value: float, high: float | None, digits: int) -> str:
    """Return a value with the ends of its interval, which too few runs leave unknown."""
    ends = (_number(end, digits) or "?" for end in (low, high))
    return f"{value:.{digits}f} ({' to '.join(ends)})"


def _published(row: Row) -> str:
    pipe, label = row.settings["pipe"], row.label
    bare = " + ".join(part.partition("/")[0] for part in label.split(" + "))
    found = (PUBLISHED.get((pipe, name)) for name in (label, bare))
    value, source = next((entry for entry in found if entry), ("", ""))
    return f"{value} ({source})" if value else ""


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _agreement(found: list[JobRow]) -> list[str]:
    """Return what was measured by several jobs, and whether the jobs agree."""
    lines = []
    far = 0
    with_gain = (item for item in found if item.row.value_of("speedup") is not None)
    for _, alike in _grouped(with_gain, lambda item: (item.row.digest, item.row.key)):
        by_job = {item.job: item.row for item in alike}  # the newest of each
        for one, other in itertools.combinations(by_job.values(), 2):
            apart = abs(one.value_of("speedup") / other.value_of("speedup") - 1)
            far += apart > AGREE
            verdict = "yes" if apart <= AGREE else "no"
            cells = [_words(one.settings), one.label, _speedup(one), _speedup(other)]
            lines.append([*cells, f"{apart:.1%}", verdict])
    if not lines:
        return []
    head = "settings | configuration | one run | the other | apart | within 3 %"
    said = "All agree" if far == 0 else f"{far} of {len(lines)} do not agree"
    return [*_table(head, lines), "", f"{said} within {AGREE:.0%}."]


def _compiled(found: list[JobRow]) -> list[str]:
    def alike(row: Row) -> tuple:
        settings = row.settings | {"digest": None}
        settings["pipeline"] = settings["pipeline"] | {"compile": None}
        return json.dumps(settings, sort_keys=True), row.key

    lines = []
    measured = (item.row for item in found if item.row.status == MEASURED)
    for _, both in _grouped(measured, alike):
        arms = {row.settings["pipeline"]["compile"]: row for row in both}
        if len(arms) == 2:
            cells = [_words(arms[False].settings), arms[False].label]
            for arm in (arms[False], arms[True]):
                cells += [_number(arm.value_of("seconds_per_image"), 3), _speedup(arm)]
            lines.append([*cells, _number(arms[True].value_of("seconds_cold_batch"), 0)])
    head = (
        "settings | configuration | eager s/image | speed-up | compiled s/image | speed-up | "
        "compiled cold s"
    )
    return _table(head, lines)


def _overhead(found: Found) -> list[str]:
    """Return each job's share of time in the evaluation that was not the pipeline's call.

    And what it would be with a scorer, which random weights leave nothing to do: its time for a
    batch, measured by itself, is added to what each batch took.
    """
    seconds_to_score = {
        (scored["pipe"], scored["batch_size"]): scored["seconds_per_batch"]
        for scored in found.scoring.values()
    }
    lines = []
    for job, share in found.overheads.items():
        measured = [item.row for item in found.rows if item.job == job and item.row.samples.seconds]
        settings = measured[0].settings if measured else {}
        scorer = seconds_to_score.get((settings.get("pipe"), settings.get("batch_size")))
        whole = share
        if scorer is not None:
            batch = fmean(itertools.chain(*(row.samples.seconds for row in measured)))
            beside = scorer + batch * share / (1 - share)
            whole = beside / (batch + beside)
        verdict = "yes" if whole <= OVERHEAD else "no"
        lines.append([job, f"{share:.1%}", "" if scorer is None else f"{whole:.1%}", verdict])
    note = (
        "Random weights leave a scorer nothing to do: what it would add is its time for a batch, "
        "measured by itself.\n"
    )
    return [note, *_table("job | overhead | with a scorer | within 5 %", lines)] if lines else []


def _scoring(found: Found) -> list[str]:
    """Return what it takes to score a batch."""
    lines = [
        [
            f"{scored['pipe']}, batch {scored['batch_size']}, {scored['scorer']}",
            _number(scored["seconds_per_batch"], 3),
        ]
        for scored in found.scoring.values()
    ]
    return ["", *_table("scoring | s/batch: CLIP score, PSNR, SSIM", lines)] if lines else []


def _packages(compared: list[dict]) -> list[str]:
    """Return the newest of each comparison; a ratio above 1 means that ours is faster."""
    lines = []
    for _, alike in _grouped(
        compared,
        lambda found: tuple(found[key] for key in ("pipe", "steps", "batch_size", "accelerator")),
    ):
        found = alike[-1]
        low, value, high = found["package_over_ours"]
        verdict = "?" if high is None else "slower" if high < 1 else "not slower"
        apart = found["largest_difference"]
        lines.append(
            [
                f"{found['pipe']}, {found['steps']} steps, batch {found['batch_size']}",
                found.get("package", found["accelerator"]),
                _number(found["our_seconds"], 3),
                _number(found["package_seconds"], 3),
                _interval(low, value, high, 3),
                verdict,
                "NaN or Inf" if apart is None else f"{apart:.1e}",
            ]
        )
    head = (
        "settings | package | ours s/batch | package s/batch | package / ours (95 %) | "
        "ours is | largest difference of a pixel"
    )
    return _table(head, lines)
