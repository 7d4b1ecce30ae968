"""Anything but a regular file at the path of a state file: nothing hangs, is forged, or is written through.

Every kind of thing stands at every path, for every command. A task loses at most what the file said.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from scheduler.cli.main import main
from scheduler.storage.paths import SweepPaths
from tests.helpers.sweep_runner import SweepRunner

SUCCESS = "Successfully completed"
VICTIM = f'{{"victim": true}}\n{SUCCESS}\n'


def _socket(path: Path) -> None:
    here = os.open(path.parent, os.O_RDONLY)  # paths of sockets are short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{here}/{path.name}")
    os.close(here)


def _full_folder(path: Path) -> None:
    path.mkdir()
    (path / "kept").write_text(VICTIM)


THINGS: dict[str, Callable[[Path, Path], object]] = {
    "fifo": lambda path, _: os.mkfifo(path),
    "folder": lambda path, _: path.mkdir(),
    "full folder": lambda path, _: _full_folder(path),
    "dangling link": lambda path, victim: path.symlink_to(victim.with_name("nowhere")),
    "looping link": lambda path, _: path.symlink_to(path.name),
    "endless": lambda path, _: path.symlink_to("/dev/zero"),
    "link": lambda path, victim: path.symlink_to(victim),
    "socket": lambda path, _: _socket(path),
    "noise": lambda path, _: path.write_bytes(bytes(range(256)) * 40),
}
OF_A_TASK: dict[str, Callable[[SweepPaths, str], Path]] = {
    "done": SweepPaths.done,
    "failed": SweepPaths.failed,
    "attempts": SweepPaths.attempts,
    "results": SweepPaths.results,
    "log": SweepPaths.log,
    "old log": lambda paths, task: paths.old_log(task, 1),
    "draft": lambda paths, task: paths.checkpoints / f".{task}.done.tmp",
}
OF_THE_SWEEP: dict[str, Callable[[SweepPaths], Path]] = {
    "journal": lambda paths: paths.journal,
    "probe": lambda paths: paths.checkpoints / ".room",
    "spec": lambda paths: paths.spec("cpu:0"),
    "supervisors": lambda paths: paths.supervisors,
    "versions": lambda paths: paths.versions,
    "record": lambda paths: paths.record,
    "tasks": lambda paths: paths.tasks,
}


class Sweep:
    """A sweep of one quick task, in a folder of its own, or of several."""

    def __init__(self, runner: SweepRunner, victim: Path, tasks: dict[str, str]) -> None:
        self.runner, self.paths, self.victim = runner, runner.paths, victim
        content = {
            "matrix": {"case": list(tasks)},
            "worker": {"command": ["sh", str(runner.folder / "worker.sh"), "{case}"]},
            "devices": {"cpu_slots": 2},
            "retries": {"backoff": "1ms", "max_attempts": 1},
        }
        cases = "".join(f"'{task}')\n{script};;\n" for task, script in tasks.items())
        (runner.folder / "worker.sh").write_text(f'case "$1" in\n{cases}esac\n')
        runner.write_text(yaml.safe_dump(content, sort_keys=False))
        self.paths.make_folders()

    def victims_are_unchanged(self) -> bool:
        kept = list(self.runner.root.rglob("kept"))
        whole = all(file.read_text() == VICTIM for file in (self.victim, *kept))
        return whole and not self.victim.with_name("nowhere").exists()


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    file = tmp_path / "victim"
    file.write_text(VICTIM)
    return file


def said(captured: pytest.CaptureFixture[bytes]) -> str:
    out, err = captured.readouterr()
    return (out + err).decode(errors="replace")


def looks(
    sweep: Sweep, tasks: list[str], capfdbinary: pytest.CaptureFixture[bytes]
) -> Iterator[str]:
    """Look at the sweep in every way there is; yield what was said."""
    place = [str(sweep.runner.file), "--root", str(sweep.runner.root)]
    for words in (["status", *place], ["status", *place, "--json"], [*place, "--dry-run"]):
        assert main(words) == 0, said(capfdbinary)
        yield said(capfdbinary)
    for task in tasks:
        assert main(["tail", *place[:1], task, *place[1:]]) in (0, 1, 2)
        yield said(capfdbinary)


@pytest.mark.parametrize("name", OF_A_TASK)
def test_in_the_place_of_a_task_s_file(
    runner: SweepRunner, victim: Path, name: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    tasks = list(THINGS)
    sweep = Sweep(runner, victim, dict.fromkeys(tasks, f"echo {SUCCESS}"))
    for task, make in THINGS.items():
        make(OF_A_TASK[name](sweep.paths, task), victim)
    for text in looks(sweep, tasks, capfdbinary):
        assert SUCCESS not in text, "what a link leads to is not ours to show"
    ended = runner.run()
    assert ended.code == 0, ended.out + ended.err
    assert set(runner.states().values()) == {"completed"}
    assert sweep.victims_are_unchanged()
    for task in tasks:
        assert sweep.paths.done(task).is_file()
        assert not sweep.paths.done(task).is_symlink()


@pytest.mark.parametrize("name", OF_A_TASK)
def test_what_is_in_the_place_of_a_task_s_file_can_be_forgotten(
    runner: SweepRunner, victim: Path, name: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    sweep = Sweep(runner, victim, dict.fromkeys(THINGS, f"echo {SUCCESS}"))
    for task, make in THINGS.items():
        make(OF_A_TASK[name](sweep.paths, task), victim)
    place = [str(runner.file), "--root", str(runner.root)]
    assert main(["retry", *place, "--force"]) == 0
    assert sweep.victims_are_unchanged()
    if name in ("done", "failed", "attempts", "results"):
        forgotten = said(capfdbinary)
        assert all(f"{task}: will run again" in forgotten for task in THINGS)
        assert not any(os.path.lexists(OF_A_TASK[name](sweep.paths, task)) for task in THINGS)


@pytest.mark.parametrize("thing", THINGS)
def test_in_the_place_of_the_sweep_s_files(
    runner: SweepRunner, victim: Path, thing: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    sweep = Sweep(runner, victim, {"a": f"echo {SUCCESS}"})
    for place in OF_THE_SWEEP.values():
        THINGS[thing](place(sweep.paths), victim)
    list(looks(sweep, ["a"], capfdbinary))
    ended = runner.run()
    assert ended.code == 0, ended.out + ended.err
    assert sweep.victims_are_unchanged()
    assert json.loads(sweep.paths.journal.read_text(errors="replace").splitlines()[-1])["at"]


@pytest.mark.parametrize("thing", [thing for thing in THINGS if thing != "noise"])
def test_in_the_place_of_the_lock(
    runner: SweepRunner, victim: Path, thing: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """No lock, no run: nothing else could keep a second dispatcher out."""
    sweep = Sweep(runner, victim, {"a": f"echo {SUCCESS}"})
    THINGS[thing](sweep.paths.lock, victim)
    list(looks(sweep, ["a"], capfdbinary))
    assert main([str(runner.file), "--root", str(runner.root)]) == 2
    refusal = said(capfdbinary)
    assert str(sweep.paths.lock) in refusal
    assert "not a regular file; remove it" in refusal
    assert sweep.victims_are_unchanged()


REPLACED = {
    "fifo": 'rm -f "{0}"; mkfifo "{0}"',
    "endless": 'ln -sf /dev/zero "{0}"',
    "folder": 'rm -f "{0}"; mkdir "{0}"',
    "link": 'ln -sf "$PWD/victim" "{0}"',
    "dangling link": 'ln -sf "$PWD/nowhere" "{0}"',
}


def test_a_worker_can_neither_hang_the_dispatcher_nor_forge_a_completion(
    runner: SweepRunner,
) -> None:
    """Each task replaces one of its own files before it ends; a link leads to a log that says success."""
    victim = runner.folder / "victim"
    victim.write_text(VICTIM)
    files = {
        "results": "$SWEEP_RESULTS",
        "log": "root/logs/runner/$SWEEP_TASK.log",
        "done": "root/checkpoints/runner/$SWEEP_TASK.done",
        "attempts": "root/checkpoints/runner/$SWEEP_TASK.attempts",
        "draft": "root/checkpoints/runner/.$SWEEP_TASK.done.tmp",
    }
    tasks = {
        f"{name} {thing}": f"{replace.format(path)}\n{'true' if name == 'log' else f'echo {SUCCESS}'}"
        for name, path in files.items()
        for thing, replace in REPLACED.items()
    }
    sweep = Sweep(runner, victim, {**tasks, "good": f"echo {SUCCESS}"})
    ended = runner.run()
    states = runner.states()
    forged = [task for task in tasks if task.startswith("log") and states[task] == "completed"]
    assert not forged
    honest = {task for task in tasks if not task.startswith("log")}
    assert {task for task in states if states[task] == "completed"} == honest | {"good"}
    assert ended.code == 1
    assert (sweep.paths.checkpoints / "done folder.done.aside").is_dir()
    assert sweep.victims_are_unchanged()


def test_folders_that_are_links_are_followed(runner: SweepRunner, tmp_path: Path) -> None:
    """People keep checkpoints and logs on another disk."""
    for name in ("checkpoints", "logs"):
        (tmp_path / f"scratch {name}").mkdir()
        (runner.root / name).symlink_to(tmp_path / f"scratch {name}")
    runner.write({"a": "ok"})
    assert runner.run().code == 0
    assert (tmp_path / "scratch checkpoints" / "runner" / "a.done").is_file()


def test_a_log_that_was_moved_and_linked_does_not_undo_a_completion(
    runner: SweepRunner, tmp_path: Path
) -> None:
    runner.write({"a": "ok"})
    assert runner.run().code == 0
    log = runner.paths.log("a")
    log.rename(tmp_path / "moved.log")
    log.symlink_to(tmp_path / "moved.log")
    assert runner.run().code == 0
    assert runner.starts() == 1
