"""Where torch keeps what it compiles: beside the results, for all tasks and attempts of a sweep.

What is kept there is found by the graph, torch's own source, its settings, the versions of CUDA and Triton
and the GPU's model: torch sees to that. Since it holds pickles, it must be nobody else's to write. torch's
own choice is a folder in /tmp that whoever comes first can make.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
MOST_BYTES = 8 * 2**30


def keep_compiled(folder: Path, most: int = MOST_BYTES) -> str | None:
    """Have torch keep what it compiles in a folder, unless the environment names another.

    Args:
        folder: made if it is not there.
        most: bytes from which on it is emptied, once nobody uses it.

    Returns:
        Why it is not used, or None. Then what is compiled goes as this process ends.
    """
    if os.environ.get(VARIABLE):
        return None
    why = _refusal(folder)
    if why is None:
        _share(folder, most)
        os.environ[VARIABLE] = os.fspath(folder.absolute())
        return None
    own = tempfile.mkdtemp(prefix="compiled-")
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    os.environ[VARIABLE] = own
    return f"what is compiled is not kept in {folder}: {why}"


def _refusal(folder: Path) -> str | None:
    """Return why somebody else could write into a folder, or why there is none."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        above, status = os.stat(folder.parent), os.lstat(folder)
    except OSError as error:
        return error.strerror or str(error)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        return "it is not a folder of yours: remove it"
    if stat.S_IMODE(status.st_mode) & 0o077:
        return "others may use it, too: chmod 700"
    shared = above.st_mode & 0o022 and not above.st_mode & stat.S_ISVTX
    if shared or above.st_uid not in (0, os.geteuid()):
        return f"others can replace what lies in {folder.parent}: take their right to write there"
    return None


def _share(folder: Path, most: int) -> None:
    """Use a folder beside others until this process ends; empty it first if it is too large."""
    lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    if _bytes_in(folder) > most:
        with suppress(BlockingIOError):  # in use: whoever comes later will
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for entry in folder.iterdir():
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry, ignore_errors=True)
    fcntl.flock(lock, fcntl.LOCK_SH)


def _bytes_in(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # gone meanwhile
                total += os.lstat(os.path.join(place, name)).st_size
    return total
