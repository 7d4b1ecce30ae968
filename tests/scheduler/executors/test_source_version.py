"""What code an attempt runs: found and told apart, never executed, and never waited for."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from scheduler.executors import source_files
from scheduler.executors.source_log import Versions, pairs
from scheduler.executors.source_version import SourceReader
from scheduler.storage.paths import SweepPaths


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "it's a\nproject"
    folder.mkdir()
    for name, text in {
        "train.py": "import os, utils as u, wandb\nfrom models import unet\n",
        "utils.py": "  import deep  # lazily\nfrom . import nothing\n",
        "deep.py": "raise SystemExit('executed')\n",
        "models/__init__.py": "raise SystemExit('executed')\n",
        "models/sub/unet.py": "1\n",
        "wandb/run-1/code.py": "no package: it gives way to what is installed\n",
        "tool/__main__.py": "1\n",
        "run.sh": "python train.py\n",
        "conf/base.yaml": "a: 1\n",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def reader(folder: Path) -> SourceReader:
    paths = SweepPaths(folder, "s")
    paths.make_folders()
    (paths.checkpoints / "a.jsonl").write_text("results are no code\n")
    return SourceReader(folder, "", paths)


def files(reader: SourceReader, *command: str) -> dict[str, str]:
    found: dict[str, str] = (reader.read(command) or {}).get("files", {})
    return found


SCRIPT = ["train.py", "utils.py", "models/", "deep.py"]


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("python train.py --lr 1", SCRIPT),
        ("torchrun --nproc 1 ./train.py", SCRIPT),
        ("bash run.sh", ["run.sh"]),
        ("./run.sh", ["run.sh"]),
        ("python -m tool x", ["tool/"]),
        ("python -m models.sub.unet", ["models/"]),
        ("python -u -m utils", ["utils.py", "deep.py"]),
        ("accelerate launch -m tool", ["tool/"]),
        ("app --config=conf/base.yaml", ["conf/base.yaml"]),
        ("app --out checkpoints/s/a.jsonl", []),
        ("train.py", []),  # looked up on the PATH
        ("python -m none.such", []),
        ("python -m os;evil", []),
        ("app conf models/sub", []),
    ],
)
def test_what_a_command_names(
    reader: SourceReader, folder: Path, command: str, names: list[str]
) -> None:
    found = files(reader, *command.split())
    assert list(found) == names
    for name in names:
        if not name.endswith("/"):
            assert found[name] == hashlib.sha256((folder / name).read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "line",
    [
        *("cd . && python 'run.sh' --x", "./run.sh;echo", "(bash run.sh)&", "bash run.sh|tee log"),
        "it's run.sh",  # a quotation without end
    ],
)
def test_what_a_line_for_a_shell_names(reader: SourceReader, line: str) -> None:
    assert {os.path.normpath(path) for path in files(reader, "sh", "-c", line)} == {"run.sh"}


def test_modules_on_the_python_path(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/far.py").write_text("1")
    reader = SourceReader(folder, f"nowhere:{tmp_path / 'lib'}", SweepPaths(folder, "s"))
    assert list(files(reader, "python", "-m", "far")) == [str(tmp_path / "lib/far.py")]


@pytest.mark.parametrize(
    ("edited", "name"),
    [
        ("train.py", "train.py"),
        ("deep.py", "deep.py"),
        ("models/sub/unet.py", "models/"),
        ("models/new.py", "models/"),
    ],
)
def test_an_edit_is_noticed_by_the_next_attempt(
    reader: SourceReader, folder: Path, edited: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_files, "_SHARE", 0)
    before = files(reader, "python", "train.py")
    assert files(reader, "python", "train.py") == before
    text = (folder / edited).read_text() if (folder / edited).exists() else ""
    (folder / edited).write_text(f"{text}# edited\n")
    after = files(reader, "python", "train.py")
    assert {path for path in before if before[path] != after[path]} == {name}


def test_an_unchanged_file_is_not_read_again(
    reader: SourceReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(reader, "python", "train.py")
    monkeypatch.delattr(os, "open")
    assert files(reader, "python", "train.py") == before


# --- what must not be waited for -----------------------------------------------------------------


def a_fifo(path: Path) -> None:
    os.mkfifo(path)


def a_device(path: Path) -> None:
    os.symlink("/dev/zero", path)


def a_kernel_file_that_blocks(path: Path) -> None:
    os.symlink("/proc/kmsg", path)


def a_link_to_itself(path: Path) -> None:
    os.symlink(path, path)


def a_huge_file(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 38)


@pytest.mark.parametrize(
    "make", [a_fifo, a_device, a_kernel_file_that_blocks, a_link_to_itself, a_huge_file]
)
def test_no_file_is_waited_for(
    reader: SourceReader, folder: Path, make: Callable[[Path], None]
) -> None:
    make(folder / "odd.py")
    found = files(reader, "python", "odd.py", "run.sh")
    assert found["run.sh"]
    if make is a_huge_file:
        assert found["odd.py"].startswith(f"{1 << 38} bytes")


@pytest.mark.parametrize(
    "words",
    [["a\0b"], ["x" * 100_000], ["", " ", "="], ["run.sh"] * 10_000, ["-c", "x = 1 " * 50_000]],
)
def test_odd_words_are_no_files(reader: SourceReader, words: list[str]) -> None:
    assert set(files(reader, "app", *words)) <= {"run.sh"}


def test_a_folder_that_is_too_large_is_left_out(
    reader: SourceReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_files, "_MOST_IN_PACKAGE", 1)
    assert list(files(reader, "python", "-m", "models.x", "run.sh")) == ["run.sh"]


def test_a_repository_without_a_commit_is_neither_dirty_nor_clean(
    reader: SourceReader, folder: Path
) -> None:
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    source = reader.read(["python", "train.py"])
    assert source is not None
    assert source.keys() == {"files"}


def test_links_to_folders_are_not_followed(reader: SourceReader, folder: Path) -> None:
    before = files(reader, "python", "-m", "tool")
    os.symlink("..", folder / "tool/loop")
    assert files(reader, "python", "-m", "tool") == before


def test_an_import_statement_without_end_takes_no_time(reader: SourceReader, folder: Path) -> None:
    (folder / "odd.py").write_text("import a" + " " * 500_000 + "\n" + "import " + "a," * 200_000)
    assert "odd.py" in files(reader, "python", "odd.py")


# --- the versions that there were ----------------------------------------------------------------


def test_versions_mix_when_a_file_had_two(tmp_path: Path) -> None:
    path = tmp_path / "versions"
    versions = Versions(path)
    versions.add({"files": {"a.py": "1", "out.csv": "1"}, "commit": "x"})
    versions.add({"files": {"a.py": "1", "out.csv": "2", "b.py": "7"}, "commit": "x"})
    assert not Versions(path).mix()
    assert len(path.read_text().splitlines()) == 2
    versions.add({"files": {"a.py": "2"}})
    assert Versions(path).mix()


@pytest.mark.parametrize("source", [{}, {"files": 1}, {"files": {"a.py": []}}, {"commit": {}}])
def test_what_a_file_says_of_the_source_is_not_trusted(source: dict[str, object]) -> None:
    assert list(pairs(source)) == []
