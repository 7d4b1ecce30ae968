"""Which versions a machine has of what attempts need, and how two machines differ in them.

Slurm's jobs ask it, on nodes that may lack everything: standard library only.
"""

from __future__ import annotations

import platform
import re

TYPE_CHECKING = False  # as typing's; importing that would hold up each job's start
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# Ours, by its name as a package; what it needs is what the worker imports.
_PROJECT = "diffusion-sweeps"
# What is compared where the project was never installed, and so nothing says what it needs.
_NEEDED = ("torch", "diffusers", "transformers")


def installed(path: Sequence[str]) -> dict[str, str | None]:
    """Return the versions of this Python, of this project and of what it needs, by name.

    Args:
        path: where packages are looked for, as in ``sys.path``.

    Returns:
        the versions; None: it is not there.
    """
    from importlib.metadata import distributions  # late: few jobs look

    found: dict[str, str | None] = {"python": platform.python_version()}
    project = next(iter(distributions(name=_PROJECT, path=list(path))), None)
    needed = _NEEDED if project is None else project.requires or ()
    names = [re.split(r"[^\w.-]", text)[0] for text in needed if "extra ==" not in text]
    for name in (_PROJECT, *names):
        known = next(iter(distributions(name=name, path=list(path))), None)
        found[name] = None if known is None else known.version
    return found


def differences(there: Mapping[str, str | None], wanted: Mapping[str, str | None]) -> Iterator[str]:
    """Yield a phrase for each thing of which a node has another version, or none.

    Args:
        there: what the node has.
        wanted: what the dispatcher's machine has; what that lacks no attempt needs.
    """
    for name, version in wanted.items():
        if version is not None and (found := there.get(name)) != version:
            yield f"no {name} ({version})" if found is None else f"{name} {found}, not {version}"
