"""Hostile programs, run apart for real: none breaks the judge, none gets out, none stays behind."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from worker.judging.reasons.texts import text
from worker.judging.sandbox import sandbox
from worker.judging.sandbox.sandbox import (
    MAX_FRAME,
    FrameReader,
    Limits,
    Outcome,
    run_apart,
    unprotected,
    write_frame,
)


@pytest.fixture(autouse=True, params=["own namespaces", "bubblewrap"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to confine a program keep the same from it."""
    if request.param == "bubblewrap" and sandbox._bubblewrap() is None:
        pytest.skip("bubblewrap is not installed, or may do nothing here")
    if request.param == "own namespaces":
        monkeypatch.setattr(sandbox, "_bubblewrap", lambda: None)


LIMITS = Limits(seconds=20, memory=2**30, processes=16, file_size=2**24)
KEPT = Path(sys.prefix)  # a folder that every program sees
BRIEF = Limits(seconds=2, memory=2**30, processes=16, file_size=2**24)


def run(program: str, limits: Limits = LIMITS) -> Outcome:
    return run_apart(program.encode(), {"models": {}}, limits)


def error_of(outcome: Outcome) -> str | None:
    """Return what the program failed with, as its harness told it."""
    assert [frame.kind for frame in outcome.frames] == ["end"]
    error: str | None = json.loads(outcome.frames[0].content)["error"]
    return error


def needs(outcome: Outcome, what: str) -> None:
    if not outcome.confined[what]:
        pytest.skip(f"this system allows no namespace for {what}")


def test_a_program_that_runs_through() -> None:
    outcome = run("print('hello')")
    assert (outcome.ended, outcome.code, outcome.output) == ("ended", 0, "hello\n")
    assert error_of(outcome) is None


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import sys; sys.exit(3)", "exited with code 3"),
        ("import os; os._exit(4)", "exited with code 4"),
        ("raise ValueError('no')", "exited with code 1"),
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
        ("import os; os.kill(os.getpid(), 9)", "SIGKILL"),
    ],
)
def test_a_program_that_ends_badly(program: str, words: str) -> None:
    assert words in text(run(program).reason)


@pytest.mark.parametrize(
    "program",
    [
        "while True: pass",
        "import time; time.sleep(10 ** 6)",
        "while True: print('x' * 10 ** 5)",
        "import signal\nfor number in set(signal.Signals) - {9, 19}:\n"
        " signal.signal(number, signal.SIG_IGN)\nwhile True: pass",
    ],
    ids=["busy", "asleep", "printing", "deaf"],
)
def test_a_program_that_hangs_is_stopped(program: str) -> None:
    outcome = run(program, BRIEF)
    assert outcome.ended == "time"
    assert len(outcome.output) < 2**17


@pytest.mark.parametrize(
    "program",
    [
        "import os\nwhile True:\n try: os.fork()\n except OSError: pass",
        "import os, time\nfor turn in range(1000):\n if os.fork() == 0: time.sleep(1000)\n",
    ],
    ids=["bomb", "brood"],
)
def test_a_program_that_forks_without_end_is_stopped(program: str) -> None:
    outcome = run(program)
    assert outcome.ended in ("processes", "ended")
    if outcome.ended == "ended":  # the kernel refused a fork before we came to count
        assert outcome.code != 0


def test_memory_is_limited() -> None:
    outcome = run("x = []\nwhile True: x.append(bytearray(2 ** 22))")
    assert outcome.ended == "memory" or error_of(outcome) == "MemoryError: "


HOARDS = {
    "shared mapping": "import mmap\nx = mmap.mmap(-1, 2 ** 31)\n"
    "for place in range(0, 2 ** 31, 4096): x[place] = 1",
    "nameless files": "import os\nopen_files = [os.memfd_create(str(n)) for n in range(200)]\n"
    "for file in open_files: os.write(file, bytes(2 ** 23))",
    "shared memory": "for n in range(100): open(f'/dev/shm/{n}', 'wb').write(bytes(2 ** 23))",
    "files": "for n in range(200): open(f'{n}', 'wb').write(bytes(2 ** 23))",
    "segments": "import ctypes\nlibc = ctypes.CDLL(None)\nlibc.shmat.restype = ctypes.c_void_p\n"
    "for n in range(20):\n"
    " place = libc.shmat(libc.shmget(0, 2 ** 26, 0o1600), None, 0)\n"
    " ctypes.memset(place, 1, 2 ** 26)\n libc.shmdt(ctypes.c_void_p(place))",
}


@pytest.mark.parametrize("hoard", HOARDS)
def test_no_kind_of_memory_escapes_the_limit(hoard: str) -> None:
    """The program then waits, so that the limit must find what it holds."""
    outcome = run(
        HOARDS[hoard] + "\nimport time; time.sleep(600)",
        Limits(seconds=20, memory=2**29, processes=16, file_size=2**24),
    )
    if hoard == "segments" and outcome.confined["sockets"]:
        assert (outcome.ended, outcome.code) == ("ended", -signal.SIGSEGV), "there are none"
        return
    if hoard == "segments":
        needs(outcome, "processes")
    elif hoard in ("files", "shared memory"):
        needs(outcome, "files")
    assert outcome.ended == "memory"


def test_all_files_together_are_limited() -> None:
    outcome = run(
        "for n in range(100): open(f'{n}', 'wb').write(bytes(2 ** 20))",
        Limits(seconds=20, memory=2**29, disk=2**25, processes=16, file_size=2**24),
    )
    needs(outcome, "files")
    assert "No space left on device" in str(error_of(outcome))


def test_files_are_limited_in_size() -> None:
    outcome = run("with open('x', 'wb') as file:\n while True: file.write(b'0' * 2 ** 20)")
    assert "File too large" in str(error_of(outcome))


def test_nothing_that_it_started_survives(tmp_path: Path) -> None:
    mark = f"judged-{secrets.token_hex(8)}"
    outcome = run(
        "import os, subprocess, sys\n"
        f"os.environ['MARK'] = {mark!r}\n"
        "code = 'import time; time.sleep(600)'\n"
        "for turn in range(3):\n"
        " subprocess.Popen([sys.executable, '-c', code], start_new_session=True)\n"
    )
    assert outcome.ended == "ended"
    assert mark.encode() not in b"".join(_environments())


def _environments() -> list[bytes]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            found.append((process / "environ").read_bytes())
        except OSError:
            continue
    return found


def test_its_home_is_a_scratch_folder_that_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "a secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    outcome = run(
        "import json, os\nopen(os.path.expanduser('~/written'), 'w').write('x')\n"
        "print(json.dumps([os.getcwd(), os.path.expanduser('~'), dict(os.environ)]))"
    )
    folder, home, environment = json.loads(outcome.output)
    assert os.path.realpath(folder) == os.path.realpath(home)
    assert not Path(folder).exists()
    assert "secret" not in json.dumps(environment)
    assert not [name for name in environment if "TOKEN" in name or "KEY" in name]
    assert environment["HF_HUB_OFFLINE"] == "1"


def test_it_has_no_network() -> None:
    outcome = run("import socket\nsocket.create_connection(('192.0.2.1', 80), timeout=1)")
    needs(outcome, "network")
    assert "unreachable" in str(error_of(outcome))


def test_it_writes_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    outcome = run(f"import os\nos.remove({str(tmp_path / 'precious')!r})")
    needs(outcome, "files")
    assert "No such file" in str(error_of(outcome))  # folders for temporary files are covered
    assert (tmp_path / "precious").exists()
    outcome = run(f"open({str(KEPT / 'written')!r}, 'w')")
    assert "Read-only file system" in str(error_of(outcome))
    assert not (KEPT / "written").exists()


def test_a_module_that_it_wrote_stands_for_no_package() -> None:
    outcome = run("open('tomesd.py', 'w').write('FORGED = 1')\nimport tomesd\ntomesd.FORGED")
    assert "AttributeError" in str(error_of(outcome))
    outcome = run("open('unheard_of.py', 'w').write('')\nimport unheard_of")
    assert "ModuleNotFoundError" in str(error_of(outcome))


def test_it_does_not_see_what_is_hidden(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("the answer")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inner").write_text("the answer")
    hidden = [str(tmp_path / "file"), str(tmp_path / "folder"), str(tmp_path / "missing")]
    program = (
        f"import os\nprint(repr(open({hidden[0]!r}).read()), os.listdir({hidden[1]!r}))"
    ).encode()
    # Kept as a model's folder is: of what is covered, nothing is there.
    outcome = run_apart(program, {"models": {"x": str(tmp_path)}}, LIMITS, hidden)
    needs(outcome, "files")
    assert outcome.output == "'' []\n"


def test_it_cannot_make_the_files_writable_again() -> None:
    outcome = run(
        "import ctypes\nlibc = ctypes.CDLL(None)\nlibc.unshare(0x10020000)\n"
        "libc.mount(None, b'/', None, 32 | 4096, None)\n"
        f"open({str(KEPT / 'written')!r}, 'w')"
    )
    needs(outcome, "files")
    assert "Read-only file system" in str(error_of(outcome))


def test_it_cannot_have_capabilities_in_a_namespace_of_its_own() -> None:
    outcome = run(
        "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "print([libc.unshare(flags) for flags in (0x10000000, 0x10020000, 0x20000)])\n"
        "print([line for line in open('/proc/self/status') if line.startswith('CapEff')])"
    )
    needs(outcome, "rights")
    assert outcome.output == "[-1, -1, -1]\n['CapEff:\\t0000000000000000\\n']\n"


def test_what_cannot_be_hidden_is_said() -> None:
    outcome = run_apart(b"", {"models": {}}, LIMITS, ["/proc/self/fd/0"])  # a pipe
    assert not outcome.confined["files"]
    assert "the reference" in " ".join(unprotected(outcome.confined))


def test_a_bubblewrap_that_fails_is_not_the_program_s_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sandbox, "_bubblewrap", lambda: "/bin/false")
    outcome = run("print(1)")
    assert outcome.ended == "jail"
    assert "could not be run apart" in text(outcome.reason)


def test_it_reaches_no_kernel_setting_and_no_disk() -> None:
    outcome = run(
        "import os\n"
        "opened = []\n"
        "for path in ['/proc/sys/kernel/core_pattern', '/proc/sysrq-trigger', '/sys/power/state']"
        " + ['/dev/' + name for name in os.listdir('/dev') if name[:2] in ('sd', 'vd', 'nv')"
        " and not name.startswith('nvidia')] + ['/dev/mem', '/dev/kmsg']:\n"
        " try: opened.append((path, os.open(path, os.O_WRONLY)))\n"
        " except OSError: pass\n"
        "print(opened)"
    )
    needs(outcome, "files")
    assert outcome.output == "[]\n"


def test_of_proc_it_can_write_its_own_part_alone() -> None:
    """CUDA gives its threads names there, and fails where it cannot."""
    outcome = run(
        "import os\nopened = []\n"
        "for name in os.listdir('/proc'):\n"
        "    if name.isdigit() or name.endswith('self'): continue\n"
        "    for folder, _, files in [*os.walk('/proc/' + name), ('/proc', [], [name])]:\n"
        "        for file in files:\n"
        "            try: os.close(os.open(os.path.join(folder, file), os.O_WRONLY | os.O_NONBLOCK))\n"
        "            except OSError: continue\n"
        "            opened.append(os.path.join(folder, file))\n"
        "print(opened)\nopen(f'/proc/self/task/{os.getpid()}/comm', 'w').write('named')\n"
    )
    needs(outcome, "files")
    needs(outcome, "processes")
    assert (outcome.output, error_of(outcome)) == ("[]\n", None)


def test_it_sees_no_other_process() -> None:
    outcome = run(
        "import os\nos.kill(os.getppid(), 9)\n"
        "try: os.kill(-1, 9)\nexcept ProcessLookupError: print('alone')\n"
    )
    needs(outcome, "processes")
    assert (outcome.ended, outcome.code, outcome.output) == ("ended", 0, "alone\n")


def test_writing_to_every_descriptor_is_noticed() -> None:
    forged = json.dumps({"kind": "end", "error": None})
    outcome = run(
        "import os\nfor descriptor in range(3, 1024):\n"
        f" try: os.write(descriptor, b'{forged}')\n"
        " except OSError: pass\n"
    )
    assert outcome.tampered


def test_printing_a_verdict_is_printing() -> None:
    outcome = run('print(\'{"kind": "call", "fields": {}}\')')
    assert error_of(outcome) is None
    assert not outcome.tampered


def test_closing_every_descriptor_leaves_no_result() -> None:
    outcome = run("import os\nos.closerange(0, 1024)")
    assert outcome.frames == []
    assert outcome.ended == "ended"


def test_flooding_the_result_is_stopped() -> None:
    outcome = run(
        "import os\nfor descriptor in range(3, 1024):\n try:\n"
        "  while True: os.write(descriptor, b'x' * 2 ** 16)\n except OSError: pass"
    )
    assert outcome.ended == "result"
    assert outcome.frames == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_judge_s_death_ends_the_program_and_leaves_nothing(
    number: signal.Signals, tmp_path: Path
) -> None:
    """Nor had anybody but the judge its secrets. All but SIGKILL go to the jail as well."""
    mark, token = (f"judged-{secrets.token_hex(8)}" for _ in range(2))
    script = (
        "from worker.judging.sandbox.sandbox import Limits, run_apart\n"
        f'run_apart(b\'import subprocess, sys\\nsubprocess.run([sys.executable, "-c",'
        f' "import os, time; time.sleep(600)"], env={{"MARK": "{mark}"}})\','
        " {'models': {}}, Limits(seconds=300))\n"
    )
    judge = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=Path(__file__).resolve().parents[4],
        env=os.environ | {"HF_TOKEN": token, "TMPDIR": str(tmp_path)},
    )
    while not any(mark.encode() in environment for environment in _environments()):
        assert judge.poll() is None
    assert len(list(tmp_path.iterdir())) == 1
    assert sum(token.encode() in environment for environment in _environments()) == 1
    children = Path(f"/proc/{judge.pid}/task/{judge.pid}/children").read_text().split()
    for process in [judge.pid, *map(int, children)] if number != signal.SIGKILL else [judge.pid]:
        with contextlib.suppress(ProcessLookupError):  # the jail may be dead with its judge already
            os.kill(process, number)
    judge.wait()
    while any(mark.encode() in environment for environment in _environments()):
        pass  # the test's own time limit ends a program that stays
    while list(tmp_path.iterdir()):
        pass


# What a container's default profile does: no namespaces for anybody.
NO_NAMESPACES = r"""
import ctypes, platform, struct
libc = ctypes.CDLL(None)
number = {"x86_64": 272, "aarch64": 97}[platform.machine()]
rules = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x50001), (0x06, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
program = struct.pack("HxxxxxxP", len(rules), ctypes.addressof(code))
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program) == 0
from worker.judging.sandbox.sandbox import Limits, run_apart, unprotected
limits = Limits(seconds=60, memory=2**29, processes=16, file_size=2**24)
for judged in (b"print(1)", HOARD):
    outcome = run_apart(judged, {"models": {}}, limits)
    print(outcome.ended, *sorted(name for name, kept in outcome.confined.items() if kept))
print(*unprotected(outcome.confined), sep="\n")
"""


def test_without_namespaces_the_limits_hold_and_the_rest_is_said() -> None:
    hoard = (HOARDS["nameless files"] + "\nimport time; time.sleep(600)").encode()
    done = subprocess.run(
        [sys.executable, "-c", NO_NAMESPACES.replace("HOARD", repr(hoard))],
        cwd=Path(__file__).resolve().parents[4],
        capture_output=True,
        text=True,
        check=True,
    )
    first, second, *said = done.stdout.splitlines()
    assert (first, second) == ("ended rights sockets", "memory rights sockets")
    assert len(said) == 3
    assert "tokens" in done.stdout
    assert "the reference" in done.stdout


@pytest.mark.parametrize("step", [1, 7, 2**20])
@pytest.mark.parametrize(
    ("data", "kinds", "tampered"),
    [
        (b"", [], False),
        (b'word end 2\n{}word call 8\n{"a": 1}', ["end", "call"], False),
        (b"word end 2\n{}garbage", ["end"], True),
        (b"word end 9\n{}", [], True),
        (b"word end", [], True),
        (b"other end 2\n{}", [], True),
        (b"word end -2\n{}", [], True),
        (b"word end\n{}", [], True),
        (b"word end 99999999999999999999999\n{}", [], True),
        (f"word call {MAX_FRAME + 1}\n".encode(), [], True),
    ],
)
def test_only_whole_frames_with_the_word_count(
    data: bytes, kinds: list[str], tampered: bool, step: int
) -> None:
    reader = FrameReader("word")
    for start in range(0, len(data), step):
        reader.add(data[start : start + step])
    assert ([frame.kind for frame in reader.frames], reader.tampered) == (kinds, tampered)


def test_numbers_of_other_libraries_are_numbers() -> None:
    """``num_inference_steps=np.int64(20)`` is as good a call as any."""
    reading, writing = os.pipe()
    write_frame(writing, "word", "call", {"steps": np.int64(20), "scale": np.float32(0.5)})
    os.close(writing)
    reader = FrameReader("word")
    with os.fdopen(reading, "rb") as file:
        reader.add(file.read())
    assert json.loads(reader.frames[0].content) == {"steps": 20, "scale": 0.5}


def test_of_more_frames_than_can_be_kept_the_newest_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.judging.sandbox.sandbox.MAX_RESULT", 10)
    reader = FrameReader("word")
    for number in range(100):
        reader.add(b"word call 4\n%04d" % number)
    assert [frame.content for frame in reader.frames] == [b"0098", b"0099"]
    assert not reader.tampered
