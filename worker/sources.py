"""Where models and captions come from: this package, its builds, a folder, or a hub."""

from __future__ import annotations

from importlib.resources import files

from worker.building import tiny_clip, tiny_pipeline


def local_source(source: str) -> str:
    """Turn a catalogue source into a folder or file on disk; a hub id stays what it is."""
    scheme, _, name = source.partition(":")
    if scheme == "built":
        return str(tiny_clip() if name == "tiny-clip" else tiny_pipeline(name))
    if scheme == "package":
        return str(files("worker").joinpath(name))
    return source


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
