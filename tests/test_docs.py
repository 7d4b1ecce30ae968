"""What README and docs/ point at is there: links, anchors, files, commands; and the map is whole."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler.cli import main as scheduler_program
from tests.test_layers import ORDER, imports_of, modules
from worker.commands import main as worker_program

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("findings/*.md")])
MAP = ROOT / "docs/architecture.md"
READERS_OWN = {"sweeps/real.yaml"}  # files that a page lets its reader make
UNDERSTAND = {
    "scheduler": scheduler_program._understand,
    "worker": worker_program.understand,
}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$|`[^`\n]*`", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors_of(page: Path) -> set[str]:
    """Return the anchors that GitHub gives a page's headings."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    seen: Counter[str] = Counter()
    anchors = set()
    for heading in re.findall(r"^#+ +(.+?) *$", text, flags=re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        anchors.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return anchors


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{name_of(page)} links to {target}, which is not there"
        if anchor:
            assert anchor in anchors_of(file), f"{name_of(page)} links to {target}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_file_that_is_named_is_there(page: Path) -> None:
    """A path of this repository, written from its root; a folder's with a slash behind."""
    folders = "scheduler|worker|tests|benchmarks|sweeps|findings|docs"
    text = re.sub(r"\]\([^)]*\)", "]", page.read_text())  # links have a test of their own
    for path in re.findall(rf"(?<![\w/.-])(?:{folders})/[\w./-]*\w/?", text):
        if path not in READERS_OWN and ("." in Path(path).name or path.endswith("/")):
            assert (ROOT / path).exists(), f"{name_of(page)} names {path}, which is not there"


def commands_of(page: Path) -> Iterator[str]:
    """Yield the commands of the two programs that a page shows, in its code blocks and between backquotes."""
    text = page.read_text()
    for line in text.replace("\\\n", " ").splitlines():
        if found := re.match(
            r"(?:\$ )?(?:.*&& )?(python -m (?:scheduler|worker)\b.*)", line.strip()
        ):
            yield found[1]
    yield from re.findall(r"`(python -m (?:scheduler|worker)\b[^`\n]*)`", text)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_is_understood(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in commands_of(page):
        line = re.sub(r" +#.*| \|.*", "", command)
        line = line.replace("[", "").replace("]", "").replace(" …", "")
        program, *words = shlex.split(line)[2:]
        if "." in program:  # python -m worker.shapes.train
            assert (ROOT / f"{program.replace('.', '/')}.py").exists()
            continue
        if not words or words == ["check"]:
            continue
        try:
            UNDERSTAND[program](words)
        except SystemExit as stopped:
            said = capsys.readouterr().err
            # `python -m worker plan …` and the bare `python -m worker plan` leave something out.
            left_out = ("…" in command or len(words) == 1) and "required" in said
            assert not stopped.code or left_out, f"{name_of(page)} shows {command!r}: {said}"


def mapped() -> dict[str, list[str]]:
    """Return each path of the map's tree, folders ending in a slash, with its line's text."""
    tree = MAP.read_text().partition("<!-- map -->")[2].partition("<!-- end of map -->")[0]
    paths: dict[str, list[str]] = {}
    above: list[str] = []
    for line in tree.splitlines():
        if found := re.match(r"( *)([\w./]+)(.*)", line):
            del above[len(found[1]) // 2 :]
            paths.setdefault("".join(above) + found[2], []).append(found[3].strip())
            if found[2].endswith("/"):
                above.append(found[2])
    return paths


@pytest.mark.parametrize("package", ORDER)
def test_the_map_names_every_file_once_and_no_other(package: str) -> None:
    files = {name_of(file) for file in (ROOT / package).rglob("*.py") if file.name != "__init__.py"}
    folders = {f"{name_of(folder)}/" for folder in [ROOT / package, *(ROOT / package).rglob("*/")]}
    here = files | {folder for folder in folders if list((ROOT / folder).glob("*.py"))}
    lines = {path: line for path, line in mapped().items() if path.startswith(f"{package}/")}
    for path in sorted(here - set(lines)):
        pytest.fail(f"add a line for {path} to the map in docs/architecture.md")
    for path in sorted(set(lines) - here):
        pytest.fail(f"the map in docs/architecture.md has a line for {path}, which is not there")
    for path, said in lines.items():
        assert len(said) == 1, f"the map in docs/architecture.md names {path} twice"
        assert said[0] or path == f"{package}/", f"say in docs/architecture.md what {path} is for"


@pytest.mark.parametrize("package", ORDER)
def test_the_map_has_the_folders_in_their_order(package: str) -> None:
    folders = re.findall(rf"^{package}/(\w+)/$", "\n".join(mapped()), flags=re.MULTILINE)
    assert [folder for folder in folders if folder in ORDER[package]] == ORDER[package]


def test_what_the_architecture_page_names_is_where_it_says() -> None:
    """Paths may leave out the folders above; `NAME in FILE` needs the file to define the name."""
    text = MAP.read_text()
    known = [ROOT / path for path in mapped() if path.endswith(".py")]
    for path in set(re.findall(r"`([\w/]+\.py)`", text)) - {"__init__.py"}:
        assert (
            any(f"/{file}".endswith(f"/{path}") for file in map(name_of, known))
            or (ROOT / path).exists()
        ), f"docs/architecture.md names {path}, which is not there"
    for name, path in re.findall(r"`(\w+)` in `([\w/]+\.py)`", text):
        (file,) = [file for file in known if f"/{name_of(file)}".endswith(f"/{path}")]
        defined = re.search(rf"^ *(?:def|class) {name}\b", file.read_text(), flags=re.MULTILINE)
        assert defined, f"docs/architecture.md looks for {name} in {path}, which does not define it"


FINDINGS = [file for file in sorted((ROOT / "findings").glob("*.sh")) if file.name != "run.sh"]


@pytest.mark.parametrize("finding", FINDINGS, ids=lambda file: file.stem)
def test_a_finding_has_the_form_that_its_readme_asks_for(finding: Path) -> None:
    text = finding.read_text()
    head = [line for line in text.split("\nset -euo pipefail\n")[0].splitlines() if line[:1] == "#"]
    said = [line[2:].split(" ")[0] for line in head[1:] if line[2:3].strip()]
    for word in ("package", "date", "expected", "happens", "matters"):
        assert word in said, f"{name_of(finding)} does not say in its head: {word}"
    assert os.access(finding, os.X_OK)
    assert "trap 'rm -rf" in text
    assert f"]({finding.name})" in (ROOT / "findings/README.md").read_text()


def test_the_scheduler_needs_no_more_than_the_page_says() -> None:
    """What docs/write-a-worker.md installs on a machine that runs other workers."""
    page = (ROOT / "docs/write-a-worker.md").read_text()
    found = re.search(r"`pip install (nvidia-ml-py [\w -]+)`", page)
    assert found
    named = {"nvidia-ml-py": "pynvml", "pyyaml": "yaml"}
    installed = {named.get(package, package) for package in found[1].split()}
    known = modules("scheduler")
    first = {name.split(".")[0] for file in known.values() for name in imports_of(file, known)}
    ours = {"scheduler", "pydantic_core"}  # the one is no package, the other comes with pydantic
    drawn = {
        "jinja2",
        "markupsafe",
        "plotly",
        "prometheus_client",
        "pyarrow",
        "ray",
        "mlflow",
        "trackio",
        "wandb",
    }  # the extras of `report`, --metrics-file, `track` and `executor`, which say what they lack
    assert first - sys.stdlib_module_names - ours - drawn == installed
