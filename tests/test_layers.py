"""The order of the folders in both packages, read from the code's own imports.

A folder imports only from those left of it in its package's order, and the two packages never meet.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = {
    "scheduler": [
        "config",
        "core",
        "storage",
        "devices",
        "executors",
        "dispatch",
        "views",
        "report",
        "cli",
    ],
    "worker": [
        *("config", "models", "accelerators", "search", "metrics", "results", "measure"),
        *("judging", "commands"),
    ],
}
BESIDE = {"scheduler": set[str](), "worker": {"shapes", "captions"}}  # import nothing of the order
BELOW = {"scheduler": set[str](), "worker": {"errors", "types"}}  # modules that all may import
NEVER = {
    "scheduler": {"worker", "torch", "diffusers", "transformers", "datasets", "open_clip"},
    "worker": {"scheduler"},
}
# The core decides without I/O: it may calculate, and no more.
PURE = {
    *(
        "__future__",
        "collections",
        "dataclasses",
        "enum",
        "functools",
        "bisect",
        "heapq",
        "itertools",
        "math",
    ),
    *("operator", "re", "statistics", "types", "typing"),
}
MOST_FILES = 12  # in a folder; what needs more is two things


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


def folder_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("package", ORDER)
def test_a_folder_imports_only_from_those_left_of_it(package: str) -> None:
    order, known = ORDER[package], modules(package)
    upward = [
        f"{module} imports {imported}"
        for module, file in known.items()
        for imported in imports_of(file, known)
        if imported in known
        and folder_of(module) in order
        and folder_of(imported) not in BELOW[package]
        and (
            folder_of(imported) not in order
            or order.index(folder_of(imported)) > order.index(folder_of(module))
        )
    ]
    assert not [line for line in upward if ".shapes" not in line]


@pytest.mark.parametrize("package", ORDER)
def test_the_packages_never_meet(package: str) -> None:
    known = modules(package)
    for module, file in known.items():
        met = {imported.split(".")[0] for imported in imports_of(file, known)} & NEVER[package]
        assert not met, f"{module} imports {', '.join(met)}"


@pytest.mark.parametrize("package", ORDER)
def test_every_folder_has_its_place_in_the_order(package: str) -> None:
    folders = {path.name for path in (ROOT / package).iterdir() if path.is_dir()}
    assert folders - {"__pycache__"} == {*ORDER[package], *BESIDE[package]}


@pytest.mark.parametrize("package", ORDER)
def test_no_folder_is_too_full_to_be_looked_over(package: str) -> None:
    for folder in {file.parent for file in modules(package).values()}:
        files = list(folder.glob("*.py"))
        assert len(files) <= MOST_FILES, f"{folder.relative_to(ROOT)} holds {len(files)} files"


def test_the_core_does_no_io() -> None:
    known = modules("scheduler")
    for module, file in known.items():
        if folder_of(module) == "core":
            for imported in imports_of(file, known):
                first = imported.split(".")[0]
                assert first == "scheduler" or first in PURE & sys.stdlib_module_names, (
                    f"{module} imports {imported}"
                )


@pytest.mark.parametrize(("program", "files"), [("supervisor", 3), ("preload.parent", 7)])
def test_what_supervises_is_made_of_the_standard_library(program: str, files: int) -> None:
    """It starts in milliseconds, and it is where nothing else of this package is to be loaded."""
    known, waiting = modules("scheduler"), [f"scheduler.executors.local.{program}"]
    for module in waiting:
        for imported in imports_of(known[module], known):
            first = imported.split(".")[0]
            assert imported in known or first in {*sys.stdlib_module_names, "__future__"}
            if imported in known and imported not in waiting:
                waiting.append(imported)
    assert len(waiting) == files
