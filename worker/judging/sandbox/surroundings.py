"""What a judged program sees of the machine: folders that are covered, what is kept of them, what is hidden.

Nearly all of the machine is there to be read, or no model and no library would be. But in homes and in the
folders for temporary files lie not only files: there are sockets and FIFOs of agents, editors and
multiplexers, which do their owner's bidding. Of these folders a program sees what it needs, and nothing else.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
_COVERED = ("/tmp", "/var/tmp", "/run", "/home", "/root")  # noqa: S108
# Where people keep secrets, below their home; needed where a home cannot be covered as a whole.
_SECRETS = (
    *(".ssh", ".aws", ".gnupg", ".netrc", ".git-credentials", ".docker", ".kube", ".pypirc"),
    *(".azure", ".kaggle", ".npmrc", ".huggingface", ".password-store", ".pgpass", ".wandb"),
    *(
        ".config/gcloud",
        ".config/gh",
        ".config/git",
        ".config/rclone",
        ".config/wandb",
        ".config/pip",
    ),
    *(".config/hub", ".config/op", ".local/share/keyrings", ".bash_history", ".zsh_history"),
    *(".python_history", ".env", ".mozilla", ".config/google-chrome", ".cargo/credentials.toml"),
)
# Which root can read.
_OF_THE_MACHINE = ("/etc/shadow", "/etc/gshadow", "/etc/ssh", "/etc/ssl/private", "/etc/sudoers.d")
_MOST_LINKS = 1000  # of one model's folder that are followed


def covered_folders() -> list[str]:
    """Return the folders that are empty for a program but for what is kept of them."""
    chosen = [tempfile.gettempdir(), str(Path.home()), os.environ.get("XDG_RUNTIME_DIR", "")]
    folders = {os.path.abspath(folder) for folder in (*_COVERED, *chosen) if folder}
    return sorted(folders - {os.sep})


def kept_places(models: Mapping[str, str]) -> list[str]:
    """Return the files and folders that a program may see wherever they are.

    Args:
        models: the folders of models, by id.
    """
    places = {
        *_of_the_interpreter(),
        str(ROOT / "worker"),
        str(hub_home()),
        *(
            os.environ.get(name, "")
            for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "CUDA_HOME")
        ),
        *os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep),
        *(place for folder in models.values() for place in _with_links(folder)),
    }
    absolute = {os.path.abspath(place) for place in places if place}
    return sorted((absolute | {os.path.realpath(place) for place in absolute}) - {os.sep})


def secret_places() -> list[str]:
    """Return the files and folders that no program may see."""
    tokens = [hub_home() / "token", hub_home() / "stored_tokens"]
    if "HF_TOKEN_PATH" in os.environ:
        tokens.append(Path(os.environ["HF_TOKEN_PATH"]))
    at_home = [Path.home() / name for name in _SECRETS]
    of_projects = [Path(folder) / ".env" for folder in (ROOT, os.curdir)]
    absolute = (os.path.abspath(path) for path in [*tokens, *at_home, *of_projects])
    return [*_OF_THE_MACHINE, *absolute]


def hub_home() -> Path:
    """Return the hub's folder: its cache, and its token."""
    chosen = os.environ.get("HF_HOME")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(chosen) if chosen else cache / "huggingface"


def _of_the_interpreter() -> Iterator[str]:
    """Yield where Python and its packages are; an environment's own program is a link to another's."""
    yield from (sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix)
    # Packages may be anywhere; what only this process looks through, a script's folder say, is none of them.
    own = {str(ROOT), os.path.dirname(os.path.abspath(sys.argv[0]))}
    own.update(os.environ.get("PYTHONPATH", "").split(os.pathsep))
    yield from (folder for folder in sys.path if os.path.isabs(folder) and folder not in own)
    program = sys.executable
    for _ in range(40):  # as many links as the kernel follows
        yield str(Path(program).parents[1])
        if not os.path.islink(program):
            return
        program = os.path.join(os.path.dirname(program), os.readlink(program))


def _with_links(folder: str) -> Iterable[str]:
    """Yield a model's folder, and what its links lead to: weights often lie on another disk."""
    yield folder
    links = 0
    for where, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(where, name)
            if os.path.islink(path) and (links := links + 1) <= _MOST_LINKS:
                yield os.path.realpath(path)
