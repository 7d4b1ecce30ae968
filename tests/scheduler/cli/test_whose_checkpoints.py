"""A sweep is one thing wherever it is named from: whose checkpoints are, and where they are found."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from scheduler.cli.main import main
from tests.helpers.sweep_runner import Ended, Running

SWEEP = """\
matrix: {m: [a, b]}
worker: {command: [sh, -c, "echo %s >> $SWEEP_RESULTS; echo Successfully completed"]}
"""


@dataclass
class Project:
    """Folders with sweep files in them, and commands called in them."""

    folder: Path
    environment: dict[str, str]
    change_folder: Callable[[Path], None]

    def write(self, name: str, says: str = "1") -> Path:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(SWEEP % says)
        return file

    def run(self, *words: str | Path, cwd: str = ".") -> Ended:
        """Call a command in this process: a new one would take most of the time."""
        folder = self.folder / cwd
        folder.mkdir(exist_ok=True)
        out, err = (io.TextIOWrapper(io.BytesIO(), write_through=True) for _ in range(2))
        self.change_folder(folder)
        with redirect_stdout(out), redirect_stderr(err):
            code = main([str(word) for word in words])
        return Ended(code, *(stream.buffer.getvalue().decode() for stream in (out, err)))

    def ran(self, root: str = ".", name: str = "sweep") -> list[str]:
        """Return what the workers of task ``a`` wrote."""
        return (self.folder / root / "checkpoints" / name / "a.jsonl").read_text().split()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    home = tmp_path / "home"
    folder = home / "it's a\nproject"
    folder.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    python_path = str(Path(__file__).parents[3])
    return Project(folder, {**os.environ, "PYTHONPATH": python_path}, monkeypatch.chdir)


# --- two files of one name -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [(), ("--dry-run",), ("status",), ("status", "--json"), ("retry", "--force"), ("tail",)],
)
def test_a_second_file_of_the_name_is_refused(project: Project, words: tuple[str, ...]) -> None:
    first = project.write("exp1/sweep.yaml", "1")
    project.write("exp2/sweep.yaml", "2")
    assert project.run(first).code == 0
    before = sorted(os.listdir(project.folder / "checkpoints/sweep"))
    last = ["a"] if words == ("tail",) else []
    ended = project.run(*words[:1], "exp2/sweep.yaml", *words[1:], *last)
    assert (ended.code, ended.out) == (2, "")
    assert "belongs to exp1/sweep.yaml" in ended.err
    assert "give this one a `name:`" in ended.err
    assert len(ended.err.splitlines()) == 1
    assert sorted(os.listdir(project.folder / "checkpoints/sweep")) == before
    again = project.run(first)
    assert "2 of 2 completed" in again.out
    assert project.ran() == ["1"]


def by_another_path(project: Project) -> str:
    return "../exp1/./sweep.yaml"


def by_a_link(project: Project) -> str:
    os.symlink("exp1/sweep.yaml", project.folder / "sweep.yaml")
    return "../sweep.yaml"


def by_a_hard_link(project: Project) -> str:
    os.link(project.folder / "exp1/sweep.yaml", project.folder / "sweep.yaml")
    return "../sweep.yaml"


def after_it_was_moved(project: Project) -> str:
    os.rename(project.folder / "exp1", project.folder / "exp2")
    return "../exp2/sweep.yaml"


def after_an_editor_replaced_it(project: Project) -> str:
    (project.folder / "new").write_text("# better\n" + SWEEP % 1)
    os.rename(project.folder / "new", project.folder / "exp1/sweep.yaml")
    return "../exp1/sweep.yaml"


def after_the_project_was_moved(project: Project) -> str:
    moved = project.folder.with_name("moved")
    os.rename(project.folder, moved)
    project.folder = moved
    return "../exp1/sweep.yaml"


def after_the_project_was_copied(project: Project) -> str:
    copy = project.folder.with_name("copy")
    shutil.copytree(project.folder, copy)
    project.write("exp1/sweep.yaml", "something else in the first one")
    project.folder = copy
    return "../exp1/sweep.yaml"


def by_a_copy_that_says_the_same(project: Project) -> str:
    project.write("copy/sweep.yaml", "1")
    return "../copy/sweep.yaml"


def of_version_0_1_0_which_left_no_record(project: Project) -> str:
    (project.folder / "checkpoints/sweep/.sweep.json").unlink()
    return "../exp1/sweep.yaml"


@pytest.mark.parametrize("damage", ["", "[]", '{"file": 1, "folder": {}, "fingerprint": []}'])
def test_a_damaged_record_is_made_anew(project: Project, damage: str) -> None:
    assert project.run(project.write("exp1/sweep.yaml")).code == 0
    record = project.folder / "checkpoints/sweep/.sweep.json"
    record.write_text(damage)
    assert "2 of 2 completed" in project.run("status", "exp1/sweep.yaml").out
    assert project.run("exp1/sweep.yaml").code == 0
    assert json.loads(record.read_text())["file"] == "exp1/sweep.yaml"


@pytest.mark.parametrize(
    "name",
    [
        *(by_another_path, by_a_link, by_a_hard_link, after_it_was_moved),
        *(after_an_editor_replaced_it, after_the_project_was_moved, after_the_project_was_copied),
        *(by_a_copy_that_says_the_same, of_version_0_1_0_which_left_no_record),
    ],
)
def test_the_same_sweep_by_another_name(project: Project, name: Callable[[Project], str]) -> None:
    project.write("exp1/sweep.yaml")
    assert project.run("exp1/sweep.yaml").code == 0
    words = [name(project), "--root", ".."]
    if name is by_a_copy_that_says_the_same:  # it is a copy only where commands mean the same
        words, cwd = [words[0].removeprefix("../")], "."
    else:
        cwd = "elsewhere"
    for command in ([], ["status"]):
        ended = project.run(*command, *words, cwd=cwd)
        assert "2 of 2 completed" in ended.out, ended.err
        assert ended.code == 0
    assert project.ran() == ["1"]


def test_a_copy_that_is_started_elsewhere_is_another_sweep(project: Project) -> None:
    for number in (1, 2):
        project.write(f"exp{number}/sweep.yaml")
    assert project.run("sweep.yaml", "--root", "..", cwd="exp1").code == 0
    ended = project.run("sweep.yaml", "--root", "..", cwd="exp2")
    assert ended.code == 2
    assert "exp1/sweep.yaml" in ended.err


@pytest.mark.parametrize("change", [os.rename, os.symlink, os.link])
@pytest.mark.parametrize("words", [(), ("status",), ("retry",)])
def test_another_name_of_the_file_does_not_begin_anew_by_itself(
    project: Project, change: Callable[[str, str], None], words: tuple[str, ...]
) -> None:
    first = project.write("first.yaml")
    assert project.run("first.yaml").code == 0
    second = project.folder / "second one.yaml"
    change(str(first), str(second))
    ended = project.run(*words, second.name)
    assert (ended.code, ended.out) == (2, "")
    assert "ran as first, before its file had this name" in ended.err
    assert os.listdir(project.folder / "checkpoints") == ["first"]
    for name, completed in (("first", 2), ("second one", 0)):
        assert f'`name: "{name}"`' in ended.err
        second.unlink()
        second.write_text(f'name: "{name}"\n{SWEEP % 1}')
        assert f"{completed} of 2 completed" in project.run("status", second.name).out


def test_a_new_file_with_tasks_of_another_is_a_sweep_of_its_own(project: Project) -> None:
    for name in ("first.yaml", "second.yaml"):
        assert project.run(project.write(name)).code == 0
    assert sorted(os.listdir(project.folder / "checkpoints")) == ["first", "second"]


def test_a_link_that_leads_elsewhere_now_is_an_edit(project: Project) -> None:
    for number in "12":
        project.write(f"exp{number}.yaml", number)
    link = project.folder / "sweep.yaml"
    for number in "12":
        link.unlink(missing_ok=True)
        os.symlink(f"exp{number}.yaml", link)
        assert project.run("sweep.yaml").code == 0
    assert project.ran()[-1] == "2"


# --- started from another folder -----------------------------------------------------------------


@pytest.mark.parametrize("cwd", ["cron", "sub", "sub/deeper"])
def test_the_run_that_exists_is_found_from_another_folder(project: Project, cwd: str) -> None:
    (project.folder / "sub").mkdir()
    file = project.write("sub/sweep.yaml")
    assert project.run("sub/sweep.yaml").code == 0
    root = " ".join(str(project.folder).split("\n"))
    for words in ([], ["--dry-run"]):
        ended = project.run(file, *words, cwd=cwd)
        assert (ended.code, ended.out) == (2, "")
        assert f"{root}/checkpoints/sweep" in ended.err
        assert "--root" in ended.err
    status = project.run("status", file, cwd=cwd)
    assert f"root {root}\n" in status.out
    assert "2 of 2 completed" in status.out
    assert json.loads(project.run("status", file, "--json", cwd=cwd).out)["root"] == str(
        project.folder
    )
    assert project.run("tail", file, "a", cwd=cwd).out == "Successfully completed\n"
    assert "a: will run again" in project.run("retry", file, "--force", "a", cwd=cwd).out
    left = os.listdir(project.folder / cwd)
    assert "checkpoints" not in left
    assert "logs" not in left


def test_it_begins_anew_elsewhere_when_asked(project: Project) -> None:
    file = project.write("sub/sweep.yaml")
    assert project.run(file).code == 0
    assert project.run(file, "--root", ".", cwd="cron").code == 0
    assert project.ran("cron") == ["1"]
    assert project.run(file, cwd="cron").code == 0  # it has its own here from now on
    assert project.ran("cron") == ["1"]


def test_a_dispatcher_that_runs_there_is_said_to(project: Project) -> None:
    gate = project.folder / "gate"
    os.mkfifo(gate)
    file = project.folder / "sweep.yaml"
    file.write_text(
        'matrix: {m: [a]}\nworker: {command: [sh, -c, "cat gate; echo Successfully completed"]}\n'
    )
    running = Running([str(file)], project.folder, project.environment)
    with gate.open("w"):
        ended = project.run(file, cwd="cron")
        assert ended.code == 3
        assert "another dispatcher holds the sweep 'sweep'" in ended.err
        assert (
            f"a dispatcher runs (pid {running.process.pid}, "
            in project.run("status", file, cwd="cron").out
        )
    assert running.end().code == 0


def test_a_folder_that_only_has_the_name_is_not_taken_for_the_run(project: Project) -> None:
    project.write("sweep.yaml", "of the folder above")
    assert project.run("sweep.yaml").code == 0
    assert project.run(project.write("exp/sweep.yaml", "2"), cwd="exp").code == 0
    assert project.ran("exp") == ["2"]
    # Seen from above, it is found where it is, beside another's of the same name.
    ended = project.run("status", "exp/sweep.yaml")
    assert "2 of 2 completed" in ended.out


def test_an_empty_folder_that_a_retry_left_is_no_run(project: Project) -> None:
    file = project.write("sweep.yaml")
    assert project.run(file).code == 0
    (project.folder / "cron/checkpoints/sweep/.specs").mkdir(parents=True)
    (project.folder / "cron/checkpoints/sweep/.lock").touch()
    assert project.run(file, cwd="cron").code == 2


def test_nothing_is_made_by_a_retry_of_what_never_ran(project: Project) -> None:
    ended = project.run("retry", project.write("sweep.yaml"))
    assert ended.code == 0
    assert "nothing to forget" in ended.out
    assert os.listdir(project.folder) == ["sweep.yaml"]


# --- what is said --------------------------------------------------------------------------------


def test_the_first_line_names_the_root(project: Project) -> None:
    file = project.write("sweep.yaml")
    shown = f"root {' '.join(str(project.folder).split(chr(10)))}"
    for words in ([], ["--dry-run"]):
        assert shown in project.run(file, *words).out.splitlines()[0]
    assert project.run("status", file).out.splitlines()[0].endswith(shown)


@pytest.mark.parametrize("command", ['[python, train.py, "{m}"]', '[./train.py, "{m}"]'])
def test_a_script_that_lies_beside_the_sweep_file_is_said_to(
    project: Project, command: str
) -> None:
    file = project.write("sub/sweep.yaml")
    file.write_text(f"matrix: {{m: [a]}}\nworker: {{command: {command}}}\n")
    script = project.folder / "sub/train.py"
    script.write_text("#!/usr/bin/env python\nprint('Successfully completed')\n")
    script.chmod(0o755)
    ended = project.run(file)
    assert ended.code == 2
    assert "train.py' in the current folder" in ended.err
    assert f"in {' '.join(str(script.parent).split(chr(10)))}" in ended.err
    assert not (project.folder / "checkpoints").exists()
    assert project.run(file, cwd="sub").code == 0


def test_another_file_that_lies_beside_the_sweep_file_is_remarked_on(project: Project) -> None:
    file = project.write("sub/sweep.yaml")
    shell = '[sh, -c, "python ./eval.py; echo Successfully completed", '
    command = f'{shell} --config=conf/a.yaml, "0.5", b.txt]'
    file.write_text(f"matrix: {{m: [a]}}\nworker: {{command: {command}, args: {{data: c.csv}}}}\n")
    for name in ("eval.py", "conf/a.yaml", "c.csv", "b.txt"):
        (file.parent / name).parent.mkdir(exist_ok=True)
        (file.parent / name).touch()
    (project.folder / "b.txt").touch()
    ended = project.run(file, "--dry-run")
    assert ended.code == 0
    assert [line.split(": ")[-1].split("' is")[0] for line in ended.err.splitlines()] == [
        "'./eval.py", "'conf/a.yaml", "'c.csv"
    ]  # fmt: skip
    assert project.run(file, "--dry-run", cwd="sub").err == ""


def test_an_axis_in_braces_in_a_variable_is_remarked_on(project: Project) -> None:
    file = project.write("sweep.yaml")
    env = 'env: {OUT: "runs/{task}-{m}", FORMAT: "{level} {{m}}"}'
    file.write_text(f"matrix: {{m: [a]}}\nworker: {{command: [sh], {env}}}\n")
    said = project.run(file, "--dry-run").err.splitlines()
    assert [line.split(" stays")[0].split("sweep.yaml: ")[1] for line in said] == [
        "worker.env.OUT: {task}", "worker.env.OUT: {m}"
    ]  # fmt: skip


def test_the_run_is_found_from_below_its_root_too(project: Project) -> None:
    file = project.write("../sweeps/sweep.yaml").resolve()
    assert project.run(file).code == 0
    ended = project.run(file, cwd="below")
    assert ended.code == 2
    assert "checkpoints/sweep" in ended.err
    assert "2 of 2 completed" in project.run("status", file, cwd="below").out


def test_what_strangers_leave_above_a_file_is_not_its_run(project: Project) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to give a folder to another user")
    file = project.write("sub/sweep.yaml")
    assert project.run(file).code == 0
    os.chown(project.folder / "checkpoints/sweep", 12345, 12345)
    assert project.run(file, cwd="sub").code == 0
    assert project.ran("sub") == ["1"]
