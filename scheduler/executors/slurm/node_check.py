"""Whether a node has installed what the dispatcher's machine has: versions compared, before anything begins.

A job asks it before it takes an order, on a node that may lack everything: standard library only. One that
has passed is remembered in a file, so that only the first job on each node looks. One that does not fit says
why in a file of its own, and ends; the dispatcher has Slurm leave that node alone.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import uuid
from pathlib import Path

from scheduler.executors.cluster.versions import differences, installed

TYPE_CHECKING = False  # as typing's; importing that would hold up each job's start
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_WANTED = "installed"
_UNFIT = ".unfit"
_OF_OWNER = 0o600


def want(folder: Path) -> None:
    """Write down what nodes must have installed: what this process has.

    Raises:
        OSError: it could not be written.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    told = {"token": uuid.uuid4().hex, "path": sys.path, "versions": installed(sys.path)}
    _write(folder / _WANTED, json.dumps(told))


def is_fit() -> bool:
    """Say whether this node may take an order; if not, say why in a file.

    The command line: where the project is, the folder of orders, the array's token.
    """
    folder, array = Path(sys.argv[2]), sys.argv[3]
    node = os.environ.get("SLURMD_NODENAME") or platform.node()
    try:
        wanted = json.loads((folder / _WANTED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True  # its dispatcher is an older one
    passed = folder / f"{node}.fit"
    try:
        if passed.read_text(encoding="utf-8") == wanted["token"]:
            return True
    except (OSError, ValueError):
        pass
    why = list(differences(installed([*wanted["path"], *sys.path]), wanted["versions"]))
    if not why:
        _write(passed, wanted["token"])
        return True
    index = os.environ.get("SLURM_ARRAY_TASK_ID", "0")
    _write(folder / f"{array}.{index}{_UNFIT}", json.dumps({"node": node, "why": ", ".join(why)}))
    return False


def unfit(folder: Path) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Yield what jobs found that did not fit, and forget it: the array's token, which of it, what it said."""
    for name in os.listdir(folder) if folder.is_dir() else ():
        array, _, rest = name.removesuffix(_UNFIT).partition(".")
        if not name.endswith(_UNFIT) or not rest.isdecimal():
            continue
        try:
            told = json.loads((folder / name).read_text(encoding="utf-8"))
            (folder / name).unlink()
        except (OSError, ValueError):
            continue  # it is being written
        if isinstance(told, dict) and isinstance(told.get("node"), str):
            yield array, int(rest), told


def _write(path: Path, text: str) -> None:
    draft = path.with_name(f"{path.name}.{uuid.uuid4().hex}.draft")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(draft, flags, _OF_OWNER), "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(draft, path)


def forget(folder: Path) -> None:
    """Remove what was written for nodes, and by them."""
    for path in (folder / _WANTED, *folder.glob("*.fit"), *folder.glob(f"*{_UNFIT}")):
        path.unlink(missing_ok=True)
