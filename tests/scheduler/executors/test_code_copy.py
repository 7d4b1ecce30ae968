"""Workers that run from a copy of their code: edits during a sweep do not matter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scheduler.executors import code_copy
from scheduler.executors.code_copy import CodeCopy, TooLarge, take
from scheduler.storage.paths import SweepPaths
from tests.helpers.sweep_runner import SweepRunner

# Waits at the gate of its task, if it is the first, and imports what it says only then.
TRAIN = """\
import os, sys
if sys.argv[1] == "a":
    open("gate a", "rb").read()
import model
print("version", model.VERSION, open("data/x").read(), open("config.yaml").read())
print("Successfully completed")
"""


@pytest.fixture
def code(runner: SweepRunner) -> Path:
    """A project in the runner's folder: a script, a module, data, a configuration."""
    folder = runner.folder
    (folder / "train.py").write_text(TRAIN)
    (folder / "model.py").write_text("VERSION = 1\n")
    (folder / "config.yaml").write_text("lr: 1")
    (folder / "pkg").mkdir()
    (folder / "pkg" / "__main__.py").write_text(f"sys = __import__('sys')\n{TRAIN}")
    (folder / "pkg" / "__init__.py").touch()
    (folder / "run.sh").write_text(f"#!/bin/sh\nexec {sys.executable} train.py $1\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "data").mkdir()
    (folder / "data" / "x").write_text("data")
    return folder


def edit(code: Path) -> None:
    (code / "model.py").write_text("VERSION = 2\n")
    (code / "config.yaml").write_text("lr: 2")
    (code / "train.py").write_text("raise SystemExit('half a file")
    (code / "pkg" / "__main__.py").write_text("raise SystemExit('half a file")
    (code / "run.sh").write_text("exit 1")


COMMANDS: dict[str, list[str]] = {
    "script": ["python", "train.py", "{case}"],
    "module": ["python", "-m", "pkg", "{case}"],
    "whole path": ["python", "FOLDER/train.py", "{case}"],
    "program": ["./run.sh", "{case}"],
    "shell": ["sh", "-c", "python3 train.py {case}"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_edits_during_a_sweep_do_not_matter(runner: SweepRunner, code: Path, name: str) -> None:
    command = [word.replace("FOLDER", str(code)) for word in COMMANDS[name]]
    runner.write(
        {"a": "", "b": ""}, worker={"command": command, "env": {}}, devices={"cpu_slots": 1}
    )
    running = runner.start(runner.file, "--snapshot")
    open_gate = runner.reach_gate("a")
    edit(code)
    status = runner.status()
    (copy,) = (path for path in runner.paths.code.iterdir() if path.is_dir())
    assert status["snapshot"] == copy.name
    assert f"a copy of the code ({copy.name})" in runner.run("status", runner.file).out
    open_gate()
    ended = running.end()
    assert ended.code == 0, runner.log("a") + ended.out
    for task in "ab":
        assert "version 1 data lr: 1" in runner.log(task)
        assert runner.done(task)["source"]["snapshot"] == copy.name
    assert all(task["other_code"] == [] for task in runner.status()["tasks"])


def test_without_it_they_do(runner: SweepRunner, code: Path) -> None:
    runner.write(
        {"a": "", "b": ""}, worker={"command": COMMANDS["script"]}, devices={"cpu_slots": 1}
    )
    running = runner.start()
    open_gate = runner.reach_gate("a")
    (code / "model.py").write_text("VERSION = 2\n")
    open_gate()
    assert running.end().code == 0
    assert "version 2" in runner.log("b")
    assert runner.status()["snapshot"] is None


def test_a_resumed_run_has_the_same_copy_or_says_that_the_code_has_changed(
    runner: SweepRunner, code: Path
) -> None:
    runner.write({"b": ""}, worker={"command": COMMANDS["script"]})
    assert "has changed" not in runner.run(runner.file, "--snapshot").out
    (first,) = (path for path in runner.paths.code.iterdir() if path.is_dir())
    made = first.stat().st_ino
    runner.write({"b": "", "c": ""}, worker={"command": COMMANDS["script"]})
    assert "has changed" not in runner.run(runner.file, "--snapshot").out, (
        "the sweep file is no code"
    )
    assert first.stat().st_ino == made
    runner.write({"b": "", "c": "", "d": ""}, worker={"command": COMMANDS["script"]})
    (code / "model.py").write_text("VERSION = 2\n")
    ended = runner.run(runner.file, "--snapshot")
    assert ended.code == 0, ended.err
    assert f"the code has changed since the last run ({first.name}, now " in ended.out
    assert "version 2" in runner.log("d")
    other = {task["task"]: task["other_code"] for task in runner.status()["tasks"]}
    assert other == {"b": ["model.py"], "c": ["model.py"], "d": []}


def test_what_is_too_large_is_no_code(runner: SweepRunner, code: Path) -> None:
    for number in range(3):
        (code / f"large{number}.py").write_bytes(b"#" * code_copy.LARGEST_FILE)
    runner.write({"b": ""}, worker={"command": COMMANDS["script"]})
    assert runner.run(runner.file, "--snapshot").code == 0, "a large file is linked"


# --- what is copied ------------------------------------------------------------------------------


@pytest.fixture
def paths(tmp_path: Path) -> SweepPaths:
    paths = SweepPaths(tmp_path, "s")
    paths.make_folders()
    return paths


def write(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def linked(copy: CodeCopy) -> set[str]:
    found = (
        Path(folder, name) for folder, dirs, files in os.walk(copy.place) for name in dirs + files
    )
    return {str(path.relative_to(copy.place)) for path in found if path.is_symlink()}


def copied(copy: CodeCopy) -> set[str]:
    found = (path for path in copy.place.rglob("*") if not path.is_symlink() and path.is_file())
    return {str(path.relative_to(copy.place)) for path in found}


def test_code_is_copied_and_all_else_linked(tmp_path: Path, paths: SweepPaths) -> None:
    write(tmp_path, "a.py", "lib/b.py", "lib/weights.bin", "lib/__pycache__/b.pyc", "data/x.csv")
    write(tmp_path, "logs/s/t.log", ".venv/bin/tool.py", "env/pyvenv.cfg", "env/lib/c.py", "notes")
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "tool").chmod(0o755)
    os.mkfifo(tmp_path / "gate.py")
    (tmp_path / "dangling.py").symlink_to("nowhere")
    copy = take(tmp_path, paths, tmp_path / "sweep.yaml")
    assert copied(copy) == {"a.py", "lib/b.py", "tool"}
    assert linked(copy) == {
        *("lib/weights.bin", "data", "logs", ".venv", "env", "notes", "checkpoints", "gate.py"),
        "dangling.py",
    }
    assert os.access(copy.place / "tool", os.X_OK)
    assert copy.folder == copy.place
    assert take(tmp_path, paths, tmp_path / "sweep.yaml").digest == copy.digest


def test_a_repository_is_copied_as_a_whole(tmp_path: Path, paths: SweepPaths) -> None:
    write(tmp_path, "lib/b.py", "experiments/data/x")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "lib"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True)
    copy = take(tmp_path / "experiments", paths, tmp_path / "sweep.yaml")
    assert copy.folder == copy.place / "experiments"
    assert not copy.folder.is_symlink(), "else workers would run outside the copy"
    assert (copy.folder / "../lib/b.py").is_file()
    assert (copy.state["dirty"], len(copy.state["commit"])) == (False, 40)


def test_a_copy_is_mended_and_one_that_is_not_used_removed(
    tmp_path: Path, paths: SweepPaths
) -> None:
    write(tmp_path, "a.py", "lib/b.py")
    first = take(tmp_path, paths, tmp_path / "sweep.yaml")
    (first.place / "a.py").write_text("changed by a worker")
    assert take(tmp_path, paths, tmp_path / "sweep.yaml").before is None
    assert (first.place / "a.py").read_text() == "a.py"
    (tmp_path / "a.py").write_text("version 2")
    paths.attempts("t").write_text(f'{{"source": {{"snapshot": "{first.digest}"}}}}\n')
    second = take(tmp_path, paths, tmp_path / "sweep.yaml")
    assert second.before == first.digest
    assert first.place.is_dir(), "an attempt may run from it"
    paths.attempts("t").unlink()
    write(first.place, "out/result.csv")
    take(tmp_path, paths, tmp_path / "sweep.yaml")
    assert copied(first) == {"out/result.csv"}, "what a worker wrote stays"
    (first.place / "out/result.csv").unlink()
    take(tmp_path, paths, tmp_path / "sweep.yaml")
    assert not first.place.exists()


@pytest.mark.parametrize(("limit", "value"), [("LARGEST_COPY", 5), ("MOST_FILES", 1)])
def test_too_much_is_refused(
    tmp_path: Path, paths: SweepPaths, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(code_copy, limit, value)
    write(tmp_path, "a.py", "b.py")
    with pytest.raises(TooLarge, match="files of code"):
        take(tmp_path, paths, tmp_path / "sweep.yaml")
    assert not list(paths.checkpoints.rglob("*.py"))


def test_words_and_paths_that_lead_into_the_code_lead_into_the_copy(
    tmp_path: Path, paths: SweepPaths
) -> None:
    write(tmp_path, "lib/b.py", "data/x")
    copy = take(tmp_path, paths, tmp_path / "sweep.yaml")
    words: list[Any] = [f"{tmp_path}/lib/b.py", f"{tmp_path}/data/x", "/etc/hosts", "lib/b.py"]
    assert copy.placed(words) == [f"{copy.place}/lib/b.py", *words[1:]]
    (tmp_path / "link").symlink_to(tmp_path)
    assert copy.placed([f"{tmp_path}/link/lib/b.py"]) == [f"{copy.place}/lib/b.py"]
    found = copy.environment({"PYTHONPATH": f"{tmp_path}/lib:/opt", "A": str(tmp_path)})
    assert found == {"PYTHONPATH": f"{copy.place}/lib:/opt", "A": str(tmp_path)}
