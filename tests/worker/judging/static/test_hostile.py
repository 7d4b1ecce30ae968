"""Files that mean harm, or are no Python at all: a clear verdict in bounded time and memory."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from worker.judging.source import SourceError
from worker.judging.static.extract import extract

ROOT = Path(__file__).resolve().parents[4]
LOAD = "from diffusers import StableDiffusionPipeline as S\np = S.from_pretrained('a/b')\n"
CALL = "\np('a', num_inference_steps=30)\n"
MEMORY = 1 << 30
TURNS = "for i in range(900):\n for j in range(900):\n"

# Programs that parse; the reader must end by itself, whatever it finds.
HEAVY = {
    "a long sum of texts": "x = " + "'a' + " * 400 + "'b'",
    "attributes of attributes": "x = p" + ".b" * 900,
    "calls of calls": "x = f" + "()" * 900,
    "a long elif chain": "a = input()\nif a == '':\n pass\n"
    + "".join(f"elif a == '{i}':\n x = {i}\n" for i in range(90)),
    "a tower of powers": "x = 9 ** 9 ** 9 ** 9",
    "a wide shift": "x = 1 << 10 ** 9",
    "a text ten billion long": "x = 'a' * 10 ** 10\ny = [0] * 10 ** 10",
    "a doubled text": "s = 'ab'\n" + "s = s + s\n" * 60,
    "a doubled tuple": "t = (1, 1)\n" + "t = (t, t)\n" * 60 + "x = f'{t}'\n",
    "a doubled dictionary": "t = {'a': 1}\n"
    + "t = {'a': t, 'b': t}\n" * 60
    + "import copy\nu = copy.deepcopy(t)\nif input():\n t = dict(t)\n",
    "a dictionary that unfolds": "t = {'a': 1}\n"
    + "t = {i: t for i in range(90)}\n" * 8
    + "p('a', cross_attention_kwargs=t)\n",
    "a list that holds itself": "l = []\nl.append(l)\nx = f'{l}'\np(l)\n",
    "a dictionary that holds itself": "l = {}\nl['a'] = l\np('a', cross_attention_kwargs=l)\n",
    "a loop of a billion turns": "for i in range(10 ** 9):\n x = i\n",
    "nested loops": "n = range(900)\nfor i in n:\n for j in n:\n  for k in n:\n   x = i\n",
    "an endless loop": "while True:\n x = 1\n",
    "an endless generator": "def g():\n while True: yield 1\nfor i in g(): pass\n",
    "endless recursion": "def f(n):\n return f(n) + f(n)\nf(1)\n",
    "exponential recursion": "def f(n):\n return 1 if n < 2 else f(n - 1) + f(n - 2)\nf(25)\n",
    "a nested comprehension": "n = range(900)\nx = [i for i in n for j in n for k in n]",
    "thousands of unknown branches": "import os\n"
    + "if os.environ.get('A'):\n x = 1\nelse:\n x = 2\n" * 2000,
    "thousands of early returns": "import os\ndef f():\n"
    + " if os.environ.get('A'): return 1\n x = 2\n" * 3000
    + "f()\n",
    "a format of a billion columns": "x = f'{1:>1000000000}'\ny = '{:>999999999}'.format(1)\n"
    "z = '%999999999d' % 1\n",
    "a growing replacement": "s = 'a' * 1000\n" + "s = s.replace('a', 'aaaaaaaaaaaa')\n" * 20,
    "a join of joins": "s = 'a' * 90000\nx = s.join(list(s))\n",
    "copies of a large dictionary": "d = dict(zip(range(9000), range(9000)))\n"
    + "e = {**d}\n" * 10000,
    "searches in a long list": "l = list(range(9000))\n" + "x = 9999999 in l\n" * 5000,
    "splits of a long text": "s = 'a ' * 40000\n" + "x = s.split()\n" * 5000,
    "thousands of decorators": "@p.x\n" * 30000 + "def f(): pass",
    "a lone surrogate": "p('\\ud800')",
    "searches in a deep family of classes": "class A0: pass\nclass B0: pass\n"
    + "".join(
        f"class A{i}(A{i - 1}): pass\nclass B{i}(A{i}, B{i - 1}): pass\n" for i in range(1, 25)
    )
    + "b = B24()\n"
    + TURNS
    + "  hasattr(b, 'z')\n",
    "a class of nine thousand bases": "".join(f"class A{i}: pass\n" for i in range(9000))
    + f"class B({','.join(f'A{i}' for i in range(9000))}): pass\n",
    "copies in a list of copies": "import copy\nl = [[]]\n"
    + TURNS
    + "  l.append(copy.deepcopy(l))\n",
    "copies of a large object": "import copy\nclass A: pass\na = A()\n"
    + "".join(f"a.x{i} = a\n" for i in range(9000))
    + f"l = []\n{TURNS}  l.append(copy.deepcopy(a))\n",
    "names that unknown code may change": "import os\n"
    + "".join(f"x{i} = {i}\n" for i in range(9000))
    + f"{TURNS}  if os.getenv('A'): exec('')\n",
    "texts of a long list": f"l = list(range(9999)) * 9\n{TURNS}  f'{{l}}'\n  '%s' % (tuple(l),)\n",
    "a long key": f"t = tuple(range(9999)) * 9\nd = {{}}\n{TURNS}  d[t] = 1\n",
    "a long template": f"s = '{{}}' * 30000\n{TURNS}  s.format(1)\n",
    "unknown choices of long values": "import torch\nt = tuple(range(9999))\n"
    + f"{TURNS}  x = t if torch.cuda.is_available() else 1\n",
    "keys made of keys": "import torch\nx = 1\n"
    + f"{TURNS}  x = x if torch.cuda.is_available() else j\n  p.unet.use(j)\n",
    "calls with thousands of settings": "".join(f"p.enable_{i}()\n" for i in range(9000))
    + f"{TURNS}  p('a')\n",
    "a data class of thousands of fields": "from dataclasses import dataclass\n@dataclass\nclass A:\n"
    + "".join(f" x{i}: int = {i}\n" for i in range(20000)),
    "one text of nine million letters": "x = '" + "a" * 9_000_000 + "'",
}
# Files that are no Python, or more of it than is worth reading.
REFUSED = {
    "null bytes": (b"x = '\0'", "null bytes"),
    "not UTF-8": (b"x = '\xff\xfe'", "UTF-8"),
    "random bytes": (bytes(range(256)) * 100, "UTF-8"),
    "an encoding that is none": (b"# coding: rot13\nx = 1\n", "encoding"),
    "a slow encoding": (b"# coding: idna\nx = 1\n", "encoding"),
    "not Python": (b"Once upon a time\n", "does not parse: line 1"),
    "a Markdown answer": (b"Sure!\n\n```python\nx = 1\n```\n", "fences"),
    "deep parentheses": (b"(" * 5000, "does not parse"),
    "a deep sum": (b"x = " + b"1 + " * 40000 + b"1", "nested too deeply"),
    "deep negation": (b"x = " + b"-" * 100000 + b"1", "nested too deeply"),
    "ten megabytes of statements": (b"a = 1\n" * 1_700_000, "tokens"),
    "a number of 5,000 digits": (b"x = " + b"9" * 5000, "does not parse"),
    "more than 16 MiB": (b"#" * (2**24 + 1), "larger than 16 MiB"),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", HEAVY)
def test_a_heavy_program_gets_a_verdict(name: str) -> None:
    begin = time.process_time()
    findings = extract((LOAD + HEAVY[name] + CALL).encode())
    assert findings.fields
    assert time.process_time() - begin < 10


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_python_is_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    from worker.judging.source import read_source

    data, reason = REFUSED[name]
    file = tmp_path / "gen.py"
    file.write_bytes(data)
    with pytest.raises(SourceError, match=reason):
        extract(read_source(str(file)))


def _limited() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (60, 60))


@pytest.mark.timeout(300)
def test_every_one_of_them_within_a_gigabyte_and_a_minute(tmp_path: Path) -> None:
    """All files in one process under the kernel's limits: none of them ends it."""
    files = []
    for number, data in enumerate(
        [
            (LOAD + CALL).encode(),
            *((LOAD + body + CALL).encode() for body in HEAVY.values()),
            *(d for d, _ in REFUSED.values()),
        ]
    ):
        files.append(tmp_path / f"{number}.py")
        files[-1].write_bytes(data)
    script = (
        "import sys\n"
        "from worker.commands.main import main\n"
        "codes = [main(['compare', sys.argv[1], path, '--json']) for path in sys.argv[1:]]\n"
        "print(codes, 'torch' in sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, files)],
        cwd=ROOT,
        preexec_fn=_limited,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    codes, torch_imported = done.stderr.splitlines()[-1].rsplit(" ", 1)
    assert torch_imported == "False"
    assert set(json.loads(codes)) <= {0, 1, 2, 3}


def test_nothing_of_a_file_is_executed(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    program = f"open({str(marker)!r}, 'w')\nimport os\nos.system('touch {marker}')\n"
    (tmp_path / "diffusers.py").write_text(program)
    extract((program + "__import__('os').mkdir('x')\nimport diffusers\n").encode())
    assert not marker.exists()


def test_a_named_pipe_does_not_hold_the_judge(tmp_path: Path) -> None:
    from worker.judging.source import read_source

    os.mkfifo(tmp_path / "gen.py")
    with pytest.raises(SourceError, match="not a regular file"):
        read_source(str(tmp_path / "gen.py"))
