"""Where captions come from: COCO 2017, or a local text, TSV or JSON Lines file."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

from worker.config.bounded import parse_json, read_regular
from worker.errors import ConfigurationError, TryAgainLaterError
from worker.models.ahead import keep, taken_or
from worker.models.sources import local_source, prefer_cache_without_network, refuse_shadow
from worker.types import Opaque

COCO = "coco2017"
_MOST_BYTES = 2**30  # of a file of captions
_COCO_ON_THE_HUB = "phiyodr/coco2017"


def load_captions(source: str, count: int) -> list[str]:
    """Return the first ``count`` captions.

    Args:
        source: ``coco2017`` (the first caption of each image of the validation split), or a file:
            ``.txt`` with a caption on each line, ``.tsv`` with a header and a column ``caption``,
            ``.jsonl`` with a ``caption`` (or ``captions``, whose first is taken) in each object.
        count: number of captions wanted.

    Raises:
        ConfigurationError: the file is missing, malformed or too short, or a folder hides COCO.
        TryAgainLaterError: the data set cannot be reached.
    """
    name = source if source == COCO else local_source(source)
    captions = _coco(count) if source == COCO else _from_file(Path(name))
    if len(captions) < count:
        raise ConfigurationError(
            f"{name} has {len(captions)} captions, but the task needs {count}; "
            "lower num_samples, confirm or search.stability, or give search.captions a longer file"
        )
    return captions[:count]


def _from_file(path: Path) -> list[str]:
    readers = {".txt": _text_lines, ".tsv": _tsv_lines, ".jsonl": _json_lines}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ConfigurationError(
            f"search.captions: {str(path)!r} is neither {COCO} nor a file ending in "
            f"{', '.join(readers)}"
        )
    try:
        data = read_regular(path, most=_MOST_BYTES)
        text = io.TextIOWrapper(io.BytesIO(data), "utf-8-sig").read()
    except OSError as error:
        raise ConfigurationError(
            f"search.captions: {path} cannot be read: {error.strerror}"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"search.captions: {path} is not UTF-8 (byte {error.start})"
        ) from error
    except ValueError as error:  # a name with a NUL byte
        raise ConfigurationError(f"search.captions: {str(path)!r}: {error}") from error
    return list(reader(path, text))


def _text_lines(_path: Path, text: str) -> Iterator[str]:
    return (line.strip() for line in text.split("\n") if line.strip())


def _tsv_lines(path: Path, text: str) -> Iterator[str]:
    lines = text.split("\n")
    header = lines[0].split("\t") if lines else []
    if "caption" not in header:
        raise ConfigurationError(
            f"search.captions: {path} line 1: expected a header with a column 'caption'"
        )
    column = header.index("caption")
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        cells = line.split("\t")
        if len(cells) <= column or not cells[column].strip():
            raise ConfigurationError(f"search.captions: {path} line {number} has no caption")
        yield cells[column].strip()


def _json_lines(path: Path, text: str) -> Iterator[str]:
    # not splitlines: a text may hold line separators that JSON does not count as ends
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except json.JSONDecodeError as error:
            raise ConfigurationError(
                f"search.captions: {path} line {number} is not JSON: {error.msg}"
            ) from error
        except ValueError as error:  # a number too long, nested too deeply
            raise ConfigurationError(
                f"search.captions: {path} line {number} cannot be read: {error}"
            ) from error
        value = row.get("caption", row.get("captions")) if isinstance(row, dict) else row
        if isinstance(value, list) and value:
            value = value[0]
        if not isinstance(value, str) or not value.strip():
            raise ConfigurationError(
                f"search.captions: {path} line {number}: expected a text under 'caption', "
                f"found {type(value).__name__}"
            )
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            raise ConfigurationError(
                f"search.captions: {path} line {number} holds half a character (a lone surrogate)"
            )
        yield value.strip()


def load_coco_ahead() -> None:
    """Load the data set for ``load_captions`` to take.

    Raises:
        ConfigurationError, TryAgainLaterError: as there.
    """
    keep("captions", COCO, _load_coco())


def _coco(count: int) -> list[str]:
    rows = taken_or("captions", COCO, _load_coco)
    captions = rows[: min(count, len(rows))]["captions"]
    return [str(options[0]).strip() for options in captions]


def _load_coco() -> Opaque:
    refuse_shadow(_COCO_ON_THE_HUB)
    prefer_cache_without_network()
    import datasets

    datasets.disable_progress_bars()
    try:
        # without streaming, images or not, the whole set's annotations are fetched first
        return datasets.load_dataset(_COCO_ON_THE_HUB, split="validation")
    except datasets.exceptions.DatasetNotFoundError as error:
        raise ConfigurationError(
            f"the data set {_COCO_ON_THE_HUB} is not on the hub; give search.captions a local file"
        ) from error
    except (OSError, ConnectionError) as error:
        raise TryAgainLaterError(
            f"the data set {_COCO_ON_THE_HUB} is not in the local cache and the hub could not be "
            "reached; try again, or give search.captions a local file"
        ) from error
