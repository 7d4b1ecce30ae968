"""A file in the current folder is never imported by our commands because it bears a module's name."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# What `python -m` may itself import, before any code of ours; the console commands do without it.
OF_PYTHON = {
    *("runpy", "importlib", "warnings", "contextlib", "collections", "keyword", "operator"),
    *("reprlib", "functools", "types", "traceback", "pkgutil"),
}
OURS_IMPORT = [
    *(
        "yaml",
        "rich",
        "pydantic",
        "pydantic_core",
        "annotated_types",
        "typing_extensions",
        "pynvml",
    ),
    *("torch", "numpy", "diffusers", "transformers", "safetensors", "PIL", "tomesd", "DeepCache"),
    *("worker", "scheduler", "sitecustomize", "usercustomize"),
]
TRAP = "import os\nwith open({ran!r}, 'a') as file:\n file.write(__name__ + '\\n')\n"
SWEEP = "matrix: {{pipe: [TINY_SD15], sched: [DDIM], steps: [4]}}\n{more}"
QUESTION = '{"tasks": [{"matrix": {"pipe": "TINY_SD15", "sched": "DDIM", "steps": 4}}]}'
COMMANDS = {
    "help": ["scheduler", "--help"],
    "status": ["scheduler", "status", "own.yaml"],
    "status as json": ["scheduler", "status", "own.yaml", "--json"],
    "plan of a sweep": ["scheduler", "default.yaml", "--dry-run"],
    "run": ["scheduler", "own.yaml"],
    "check": ["worker", "check"],
    "compare": ["worker", "compare", "json.py", "yaml.py"],
    "plan": ["worker", "plan", "--pipe", "TINY_SD15", "--sched", "DDIM", "--steps", "4"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files that bear modules' names, each of which tells that it was run."""
    folder = tmp_path_factory.mktemp("generated")
    trap = TRAP.format(ran=str(folder / "RAN"))
    for name in {*sys.stdlib_module_names, *OURS_IMPORT} - {"yaml", "numpy", "scheduler", "worker"}:
        (folder / f"{name}.py").write_text(trap)
    (folder / "yaml.py").write_text(trap)
    (folder / "yaml").mkdir()
    (folder / "yaml" / "__init__.py").write_text(trap)
    (folder / "numpy").mkdir()  # a namespace package
    own = f"worker: {{command: [{sys.executable}, -I, -c, 'print(\"Successfully completed\")']}}\n"
    (folder / "own.yaml").write_text(SWEEP.format(more=own + "devices: {cpu_slots: 1}\n"))
    (folder / "default.yaml").write_text(SWEEP.format(more="devices: {cpu_slots: 1}\n"))
    no_nvml = folder / "no nvml"
    no_nvml.mkdir()
    (no_nvml / "libnvidia-ml.so.1").touch()
    return folder


def run(folder: Path, words: Sequence[str], **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        input=QUESTION,
        env=kept
        | {"LD_LIBRARY_PATH": str(folder / "no nvml"), "PYTHONPATH": str(ROOT)}
        | environment,
        capture_output=True,
        text=True,
    )


def what_ran(folder: Path) -> set[str]:
    try:
        return set((folder / "RAN").read_text().split())
    except FileNotFoundError:
        return set()


@pytest.mark.parametrize("command", COMMANDS)
def test_by_python_m(folder: Path, command: str) -> None:
    """Where the folder holds neither what Python itself needs nor a package of our name."""
    away = folder / "away"
    away.mkdir(exist_ok=True)
    for name in OF_PYTHON & {path.stem for path in folder.glob("*.py")}:
        (folder / f"{name}.py").rename(away / f"{name}.py")
    (folder / "worker.py").unlink(missing_ok=True)
    if COMMANDS[command][0] == "scheduler":
        (folder / "worker.py").write_text(TRAP.format(ran=str(folder / "RAN")))
    package, *words = COMMANDS[command]
    done = run(folder, ["-m", package, *words])
    assert what_ran(folder) == set(), done.stderr
    assert done.returncode in (0, 1, 3), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_by_the_console_commands(folder: Path, command: str) -> None:
    """They keep Python from looking there at all. A script as an installer writes it, in its own folder."""
    for file in (folder / "away").glob("*.py"):
        file.rename(folder / file.name)
    package, *words = COMMANDS[command]
    script = folder / "no nvml" / f"{package}-command"
    script.write_text(f"import sys\nfrom {package}.__main__ import main\nsys.exit(main())\n")
    done = run(folder, [str(script), *words])
    assert what_ran(folder) == set(), done.stderr
    assert done.returncode in (0, 1, 3), done.stderr
    assert "Traceback" not in done.stderr


def test_an_empty_part_of_pythonpath_is_the_current_folder_too(tmp_path: Path) -> None:
    """What Python itself imports it finds there; we do not."""
    for name in ("yaml", "rich", "pydantic", "argparse", "difflib"):
        (tmp_path / f"{name}.py").write_text(TRAP.format(ran=str(tmp_path / "RAN")))
    (tmp_path / "own.yaml").write_text(SWEEP.format(more="worker: {command: [echo]}\n"))
    done = run(
        tmp_path, ["-m", "scheduler", "status", "own.yaml"], PYTHONPATH=f"{ROOT}{os.pathsep}"
    )
    assert done.returncode == 0, done.stderr
    assert what_ran(tmp_path) == set()


def test_a_command_of_one_s_own_imports_its_own_modules(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import yaml_helper\nprint(yaml_helper.WORDS)\n")
    (tmp_path / "yaml_helper.py").write_text("WORDS = 'Successfully completed'\n")
    (tmp_path / "no nvml").mkdir()
    (tmp_path / "no nvml" / "libnvidia-ml.so.1").touch()
    for name, command in (("module", "[python, -m, mine]"), ("script", "[python, mine.py]")):
        more = f"worker: {{command: {command}}}\ndevices: {{cpu_slots: 1}}\n"
        (tmp_path / f"{name}.yaml").write_text("matrix: {a: [1]}\n" + more)
        done = run(tmp_path, ["-m", "scheduler", f"{name}.yaml"])
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("package", ["scheduler", "worker"])
def test_the_checkout_is_no_such_folder(package: str) -> None:
    """Nothing is installed there, and nothing but the current folder leads to the package."""
    done = run(ROOT, ["-S", "-m", package, "--help"], PYTHONPATH="")
    assert done.returncode == 0, done.stderr


def test_both_programs_leave_it_out_alike() -> None:
    """Neither can import what the other has, nor any module before this is done."""
    texts = []
    for package in ("scheduler", "worker"):
        tree = ast.parse((ROOT / package / "__main__.py").read_text())
        first = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert [ast.unparse(node) for node in first] == ["import os", "import sys"]
        texts += [
            ast.unparse(n) for n in tree.body if getattr(n, "name", "").startswith("leave_out")
        ]
    assert len(texts) == 2
    assert texts[0] == texts[1]
