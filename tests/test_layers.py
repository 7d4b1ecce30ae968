"""The order of the folders in both packages, read from the code's own imports.

A folder imports only from those left of it in its package's order, and the two packages never meet. Until
the files lie in these folders, `FOLDERS` says which file belongs to which.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = {
    "scheduler": "config core storage devices executors dispatch views cli".split(),
    "worker": "config models accelerators search metrics results measure judging commands".split(),
}
FOLDERS = {
    "scheduler": {
        "config": "plainyaml sweep sweepfile sweepschema units",
        "core": "core events fleet picture retry verdict",
        "storage": "checkpoints hold journal paths shares",
        "devices": "devices",
        "executors": "keeper keepers launch processes",
        "dispatch": "attempts clerk clock dispatcher life records recovery",
        "views": "console live output sentences summary views",
        "cli": "commandline commands",
    },
    "worker": {
        "config": "settings",
        "models": "architectures building catalogue loading prompts sources",
        "accelerators": "accelerators",
        "search": "checking plan studies",
        "metrics": "metrics",
        "results": "environment results statistics summary",
        "measure": "evaluation guard memory rig rows search",
        "judging": "compare",
        "commands": "commands",
    },
}
# What they do not keep yet, and the move mends: `Rules` belongs to the sweep, `output` to the views.
NOT_YET = {
    ("scheduler.sweep", "scheduler.verdict"),
    ("scheduler.sweepfile", "scheduler.verdict"),
    ("scheduler.sweepschema", "scheduler.verdict"),
}
NEVER = {
    "scheduler": {"worker", "torch", "diffusers", "transformers", "datasets", "open_clip"},
    "worker": {"scheduler"},
}


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules(package: str) -> dict[str, Path]:
    return {module_name(file): file for file in sorted((ROOT / package).rglob("*.py"))}


def imports_of(file: Path, known: dict[str, Path]) -> Iterator[str]:
    """Yield what a file imports, wherever in it: modules of the package whole, others by their first name."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute here"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in known else str(node.module)


def folder_of(package: str, module: str) -> str | None:
    first = module.split(".")[1] if "." in module else ""
    for folder, files in FOLDERS[package].items():
        if first in files.split():
            return folder
    return None


@pytest.mark.parametrize("package", ORDER)
def test_a_folder_imports_only_from_those_left_of_it(package: str) -> None:
    order, known = ORDER[package], modules(package)
    upward = set()
    for module, file in known.items():
        here = folder_of(package, module)
        for imported in imports_of(file, known):
            there = folder_of(package, imported) if imported.split(".")[0] == package else None
            if here and there and order.index(there) > order.index(here):
                upward.add((module, imported))
    assert upward == (NOT_YET if package == "scheduler" else set())


@pytest.mark.parametrize("package", ORDER)
def test_the_packages_never_meet(package: str) -> None:
    known = modules(package)
    for module, file in known.items():
        met = {imported.split(".")[0] for imported in imports_of(file, known)} & NEVER[package]
        assert not met, f"{module} imports {', '.join(met)}"
