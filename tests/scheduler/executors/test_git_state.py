"""A repository's commit and dirty state, of our own and of hostile repositories."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scheduler.executors import git_state
from scheduler.executors.git_state import GitState


def git(folder: Path, *words: str) -> str:
    own = ["-c", "user.email=a@b", "-c", "user.name=c", "-c", "init.defaultBranch=main"]
    done = subprocess.run(
        ["git", *own, *words], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit, and a user without settings of their own."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "a\nrepository"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "train.py").write_text("1\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "x")
    return folder


def state(folder: Path) -> GitState:
    found = GitState.around(folder)
    assert found is not None
    return found


# --- the commit ----------------------------------------------------------------------------------


def on_a_branch(folder: Path) -> Path:
    return folder


def packed(folder: Path) -> Path:
    git(folder, "pack-refs", "--all")
    assert not (folder / ".git/refs/heads/main").exists()
    return folder


def detached(folder: Path) -> Path:
    git(folder, "checkout", "-q", "--detach")
    return folder


def in_a_worktree(folder: Path) -> Path:
    git(folder, "worktree", "add", "-q", str(folder.with_name("other")))
    return folder.with_name("other")


def in_a_subfolder(folder: Path) -> Path:
    (folder / "a/b").mkdir(parents=True)
    return folder / "a/b"


@pytest.mark.parametrize("change", [on_a_branch, packed, detached, in_a_worktree, in_a_subfolder])
def test_the_commit_is_what_git_says_it_is(
    repository: Path, change: Callable[[Path], Path]
) -> None:
    folder = change(repository)
    assert state(folder).commit() == git(folder, "rev-parse", "HEAD")


@pytest.mark.parametrize(
    "head",
    [
        *(
            "",
            "ref: refs/heads/none",
            "ref: ../../secret",
            "ref: refs/../../secret",
            "ref:",
            "x" * 99,
        ),
        *("ref: refs/heads/\0", "ref: refs/heads", "\xff" * 40),
    ],
)
def test_a_head_that_leads_nowhere_is_no_commit(repository: Path, head: str) -> None:
    (repository.parent / "secret").write_text("a" * 40)
    (repository / ".git/HEAD").write_text(head)
    assert state(repository).commit() is None


def test_files_that_are_none_are_not_waited_for(repository: Path) -> None:
    (repository / ".git/HEAD").unlink()
    os.mkfifo(repository / ".git/HEAD")
    assert state(repository).commit() is None


def test_there_is_none_outside_of_repositories(tmp_path: Path) -> None:
    assert GitState.around(tmp_path) is None


# --- dirty or not --------------------------------------------------------------------------------


def test_what_makes_a_repository_dirty(repository: Path) -> None:
    script = repository / "train.py"
    assert state(repository).is_dirty([script]) is False
    (repository / "notes").write_text("of no interest")
    assert state(repository).is_dirty([script]) is False
    assert state(repository).is_dirty([repository / "notes"]) is True  # named, and in no commit
    (repository / "notes").unlink()
    script.write_text("2\n")
    assert state(repository).is_dirty([]) is True
    git(repository, "add", "-A")
    assert state(repository).is_dirty([]) is True
    git(repository, "commit", "-qm", "y")
    assert state(repository).is_dirty([script]) is False


def test_without_git_it_is_not_known(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert state(repository).is_dirty([]) is None
    assert state(repository).commit() is not None


def test_a_git_that_takes_too_long_is_not_waited_for(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = repository.parent / "bin/git"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nsleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(git_state, "TIME_LIMIT", 0.1)
    begun = time.monotonic()
    assert state(repository).is_dirty([]) is None
    assert time.monotonic() - begun < 50  # it was not waited for


def test_no_variable_of_a_hook_leads_to_another_repository(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(repository.parent))
    monkeypatch.setenv("GIT_INDEX_FILE", str(repository.parent / "none"))
    assert state(repository).is_dirty([]) is False


def with_a_file_system_monitor(repository: Path, program: Path) -> None:
    git(repository, "config", "core.fsmonitor", str(program))


def with_hooks(repository: Path, program: Path) -> None:
    for hook in ("post-index-change", "query-watchman", "pre-commit", "post-checkout"):
        os.symlink(program, repository / ".git/hooks" / hook)


def with_a_filter(repository: Path, program: Path) -> None:
    git(repository, "config", "filter.evil.clean", str(program))
    (repository / ".git/info").mkdir(exist_ok=True)
    (repository / ".git/info/attributes").write_text("* filter=evil\n")


def with_an_included_filter(repository: Path, program: Path) -> None:
    with_a_filter(repository, program)
    git(repository, "config", "--unset", "filter.evil.clean")
    (repository / "more").write_text(f'[filter "evil"]\n\tprocess = {program}\n')
    git(repository, "config", "include.path", str(repository / "more"))


def with_a_filter_of_its_worktree(repository: Path, program: Path) -> None:
    with_a_filter(repository, program)
    git(repository, "config", "--unset", "filter.evil.clean")
    git(repository, "config", "extensions.worktreeConfig", "true")
    git(repository, "config", "--worktree", "filter.evil.clean", str(program))


@pytest.mark.parametrize(
    "prepare",
    [
        *(with_a_file_system_monitor, with_hooks, with_a_filter),
        *(with_an_included_filter, with_a_filter_of_its_worktree),
    ],
)
def test_a_repository_cannot_have_its_programs_run(
    repository: Path, prepare: Callable[[Path, Path], None]
) -> None:
    ran, program = repository.parent / "ran", repository.parent / "program"
    program.write_text(f"#!/bin/sh\ntouch '{ran}'\ncat\n")
    program.chmod(0o755)
    prepare(repository, program)
    os.utime(repository / "train.py", (1, 1))  # so that git must compare it
    dirty = state(repository).is_dirty([])
    assert not ran.exists()
    assert dirty is (None if "filter" in prepare.__name__ else False)
