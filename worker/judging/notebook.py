"""Notebooks, and the lines that only notebooks understand, as plain Python.

Every line keeps its number. What a line does that could change names, and cannot be followed, becomes
``exec("")``: it runs nothing, and a reader of the text takes it for what it is, code of an unknown kind.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

UNKNOWN_CODE = 'exec("")'
UNKNOWN_VALUE = 'open("/dev/null").readlines()'
# Magics that run the rest of the line, or of the cell, as Python.
RUNNING = frozenset(["capture", "memit", "prun", "time", "timeit"])
# Magics that neither bind names nor change objects.
NEUTRAL = frozenset(
    [
        "autoreload",
        "cd",
        "conda",
        "config",
        "env",
        "gui",
        "load_ext",
        "ls",
        "mamba",
        "matplotlib",
        "mkdir",
        "pdb",
        "pip",
        "precision",
        "pwd",
        "reload_ext",
        "set_env",
        "sx",
        "system",
        "uv",
        "who",
        "whos",
    ]
)
# Cells in another language, or for another process.
FOREIGN = frozenset(
    [
        "bash",
        "cmd",
        "html",
        "javascript",
        "js",
        "latex",
        "markdown",
        "script",
        "sh",
        "svg",
        "writefile",
    ]
)
_LEXEME = re.compile(
    r"""\"\"\"|'''|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\#.*|[()\[\]{}]|[^"'\#()\[\]{}\\]+|."""
)
_ASSIGNED = re.compile(r"(\s*[A-Za-z_][\w, ]*=\s*)[!%][^=].*")
_HELP = re.compile(r"\s*(\?{1,2}[\w.*]+|[\w.*]+\?{1,2})\s*(#.*)?")
_CELL = re.compile(r"#\s*(%%|In\s*\[|<codecell>)")
_OPTIONS = re.compile(r"(-\w+(\s*\d+)?\s+)*")


@dataclass(frozen=True)
class Notebook:
    """A notebook's code.

    Attributes:
        text: its code cells, one after the other.
        language: what it is written in.
        in_order: whether its cells were run in the order in which they stand, as far as it tells.
    """

    text: str
    language: str
    in_order: bool


def read_notebook(text: str) -> Notebook | None:
    """Return the code of a notebook file; None if a text is none."""
    if not text.lstrip().startswith("{") or '"nbformat"' not in text:
        return None
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or not isinstance(content.get("nbformat"), int):
        return None
    cells = [cell for cell in _cells(content) if cell.get("cell_type") == "code"]
    counts = [cell.get("execution_count", cell.get("prompt_number")) for cell in cells]
    numbers = [count for count in counts if isinstance(count, int)]
    sources = [_joined(cell.get("source", cell.get("input"))) for cell in cells]
    return Notebook(
        "\n".join(without_magics(source) for source in sources) + "\n",
        _language(content.get("metadata")),
        numbers == sorted(set(numbers)),
    )


def _cells(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    sheets = content.get("worksheets")
    places = sheets if isinstance(sheets, list) else [content]
    for place in places:
        cells = place.get("cells") if isinstance(place, dict) else None
        for cell in cells if isinstance(cells, list) else ():
            if isinstance(cell, dict):
                yield cell


def _joined(source: object) -> str:
    if isinstance(source, list):
        return "".join(line for line in source if isinstance(line, str))
    return source if isinstance(source, str) else ""


def _language(metadata: object) -> str:
    if not isinstance(metadata, dict):
        return "python"
    for key, name in (("language_info", "name"), ("kernelspec", "language")):
        part = metadata.get(key)
        if isinstance(part, dict) and isinstance(part.get(name), str):
            return str(part[name]).lower()
    return "python"


def without_magics(text: str) -> str:
    """Return a text as Python alone, every line at its place."""
    lines = text.split("\n")
    inner = _inside_statements(lines)
    result: list[str] = []
    dropped = continued = False
    for line, is_inner in zip(lines, inner, strict=True):
        if dropped and not _CELL.match(line) and not line.startswith("%%"):
            result.append("")
            continue
        dropped = False
        if continued:
            continued = line.rstrip().endswith("\\")
            result.append("")
        elif is_inner or not is_magic(line):
            result.append(line)
        elif line.startswith("%%"):
            plain, dropped = _cell(line[2:])
            result.append(plain)
        else:
            continued = line.rstrip().endswith("\\")
            result.append(_plain(line))
    return "\n".join(result)


def is_magic(line: str) -> bool:
    """Whether a line that begins a statement is one for notebooks alone."""
    begin = line.lstrip()[:1]
    return begin in ("!", "%", "?") or bool(_ASSIGNED.fullmatch(line) or _HELP.fullmatch(line))


def _inside_statements(lines: list[str]) -> list[bool]:
    """Return for each line whether it goes on with a text, a bracket or a joined line."""
    inner: list[bool] = []
    depth = 0
    joined = False
    closing = ""
    for line in lines:
        inner.append(bool(depth > 0 or joined or closing))
        joined = False
        if not inner[-1] and is_magic(line):
            continue
        place = 0
        while place < len(line):
            if closing:
                end = _end_of(line, place, closing)
                if end is None:
                    break
                place, closing = end, ""
                continue
            found = _LEXEME.match(line, place)
            assert found is not None  # its last alternative matches any character
            place = found.end()
            piece = found[0]
            if piece in ('"""', "'''"):
                closing = piece
            elif piece in ("(", "[", "{"):
                depth += 1
            elif piece in (")", "]", "}"):
                depth = max(0, depth - 1)
            elif piece == "\\" and place == len(line):
                joined = True
    return inner


def _end_of(line: str, place: int, closing: str) -> int | None:
    """Return where a text that is open ends in a line."""
    while place < len(line):
        if line.startswith(closing, place):
            return place + len(closing)
        place += 2 if line[place] == "\\" else 1
    return None


def _cell(magic: str) -> tuple[str, bool]:
    """Return a cell magic's first line as Python, and whether the rest of the cell is dropped."""
    name = magic.split(maxsplit=1)[0] if magic.strip() else ""
    if name in RUNNING:
        return "", False
    if name in FOREIGN:
        return "", True
    return UNKNOWN_CODE, True


def _plain(line: str) -> str:
    """Return a line for notebooks as Python."""
    indent = line[: len(line) - len(line.lstrip())]
    assigned = _ASSIGNED.fullmatch(line)
    if assigned:
        return assigned[1] + UNKNOWN_VALUE
    if not line.lstrip().startswith("%"):
        return indent + "pass"
    name, _, rest = line.lstrip()[1:].strip().partition(" ")
    if name in RUNNING:
        statement = _OPTIONS.sub("", rest.strip() + " ", count=1).strip()
        return indent + (statement or "pass")
    variable, _, value = rest.replace(" ", "=", 1).partition("=")
    if name in ("env", "set_env") and value:
        return f"{indent}import os; os.environ[{variable!r}] = {value!r}"
    return indent + ("pass" if name in NEUTRAL else UNKNOWN_CODE)
