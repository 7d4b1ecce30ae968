"""What lies outside and is no plain file: nothing of it is within a judged program's reach, either way.

Our own listeners, pipes and secrets, which nobody else knows.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.judging.sandbox import sandbox
from worker.judging.sandbox.sandbox import Limits, Outcome, run_apart
from worker.judging.sandbox.surroundings import covered_folders, kept_places


@pytest.fixture(autouse=True, params=["own namespaces", "bubblewrap"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to confine a program keep the same from it."""
    if request.param == "bubblewrap" and sandbox._bubblewrap() is None:
        pytest.skip("bubblewrap is not installed, or may do nothing here")
    if request.param == "own namespaces":
        monkeypatch.setattr(sandbox, "_bubblewrap", lambda: None)


LIMITS = Limits(seconds=20, memory=2**30, processes=16, file_size=2**24)
KINDS = {
    "stream": socket.SOCK_STREAM,
    "datagram": socket.SOCK_DGRAM,
    "packet": socket.SOCK_SEQPACKET,
}


def run(program: str, models: dict[str, str] | None = None) -> Outcome:
    return run_apart(program.encode(), {"models": models or {}}, LIMITS)


def said(outcome: Outcome, *needed: str) -> object:
    """Return what the program printed last, as JSON."""
    for what in needed:
        if not outcome.confined[what]:
            pytest.skip(f"this system keeps no program from {what}")
    return json.loads(outcome.output.splitlines()[-1])


@pytest.fixture(params=["temporary", "kept"])
def place(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder of temporary files, which is covered, or one that every program sees."""
    where = sys.prefix if request.param == "kept" else None
    with tempfile.TemporaryDirectory(prefix="reach-", dir=where) as folder:
        yield Path(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_no_socket_with_a_path(place: Path, kind: str) -> None:
    listener = socket.socket(socket.AF_UNIX, KINDS[kind])
    with contextlib.closing(listener):
        listener.bind(str(place / "socket"))
        if kind != "datagram":
            listener.listen()
        listener.setblocking(False)
        outcome = run(
            "import json, socket\nreached = []\n"
            f"path = {str(place / 'socket')!r}\n"
            "for kind in (1, 2, 3, 5):\n"
            "    for make in (lambda: socket.socket(socket.AF_UNIX, kind),\n"
            "                 lambda: socket.socketpair(socket.AF_UNIX, kind)[0]):\n"
            "        for call in (lambda s: s.connect(path), lambda s: s.sendto(b'hello', path),\n"
            "                     lambda s: s.sendmsg([b'hello'], [], 0, path)):\n"
            "            try:\n"
            "                call(make())\n"
            "            except OSError:\n"
            "                continue\n"
            "            reached.append(kind)\n"
            "print(json.dumps(reached))"
        )
        assert said(outcome, "sockets") == []
        with pytest.raises(BlockingIOError):
            listener.recv(1) if kind == "datagram" else listener.accept()


def test_no_abstract_socket() -> None:
    name = f"\0reach-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)
        listener.listen()
        outcome = run(
            "import json, socket\n"
            "try: socket.socket(socket.AF_UNIX).connect(" + repr(name) + "); reached = True\n"
            "except OSError: reached = False\nprint(json.dumps(reached))"
        )
        assert said(outcome, "sockets") is False


def test_no_socket_of_another_kind() -> None:
    """A virtual machine's host (40), the kernel's ciphers (38), Bluetooth (31), packets (17), …"""
    outcome = run(
        "import json, socket\nmade = []\n"
        "for family in range(1, 50):\n"
        "    for kind in (1, 2, 3, 5):\n"
        "        try: socket.socket(family, kind).close()\n"
        "        except OSError: continue\n"
        "        made.append(family)\n"
        "print(json.dumps(sorted(set(made))))"
    )
    families = said(outcome, "sockets", "network")
    assert isinstance(families, list)
    assert set(families) <= {1, 2, 10, 16}
    assert 1 in families, "what stays within the program is its own"


def test_a_pair_of_sockets_between_its_own_processes_works() -> None:
    outcome = run(
        "import json, socket\none, other = socket.socketpair()\none.sendall(b'x')\n"
        "print(json.dumps(other.recv(1).decode()))"
    )
    assert said(outcome) == "x"


@pytest.mark.parametrize("covered", [False, True])
def test_no_fifo_in_a_folder_for_temporary_files(covered: bool, tmp_path: Path) -> None:
    """Neither by its path nor, where a model's folder beside it is kept, from there."""
    model = tmp_path / "model"
    model.mkdir()
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    paths = [str(tmp_path / "fifo"), str(model / ".." / "fifo")]
    outcome = run(
        "import json, os\nreached = []\n"
        f"for path in {paths!r}:\n"
        "    for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY):\n"
        "        try: descriptor = os.open(path, flags | os.O_NONBLOCK)\n"
        "        except OSError: continue\n"
        "        reached.append(flags)\n"
        "        if flags: os.write(descriptor, b'hello')\n"
        "print(json.dumps(reached))",
        {"model": str(model)} if covered else {},
    )
    assert said(outcome, "files") == []
    assert os.read(reader, 10) == b""
    os.close(reader)


def test_no_descriptor_of_ours(tmp_path: Path) -> None:
    """The judge's own open files, inheritable ones too, stay outside; what comes in are pipes and nothing."""
    secret = tmp_path / "secret"
    secret.write_text("the answer")
    held = os.open(secret, os.O_RDONLY)
    os.set_inheritable(held, True)
    outcome = run(
        "import json, os\nlinks = []\n"
        "for name in os.listdir('/proc/self/fd'):\n"
        "    try: links.append(os.readlink(f'/proc/self/fd/{name}'))\n"
        "    except OSError: continue\n"
        "print(json.dumps(links))"
    )
    os.close(held)
    links = said(outcome, "files")
    assert isinstance(links, list)
    others = [link for link in links if not link.startswith(("pipe:", "/proc/"))]
    assert set(others) <= {"/dev/null"}
    assert len({link for link in links if link.startswith("pipe:")}) <= 2, "its output, its result"


def test_its_jail_does_not_tell_what_is_hidden(tmp_path: Path) -> None:
    program = (
        b"import json, glob\ntexts = []\n"
        b"for path in glob.glob('/proc/[0-9]*/cmdline'):\n"
        b"    texts.append(open(path, 'rb').read().decode())\nprint(json.dumps(texts))"
    )
    outcome = run_apart(program, {"models": {}}, LIMITS, [str(tmp_path / "reference")])
    assert "reference" not in str(said(outcome, "processes"))
    assert ".ssh" not in outcome.output


def test_no_keyring() -> None:
    outcome = run(
        "import ctypes, json, platform\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "add, control = {'x86_64': (248, 250), 'aarch64': (217, 219)}[platform.machine()]\n"
        "made = libc.syscall(add, b'user', b'reach', b'x', 1, -3)\n"
        "print(json.dumps([made, libc.syscall(control, 0, -3, 0)]))"
    )
    assert said(outcome, "sockets") == [-1, -1]


def test_no_second_way_into_the_kernel() -> None:
    """io_uring connects and opens without a system call for each."""
    outcome = run(
        "import ctypes, json\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "buffer = ctypes.create_string_buffer(256)\n"
        "print(json.dumps(libc.syscall(425, 8, buffer)))"
    )
    assert said(outcome, "sockets") == -1


def test_homes_are_covered_but_for_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    for name in (".config/gh/hosts.yml", ".kaggle/kaggle.json", ".npmrc", "own notes.txt", ".env"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("a secret")
    cache = home / ".cache" / "huggingface"
    (cache / "hub").mkdir(parents=True)
    (cache / "hub" / "weights").write_text("weights")
    (cache / "token").write_text("a secret")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("HF_HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    weights = tmp_path / "another disk"
    weights.write_text("linked weights")
    model = home / "models" / "mine"
    model.mkdir(parents=True)
    (model / "unet").symlink_to(weights)
    outcome = run(
        "import json, os\nfound = {}\n"
        f"for folder, _, names in os.walk({str(home)!r}):\n"
        "    for name in names: found[name] = open(os.path.join(folder, name)).read()\n"
        "print(json.dumps(found))",
        {"mine": str(model)},
    )
    found = said(outcome, "files")
    assert found == {"weights": "weights", "token": "", "unet": "linked weights"}


def test_what_is_kept_is_what_the_interpreter_and_the_models_need() -> None:
    covered, kept = covered_folders(), kept_places({"a": "relative/model"})
    assert os.sep not in covered + kept
    assert not set(covered) & set(kept), "what is covered is not bound back as a whole"
    assert all(os.path.isabs(path) for path in covered + kept)
    assert os.path.realpath("relative/model") in kept
    assert os.path.realpath(sys.prefix) in kept
