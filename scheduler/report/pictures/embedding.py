"""Which of the kept pictures a report shows, and the pictures themselves, within a limit of bytes."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from scheduler.config.sweep import Sweep, Task
from scheduler.storage.json_files import as_number, read_results
from scheduler.storage.paths import SweepPaths
from scheduler.storage.regular_files import open_binary
from scheduler.views.answers import Answers, TaskAnswer

# Bytes of all pictures as they stand in the page.
LIMIT = 24 << 20
_MOST_OF_ONE = 8 << 20
# What of a row's settings tells on how many prompts, and how long, it was measured.
_OF_COUNTS = ("digest", "num_samples", "prompts_digest", "stopping", "timing")
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Pair:
    """One prompt and seed under the baseline and a configuration; pictures by their numbers."""

    task: str
    label: str
    prompt: str
    seed: int
    baseline: int
    picture: int
    # In dB against the baseline's; None: not known.
    psnr: float | None
    # CLIP scores of the baseline's and of the configuration's.
    baseline_score: float | None
    score: float | None


@dataclass
class Pictures:
    """What is shown, and what is not."""

    pairs: list[Pair] = field(default_factory=list)
    # As data URIs.
    images: list[str] = field(default_factory=list)
    # Pairs that the limit leaves out.
    left_out: int = 0
    # Pairs of which a file is missing or is no picture.
    missing: int = 0
    limit: int = LIMIT

    @property
    def told(self) -> list[dict[str, Any]]:
        """Return the pairs as JSON may hold them."""
        return [asdict(pair) for pair in self.pairs]


def pictures_of(
    asked: Sequence[tuple[Sweep, SweepPaths, Sequence[Task]]], answers: Answers, limit: int = LIMIT
) -> Pictures:
    """Return what of the kept pictures is shown: the best of each task first, then what others may be.

    Args:
        asked: the sweeps, as the answers were asked for.
        answers: what is best.
        limit: bytes of all pictures in the page.
    """
    paths = {(sweep.name, task.id): places for sweep, places, tasks in asked for task in tasks}
    several = len(asked) > 1
    sources = [
        (number, source)
        for task in answers.tasks
        for number, source in enumerate(
            _sources(task, paths[task.sweep, task.task].results(task.task), several)
        )
    ]
    shown = _Shown(limit)
    # Task by task their first, then their second, …: a limit is to leave something of each task.
    for _, source in sorted(sources, key=lambda one: one[0]):
        shown.add(source)
    return shown.pictures


@dataclass(frozen=True)
class _Source:
    """A row with pictures, its baseline's row, and where their files lie."""

    task: str
    results: Path
    baseline: Mapping[str, Any]
    row: Mapping[str, Any]


def _sources(task: TaskAnswer, results: Path, several: bool) -> Iterator[_Source]:
    """Yield a task's rows with pictures in the order in which they are wanted."""
    if not results.with_suffix(".images").is_dir():
        return
    rows = {
        str(row.get("label")): row
        for row in read_results(results)
        if "study" not in row and isinstance(row.get("pictures"), list)
    }
    base = next((row for row in rows.values() if row.get("role") == "baseline"), None)
    if base is None:
        return
    known = [row.label for row in task.rows if row.status == "measured"]
    wanted = [task.best, *task.snippets, *task.frontier, *task.undecided, *known]
    name = f"{task.sweep}/{task.task}" if several else task.task
    for label in dict.fromkeys(wanted):
        row = rows.get(str(label))
        if row is not None and row is not base and _settings(row) == _settings(base):
            yield _Source(name, results, base, row)


def _settings(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a picture depends on; an adaptive search has seen some configurations on fewer prompts."""
    settings = row.get("settings")
    known = settings if isinstance(settings, dict) else {}
    return {key: value for key, value in known.items() if key not in _OF_COUNTS}


class _Shown:
    """What was taken so far."""

    def __init__(self, limit: int) -> None:
        self.pictures = Pictures(limit=limit)
        self._numbers: dict[Path, int | None] = {}
        self._room = limit

    def add(self, source: _Source) -> None:
        """Take the pairs of one row, as far as there is room."""
        others = {_key(one): one for one in source.baseline["pictures"] if isinstance(one, dict)}
        for number, one in enumerate(source.row["pictures"]):
            if not isinstance(one, dict) or _key(one) not in others:
                continue
            names = [_file(source.results, each) for each in (others[_key(one)], one)]
            data = [None if name is None else self._read(name) for name in names]
            if None in data:
                self.pictures.missing += 1
                continue
            if sum(len(text) for text in data if isinstance(text, str)) > self._room:
                self.pictures.left_out += 1
                continue
            first, second = (
                self._number(name, text) for name, text in zip(names, data, strict=True)
            )
            psnr, before, after = (
                _sample(source.row, key, number)
                for key in ("psnr", "baseline_clip_score", "clip_score")
            )
            label = str(source.row["label"])
            pair = Pair(source.task, label, *_key(one), first, second, psnr, before, after)
            self.pictures.pairs.append(pair)

    def _read(self, file: Path) -> str | int | None:
        """Return a picture as a data URI, its number where it was taken before, None where there is none."""
        if file in self._numbers:
            return self._numbers[file]
        try:
            with open_binary(file) as stream:
                data = stream.read(_MOST_OF_ONE + 1)
        except OSError:
            return None
        if len(data) > _MOST_OF_ONE or not data.startswith(_PNG):
            return None
        return "data:image/png;base64," + base64.b64encode(data).decode()

    def _number(self, file: Path | None, found: str | int | None) -> int:
        assert file is not None
        if isinstance(found, str):
            self._room -= len(found)
            self.pictures.images.append(found)
            found = self._numbers[file] = len(self.pictures.images) - 1
        assert found is not None
        return found


def _key(picture: Mapping[str, Any]) -> tuple[str, int]:
    seed = picture.get("seed")
    return str(picture.get("prompt")), seed if isinstance(seed, int) else 0


def _file(results: Path, picture: Mapping[str, Any]) -> Path | None:
    """Return where a picture lies: in the task's own folder, whatever its row says."""
    folder, _, name = str(picture.get("file")).partition("/")
    own = results.with_suffix(".images")
    plain = folder == own.name and "/" not in name and "\0" not in name and name.endswith(".png")
    return own / name if plain and not own.is_symlink() else None


def _sample(row: Mapping[str, Any], name: str, number: int) -> float | None:
    samples = row.get("samples")
    values = samples.get(name) if isinstance(samples, dict) else None
    return as_number(values[number]) if isinstance(values, list) and number < len(values) else None
