"""Where models and captions come from: this package, its builds, a folder, or a hub."""

from __future__ import annotations

import os
import re
import socket
from functools import cache
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

from worker.errors import ConfigurationError, nearest
from worker.models.families.registry import buildable
from worker.models.random_weights import cache_folder, tiny_clip, tiny_pipeline

_TINY_CLIP = "tiny-clip"
_SECONDS_TO_CONNECT = 5.0
_HUB_ID = re.compile(r"[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)?", re.ASCII)


def local_source(source: str) -> str:
    """Turn a catalogue source into a folder or file on disk; a hub id stays what it is.

    Raises:
        ConfigurationError: ``built:`` names nothing that can be built.
    """
    scheme, _, name = source.partition(":")
    if scheme == "built":
        known = (*buildable(), _TINY_CLIP)
        if name not in known:
            raise ConfigurationError(f"{source!r} cannot be built; {nearest(name, known)}")
        folder = tiny_clip() if name == _TINY_CLIP else tiny_pipeline(name)
        return str(folder.absolute())
    if scheme == "package":
        return str(files("worker").joinpath(name))
    return source


def names_folder(source: str) -> bool:
    """Say whether a source is a folder, not a hub id: it begins with ``.``, ``/`` or ``~``."""
    return source.startswith((".", "/", "~"))


def is_missing_folder(source: str) -> bool:
    """Say whether a source is a folder that is not there."""
    return names_folder(source) and not os.path.isdir(os.path.expanduser(source))


def refuse_no_hub_id(source: str) -> None:
    """Refuse what is neither a folder nor a hub's ``owner/name``, or hides a hub id.

    Raises:
        ConfigurationError: it is a file or folder named without ``./``, or no such id.
    """
    if os.path.isfile(source):
        raise ConfigurationError(
            f"{source} is a single file, and models are loaded from folders in diffusers' layout, or "
            "from the hub"
        )
    refuse_shadow(source)
    if not _HUB_ID.fullmatch(source):
        raise ConfigurationError(
            f"{source} is neither a folder here nor a hub id (owner/name): write a folder with ./, ~ "
            "or / at its front"
        )


def refuse_shadow(hub_id: str) -> None:
    """Refuse a hub id where a folder of that name lies here.

    The libraries would load the folder in its place and say nothing.

    Raises:
        ConfigurationError: there is such a folder.
    """
    if os.path.exists(hub_id):  # which a name too long for a file's does not trouble
        raise ConfigurationError(
            f"{hub_id} is on the hub, and here lies a folder of the same name, which would be "
            f"loaded in its place: start from another folder, or write ./{hub_id} if it is meant"
        )


def has_random_weights(source: str) -> bool:
    """Say whether a model is one that was built here, whose images or scores mean nothing."""
    if source.startswith("built:"):
        return True
    return names_folder(source) and cache_folder().resolve() in Path(source).resolve().parents


@cache
def prefer_cache_without_network() -> None:
    """Let the hub's libraries look into their cache alone, where the hub cannot be reached.

    Each of them would try again and again for every file, half a minute each. Where a proxy is set
    only they know the way.
    """
    from urllib.request import getproxies

    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or getproxies():
        return
    hub = urlsplit(constants.ENDPOINT)
    port = hub.port or (80 if hub.scheme == "http" else 443)
    try:
        socket.create_connection((hub.hostname or "", port), timeout=_SECONDS_TO_CONNECT).close()
    except OSError:
        # for those that are imported from here on, and for the one that is
        os.environ["HF_HUB_OFFLINE"] = "1"
        constants.HF_HUB_OFFLINE = True


def was_unreachable(error: BaseException) -> bool:
    """Say whether a failed connection stands at the root of a library's error.

    The libraries report a missing network and a missing file alike; what tells them apart is the
    chain of causes, and there the names of two HTTP libraries' errors, of which one is installed.
    """
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    names = {kind.__name__ for link in chain for kind in type(link).__mro__}
    if names & {"RepositoryNotFoundError", "GatedRepoError", "RemoteEntryNotFoundError"}:
        return False
    return bool(
        names
        & {"ConnectionError", "ConnectError", "TimeoutException", "Timeout", "OfflineModeIsEnabled"}
    ) or any(getattr(getattr(link, "response", None), "status_code", 0) >= 500 for link in chain)
