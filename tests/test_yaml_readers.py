"""Bad YAML, at every place that reads YAML: a few words about it on standard error, and exit code 2.

The scheduler and the worker have the same reader twice, since neither imports the other.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scheduler.cli.main import main as scheduler
from worker.commands.main import main as worker

ROOT = Path(__file__).parents[1]
TASK = ["--pipe", "TINY_SD15", "--sched", "DDIM", "--steps", "4"]
LAUGHS = "\n".join(
    [
        f"l0: &l0 {'ha' * 50}",
        *(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 10)),
    ]
)
# what is wrong, and which line and key are named where there are any
BAD: dict[str, tuple[bytes, str]] = {
    "duplicate key": (b"a: 1\nb: 2\na: 3\n", "line 3: duplicate key 'a'; it is on line 1"),
    "duplicate key below": (b"a:\n  b: 1\n  b: 2\n", "line 3: a: duplicate key 'b'; it is on line 2"),
    "on": (b"a:\n  b: on\n", "line 2: a.b: on means true"),
    "yes in a list": (b"a: [1,\n  yes]\n", "line 2: a[1]: yes means true"),
    "sexagesimal": (b"a: 1\nb: 1:30\n", "line 2: b: 1:30 means 90"),
    "octal": (b"a: 010\n", "line 1: a: 010 means 8"),
    "hexadecimal": (b"a: 0x1F\n", "line 1: a: 0x1F means 31"),
    "not a number": (b"a: 1\nb: .nan\n", "line 2: b: .nan is no number"),
    "infinity": (b"a: 1\nb: -.inf\n", "line 2: b: -.inf is no number"),
    "endless number": (b"a: 1\nb: " + b"9" * 5000, "line 2: b: 9999"),
    "number beyond a float": (b"a: 1\nb: " + b"9" * 400, "line 2: b: 9999"),
    "hexadecimal beyond a float": (b"a: 0x" + b"f" * 300, "line 1: a: 0xff"),
    "tag of a number": (b"a: !!float x\n", "line 1: a: x cannot be read as YAML's float"),
    "tag of a boolean": (b"a: !!bool maybe\n", "line 1: a: maybe cannot be read as YAML's bool"),
    "tag of Python": (b"a: !!python/name:os.system ''\n", "line 1: a: !!python/name:os.system"),
    "tag of one's own": (b"a: !mine x\n", "line 1: a: !mine is no kind of plain data"),
    "set": (b"a: !!set {x}\n", "line 1: a: !!set is no kind of plain data"),
    "too deep": (b"a: 1\nb: " + b"[" * 300 + b"]" * 300, "line 2: is nested more than 100 levels"),
    "too deep, open": (b"- " * 100_000, "line 1: is nested more than 100 levels"),
    "too deep by aliases": (
        b"a: &a " + b"[" * 60 + b"]" * 60 + b"\nb: " + b"[" * 60 + b"*a" + b"]" * 60,
        "line 2: is nested more than 100 levels",
    ),
    "alias bomb": (LAUGHS.encode(), "line 5: its aliases stand for more than 1,000,000 characters"),
    "merge bomb": (
        ("a0: &a0 {k: v}\n" + "".join(
            f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 30))).encode(),
        "line 17: its aliases stand for more than 1,000,000 characters",
    ),
    "alias of itself": (b"a: 1\nb: &b [*b]\n", "line 2: is not valid YAML: *b holds itself"),
    "alias of nothing": (b"a: 1\nb: *c\n", "line 2, column 4: is not valid YAML: found undefined"),
    "merge of text": (b"a: 1\n<<: x\n", "line 2: << takes a mapping"),
    "duplicate beside a merge": (
        b"a: &a {b: 1}\nc:\n  <<: *a\n  b: 2\n  b: 3\n", "line 5: c: duplicate key 'b'; it is on line 4",
    ),
    "number as key": (b"a:\n  1: x\n", "line 2: a: the key 1 is not text"),
    "boolean as key": (b"a:\n  on: x\n", "line 2: a: the key on is not text"),
    "list as key": (b"? [a]\n: 1\n", "line 1: a key that is a list or mapping"),
    "not UTF-8": (b"a: \xff\n", "is not text in UTF-8 (byte 3)"),
    "UTF-16": ("a: 1\n".encode("utf-16"), "is not text in UTF-8 (byte 0)"),
    "NUL": (b"a: 1\nb: \x00\n", "line 2: is not valid YAML: the character '\\x00' is not allowed"),
    "escaped NUL": (b'a: 1\nb: "\\0"\n', "line 2: b: '\\x00' holds a character"),
    "half a character": (b'a: "\\ud800"\n', "line 1"),
    "tab": (b"a:\n\tb: 1\n", "line 2, column 1: is not valid YAML: found character"),
    "open list": (b"a: [1\n", "line 2, column 1: is not valid YAML: "),
    "two documents": (b"a: 1\n---\na: 2\n", "line 2, column 1: is not valid YAML: "),
    "empty": (b"", "is empty; "),
    "only a comment": (b"# a: 1\n", "is empty; "),
    "list": (b"- a\n", "holds a list; "),
    "text": (b"hello\n", "holds a single value; "),
}  # fmt: skip


def case_of(folder: Path, target: Path) -> Path:
    """Return a case's folder whose target is that file."""
    (folder / "case").mkdir(exist_ok=True)
    for name in ("gt.py", "gen.py"):
        (folder / "case" / name).write_text("x = 1\n")
    (folder / "case" / "target.yaml").write_bytes(target.read_bytes())
    return folder / "case"


def run_sweep(_folder: Path, file: Path) -> int:
    return scheduler([str(file), "--dry-run"])


def run_status(_folder: Path, file: Path) -> int:
    return scheduler(["status", str(file)])


def run_search(_folder: Path, file: Path) -> int:
    return worker(["search", *TASK, "--search", str(file)])


def run_plan(_folder: Path, file: Path) -> int:
    return worker(["plan", *TASK, "--search", str(file)])


def run_compare_weights(folder: Path, file: Path) -> int:
    program = str(case_of(folder, file) / "gt.py")
    return worker(["compare", program, program, "--relaxed", "--weights", str(file)])


def run_compare_models(folder: Path, file: Path) -> int:
    program = str(case_of(folder, file) / "gt.py")
    return worker(["compare", program, program, "--hybrid", "--models", str(file)])


def run_evaluate_models(folder: Path, file: Path) -> int:
    program = str(case_of(folder, file) / "gt.py")
    return worker(["evaluate", program, "--models", str(file)])


def run_judge_models(folder: Path, file: Path) -> int:
    return worker(["judge", str(case_of(folder, file)), "--models", str(file)])


def run_judge_target(folder: Path, file: Path) -> int:
    return worker(["judge", str(case_of(folder, file))])


PLACES = [
    *(run_sweep, run_status, run_search, run_plan, run_compare_weights, run_compare_models),
    *(run_evaluate_models, run_judge_models, run_judge_target),
]


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__.removeprefix("run_"))
def test_a_bad_file(
    place: Callable[[Path, Path], int],
    bad: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    content, said = BAD[bad]
    file = tmp_path / "file.yaml"
    file.write_bytes(content)
    assert place(tmp_path, file) == 2
    printed = capfd.readouterr()
    first = printed.err.splitlines()[0]
    named = "target.yaml" if place is run_judge_target else "file.yaml"
    assert f"{named}: {said}" in first
    assert len(first) < 300
    if not place.__name__.startswith("run_s"):  # of a sweep all is said that is wrong with it
        assert len(printed.err.splitlines()) == 1
    assert not printed.out
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize("value", [".nan", "[1, {a: -.inf}]", "9" * 400, "!mine x", "!!set {x}"])
def test_what_is_no_data_in_a_search_section_is_said_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], value: str
) -> None:
    """The worker is not asked about the rest of it."""
    sweep = tmp_path / "s.yaml"
    tiny = "{pipe: [TINY_SD15], sched: [DDIM], steps: [4]}"
    sweep.write_text(f"matrix: {tiny}\ndevices: {{cpu_slots: 1}}\nsearch:\n  max_loss: {value}\n")
    assert scheduler([str(sweep), "--dry-run"]) == 2
    (said,) = capfd.readouterr().err.splitlines()
    assert "s.yaml: line 4: search.max_loss" in said


def test_all_places_that_read_yaml_are_tried() -> None:
    """Whatever else begins to read YAML belongs in the table above."""
    readers = subprocess.run(
        ["grep", "-rlE", "import yaml|import strict_yaml|strict_yaml import load|read_mapping",
         "scheduler", "worker", "--include=*.py"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert set(readers) == {
        "scheduler/config/strict_yaml.py",
        "scheduler/config/loader.py",
        "worker/config/strict_yaml.py",
        "worker/config/yaml_file.py",
        "worker/commands/compare.py",
        "worker/commands/plan.py",
        "worker/commands/search.py",
        "worker/judging/build.py",
        "worker/config/target.py",
        # what a judged file's own yaml.safe_load makes of a text in it
        "worker/judging/static/operations/standard/library.py",
    }


def test_both_packages_have_the_same_reader() -> None:
    ours, theirs = (ROOT / f"{name}/config/strict_yaml.py" for name in ("scheduler", "worker"))
    assert ours.read_text() == theirs.read_text()


def test_what_may_be_written_in_yaml() -> None:
    """Merges and aliases stay as YAML has them; a date is a text; every alias is a copy of its own."""
    from worker.config.strict_yaml import load

    text = (
        "\ufeffbase: &base {a: 1, b: 2}\nmore: &more {b: 3, c: 2020-01-02}\n"
        "both: {<<: [*base, *more], a: 9}\nlist: &list [~, 1_000, 1.5, true, no way]\nagain: *list\n"
    )
    content, problems = load(text.encode())
    assert not problems
    assert content == {
        "base": {"a": 1, "b": 2},
        "more": {"b": 3, "c": "2020-01-02"},
        "both": {"a": 9, "b": 2, "c": "2020-01-02"},
        "list": [None, 1000, 1.5, True, "no way"],
        "again": [None, 1000, 1.5, True, "no way"],
    }
    assert isinstance(content, dict)
    assert content["list"] is not content["again"]


def test_the_same_with_the_reader_in_python(tmp_path: Path) -> None:
    """Where libyaml is missing, the same files are refused, and the same lines named."""
    program = (
        "import re, sys, yaml\n"
        "if sys.argv[1] == 'python': del yaml.CSafeLoader\n"
        "from tests.test_yaml_readers import BAD\n"
        "from scheduler.config import strict_yaml\n"
        "for name, (data, _) in BAD.items():\n"
        "    try: content, said = strict_yaml.load(data)\n"
        "    except strict_yaml.YamlError as error: said = [str(error)]\n"
        "    print(name, re.match(r'line \\d+|is not text|', said[0])[0] if said else content)\n"
    )
    said = [
        subprocess.run([sys.executable, "-c", program, kind], cwd=ROOT, capture_output=True,
                       text=True, check=True).stdout
        for kind in ("c", "python")
    ]  # fmt: skip
    assert said[0] == said[1]
