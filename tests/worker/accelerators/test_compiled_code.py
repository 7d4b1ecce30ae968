"""What torch compiles is kept beside the results, where nobody else can write."""

import json
import os
import subprocess
import sys

import pytest

from tests.helpers.tiny_task import COMMAND
from worker.accelerators.compiled_code import VARIABLE, keep_compiled

_COMPILE = """
import json, sys
from pathlib import Path
from worker.accelerators.compiled_code import keep_compiled
why = keep_compiled(Path(sys.argv[1]))
import torch
from torch._dynamo.utils import counters
torch._inductor.config.compile_threads = 1
f = torch.compile(lambda x: torch.nn.functional.gelu(x) * 3 + 1)
f(torch.ones(64))
found = counters["inductor"]
print(json.dumps([why, found["fxgraph_cache_hit"], found["fxgraph_cache_miss"]]))
"""

_USE = """
import sys
from pathlib import Path
from worker.accelerators.compiled_code import keep_compiled
print(keep_compiled(Path(sys.argv[1]), int(sys.argv[2])), flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    yield
    os.environ.pop(VARIABLE, None)


@pytest.fixture
def folder(tmp_path):
    tmp_path.chmod(0o755)
    return tmp_path / ".compiled"


def compiled_in(folder):
    done = subprocess.run(
        [sys.executable, "-c", _COMPILE, str(folder)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def compiled_files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.long  # compiles a UNet, which takes a minute
def test_the_next_task_compiles_nothing_of_the_unet_again(tmp_path):
    section = {
        "settings": {"compile": True},
        "configurations": [],
        "controls": {"fewer_steps": [], "guidance_off": [], "null_arm": False},
        "timing": "off",
    }
    (tmp_path / "search.yaml").write_text(json.dumps(section))
    flags = ["--pipe", "SHAPES_SD15", "--sched", "DDIM", "--steps", "4", "--num-samples", "2"]
    found = []
    for seed in ("0", "1000"):
        results = tmp_path / f"{seed}.jsonl"
        own = ["--seed", seed, "--search", str(tmp_path / "search.yaml"), "--results", str(results)]
        done = subprocess.run(
            [*COMMAND, *flags, *own],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert "is not kept" not in done.stdout
        assert results.stat().st_size
        found.append(compiled_files(tmp_path / ".compiled"))
    assert any(path.parent.parent.parent.name == "fxgraph" for path in found[0])
    # what is compiled anew is written anew
    assert found[1] == found[0]


def test_a_second_process_compiles_nothing_again(folder):
    assert compiled_in(folder) == [None, 0, 1]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert compiled_in(folder) == [None, 1, 0]


def test_a_choice_of_the_user_holds(folder, monkeypatch):
    monkeypatch.setenv(VARIABLE, "/elsewhere")
    assert keep_compiled(folder) is None
    assert os.environ[VARIABLE] == "/elsewhere"
    assert not folder.exists()


def others_may_write(folder):
    folder.mkdir()
    folder.chmod(0o770)


def link(folder):
    folder.symlink_to("/tmp")


def somebody_elses(folder):
    folder.mkdir(mode=0o700)
    os.chown(folder, 65534, 65534)


def can_be_replaced(folder):
    folder.parent.chmod(0o775)


def a_file(folder):
    folder.write_text("")


@pytest.mark.parametrize(
    ("arrange", "words"),
    [
        (others_may_write, "chmod 700"),
        (link, "not a folder of yours"),
        (somebody_elses, "not a folder of yours"),
        (can_be_replaced, "others can replace"),
        (a_file, "File exists"),
    ],
)
def test_where_others_can_write_nothing_is_kept(folder, arrange, words):
    if arrange is somebody_elses and os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    arrange(folder)
    said = keep_compiled(folder)
    assert words in said
    assert os.environ[VARIABLE] != str(folder)
    assert os.stat(os.environ[VARIABLE]).st_mode & 0o777 == 0o700


def user_of(folder, most):
    """Start a process that uses the folder until its standard input ends; return it as it does."""
    words = [sys.executable, "-c", _USE, str(folder), str(most)]
    user = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert user.stdout.readline() == b"None\n"
    return user


def test_a_large_one_is_emptied_once_nobody_uses_it(folder):
    folder.mkdir(mode=0o700)
    graph = folder / "fxgraph" / "a"
    graph.parent.mkdir()
    graph.write_bytes(bytes(1000))
    first = user_of(folder, most=2000)
    user_of(folder, most=100).communicate()
    assert graph.exists()
    first.communicate()
    user_of(folder, most=100).communicate()
    assert not graph.parent.exists()
