"""An attempt's files on its node, read from there piece by piece; nothing here speaks to Ray."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from scheduler.storage.attempts_file import is_locked
from scheduler.storage.paths import size_of
from scheduler.storage.regular_files import open_descriptor

PIECE = 4 << 20  # bytes of a file at a time
_MOST_PICTURES = 10_000
_LARGEST_PICTURE = 64 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Offsets:
    """How many bytes of an attempt's files are at the dispatcher's already."""

    answers: int = 0
    log: int = 0
    results: int = 0


@dataclass(slots=True)
class News:
    """What is new in an attempt's files."""

    # Whole lines of what the supervisor has told; none as long as the other files have more.
    answers: bytes = b""
    # Lines of the attempts file, all of them.
    record: bytes = b""
    log: bytes = b""
    results: bytes = b""
    # Nothing of the attempt lives, and this is the last of it.
    over: bool = False
    # SHA-256 of the results file, once it is over: a worker may have changed what was there before.
    results_digest: str = ""
    # Sizes of the pictures that are kept beside the results, once it is over.
    pictures: dict[str, int] = field(default_factory=dict)
    # Seconds of CPU time that its processes have used.
    cpu: float = 0.0
    # It was not begun: the order was taken back.
    withdrawn: bool = False
    # It was not begun: number, text and file of an error.
    failed: tuple[int, str, str | None] | None = None
    # Where its actor runs, for Ray.
    node: str = ""


class NodeFiles:
    """The folder of one attempt on its node."""

    def __init__(self, folder: Path, results: str) -> None:
        """Know the folder.

        Args:
            folder: the attempt's own.
            results: name of its results file in there.
        """
        self.folder = folder
        self.results = folder / results
        self.pictures = self.results.with_suffix(".images")
        self.attempts = folder / ".attempts"
        self.log = folder / ".log"
        self.answers = folder / ".answers"
        self.spec = folder / ".spec.json"
        self.errors = folder / ".errors"

    def make(self, results: bytes) -> None:
        """Make the folder, with the results that the attempt goes on from.

        Raises:
            OSError: it cannot be made, or is there already.
        """
        self.folder.mkdir(mode=0o700)
        if results:
            self.results.write_bytes(results)

    def has_news(self, had: Offsets) -> bool:
        """Say whether any file is longer than it was."""
        sizes = (size_of(self.answers), size_of(self.log), size_of(self.results))
        return any(
            size > old for size, old in zip(sizes, (had.answers, had.log, had.results), strict=True)
        )

    def news(self, had: Offsets, *, over: bool) -> News:
        """Return what is new.

        Args:
            had: what is at the dispatcher's already.
            over: whether nothing of the attempt lives.
        """
        # First, since what it tells of is in the other files.
        answers = _piece(self.answers, had.answers)
        news = News(
            log=_piece(self.log, had.log),
            results=_piece(self.results, had.results),
            record=_piece(self.attempts, 0),
        )
        if max(len(news.log), len(news.results)) < PIECE:
            news.answers = answers[: answers.rfind(b"\n") + 1]
            news.over = over
        if news.over:
            news.results_digest = digest_of(self.results)
            news.pictures = self._sizes_of_pictures()
        return news

    def seems_over(self) -> bool:
        """Say whether the supervisor and the worker are gone, of whatever they died."""
        return not is_locked(self.attempts)

    def piece(self, name: str, offset: int) -> bytes:
        """Return a piece of the results file or, by its name, of a picture."""
        path = self.results if not name else self.pictures / os.path.basename(name)
        return _piece(path, offset)

    def remove(self) -> None:
        """Remove all of it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _sizes_of_pictures(self) -> dict[str, int]:
        try:
            names = sorted(os.listdir(self.pictures))[:_MOST_PICTURES]
        except OSError:
            return {}
        sizes = {name: size_of(self.pictures / name) for name in names if name[0] != "."}
        return {name: size for name, size in sizes.items() if 0 < size <= _LARGEST_PICTURE}


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file in hex; of one that is not there, that of nothing."""
    digest = hashlib.sha256()
    offset = 0
    while piece := _piece(path, offset):
        digest.update(piece)
        offset += len(piece)
    return digest.hexdigest()


def _piece(path: Path, offset: int) -> bytes:
    try:
        descriptor = open_descriptor(path)
    except OSError:
        return b""
    try:
        return os.pread(descriptor, PIECE, offset)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
