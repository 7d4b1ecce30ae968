"""The commit of a git repository, read from its files, and whether its tracked files differ from that.

A repository may be somebody else's, and git runs what a repository's configuration tells it to (a file system
monitor, hooks, filters, transports). So the commit is read here, without git; git is asked for the rest with
each of these turned off, is given little time, and is not asked where they cannot be.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from scheduler.storage.regular_files import open_binary

TIME_LIMIT = 2.0  # seconds, for each question to git
_LONGEST = 1 << 24  # bytes; of packed-refs, the longest file that is read
_COMMIT = re.compile(rb"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_OPTIONS = (
    *("--no-optional-locks", "--no-pager", "--literal-pathspecs"),
    *("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"),
)
_ENVIRONMENT = {
    "GIT_ALLOW_PROTOCOL": "none",  # nothing is fetched that a partial clone lacks
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}
_STATUS = ("status", "--porcelain", "--ignore-submodules=all", "--no-renames")
_TRUSTED_SCOPES = (b"system", b"global", b"command")  # the machine's, the user's own, ours


class GitState:
    """One repository, by the folder that holds ``.git``."""

    def __init__(self, top: Path) -> None:
        self.top = top

    @classmethod
    def around(cls, folder: Path) -> GitState | None:
        """Return the repository that a folder lies in, or None."""
        for parent in (folder, *folder.parents):
            if os.path.lexists(parent / ".git"):
                return cls(parent)
        return None

    def commit(self) -> str | None:
        """Return the id of the commit that is checked out, or None if that cannot be read."""
        git = self.top / ".git"
        if git.is_file():  # a worktree, or a submodule
            git = self.top / os.fsdecode(_read(git).removeprefix(b"gitdir:").strip())
        head = _read(git / "HEAD").strip()
        if not head.startswith(b"ref:"):
            return _commit(head)
        ref = head.removeprefix(b"ref:").strip()
        if not re.fullmatch(rb"refs/[^\0\n]+", ref) or b".." in ref:
            return None
        common = git / os.fsdecode(_read(git / "commondir").strip())
        for folder in (git, common):
            if (loose := _commit(_read(folder / os.fsdecode(ref)).strip())) is not None:
                return loose
        pattern = rb"^([0-9a-f]+) " + re.escape(ref) + rb"$"
        packed = re.search(pattern, _read(common / "packed-refs"), re.MULTILINE)
        return _commit(packed[1]) if packed is not None else None

    def is_dirty(self, files: Sequence[Path]) -> bool | None:
        """Say whether tracked files differ from the commit, or some of ``files`` are not tracked.

        None: git is not there, will not say (the repository is another user's), takes longer than
        `TIME_LIMIT`, or would have to run filters that the repository itself names.
        """
        program = shutil.which("git")
        if program is None or self._has_filters(program):
            return None
        named = [str(file) for file in files if self.top in file.parents]
        code, said = self._ask(program, *_STATUS, "--untracked-files=no")
        if code == 0 and not said and named:
            code, said = self._ask(program, *_STATUS, "--", *named)
        return True if said else (False if code == 0 else None)

    def _has_filters(self, program: str) -> bool:
        """Say whether the repository itself names programs that change what is compared."""
        words = ("config", "--show-scope", "--name-only", "--get-regexp", r"^filter\.")
        code, said = self._ask(program, *words)
        if code not in (0, 1):  # 1: there are none
            return True
        return not all(line.startswith(_TRUSTED_SCOPES) for line in said.splitlines())

    def _ask(self, program: str, *words: str) -> tuple[int | None, bytes]:
        """Return git's exit status, None if it took too long, and the beginning of what it said."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
        try:
            git = subprocess.Popen(
                [program, *_OPTIONS, *words],
                cwd=self.top,
                env=inherited | _ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C is not for it
            )
        except OSError:
            return None, b""
        late = threading.Timer(TIME_LIMIT, os.killpg, (git.pid, signal.SIGKILL))
        late.start()
        with git:
            assert git.stdout is not None
            said = git.stdout.read(1 << 16)
        late.cancel()
        return (git.returncode if git.returncode >= 0 else None), said


def _commit(text: bytes) -> str | None:
    return text.decode() if _COMMIT.fullmatch(text) else None


def _read(path: Path) -> bytes:
    try:
        with open_binary(path) as file:
            return file.read(_LONGEST)
    except (OSError, ValueError):  # a name with NUL
        return b""
