"""`python -m scheduler results`: the best under a bound, from rows that exist."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from rich.cells import cell_len

from scheduler.cli.main import main
from scheduler.cli.measured.formats import as_text
from scheduler.config.loader import read_sweep
from scheduler.storage.paths import SweepPaths
from scheduler.storage.sweep_record import claim
from scheduler.views.answers import Answers, answers_of
from scheduler.views.console import WideConsole
from tests.helpers.json_schemas import schema_file, schema_of
from tests.helpers.sweep_runner import REPOSITORY

LONG = "stabilityai-stable-diffusion-xl-base-DPM-50"


def line(
    label: str,
    speedup: float = 0.0,
    loss: float = 0.0,
    spread: float = 0.001,
    role: str = "candidate",
    seconds: float = 1.0,
) -> dict[str, Any]:
    """Return a row as a worker of somebody else may write it: nothing but what a decision needs."""

    def metric(name: str, value: float, half: float, better: str | None) -> dict[str, Any]:
        return {
            "name": name,
            "value": value,
            "low": value - half,
            "high": value + half,
            "better": better,
        }

    metrics = [metric("clip_score", 30.0, 0.1, "higher")]
    metrics.append({"name": "seconds_per_image", "value": seconds, "unit": "s", "better": "lower"})
    if role != "baseline":
        metrics.append(metric("speedup", speedup, 0.01 * speedup, "higher"))
        metrics.append(metric("quality_loss", loss, spread, "lower"))
        metrics.append({"name": "images_scored", "value": 32})
    return {"label": label, "role": role, "metrics": metrics, "configuration": {"x": label}}


ROWS = [
    line("baseline", role="baseline", seconds=2.0),
    line("safe", 1.5, 0.002, seconds=1.3),
    line("fast", 2.5, 0.03, seconds=0.8),
    line("open", 3.0, 0.01, 0.02, seconds=0.7),
]


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a sweep of two tasks, in which nothing was measured."""
    monkeypatch.chdir(tmp_path)
    write_sweep(tmp_path, "one", LONG, "SD15-DDIM-25")
    return tmp_path


def write_sweep(box: Path, name: str, *tasks: str) -> None:
    text = {"worker": {"command": ["true", "{task}"], "args": {"size": 8}}, "matrix": {"t": tasks}}
    (box / f"{name}.yaml").write_text(json.dumps(text))
    (box / "checkpoints" / name).mkdir(parents=True)


def measured(
    box: Path, task: str, lines: Sequence[Mapping[str, Any] | str] = ROWS, sweep: str = "one"
) -> None:
    texts = (one if isinstance(one, str) else json.dumps(one) for one in lines)
    file = box / "checkpoints" / sweep / f"{task}.jsonl"
    file.write_text("".join(f"{text}\n" for text in texts))


def test_the_best_is_told_by_its_name_with_interval_and_seconds(
    box: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured(box, LONG)
    assert main(["results", "one.yaml", "--max-loss", "1%"]) == 0
    out, err = capsys.readouterr()
    assert (
        "surely within 1% of clip_score: safe, 1.50× [1.49, 1.51], loss +0.20% [+0.10%, +0.30%]"
        in out
    )
    assert "1.3 s/image (baseline 2)" in out
    assert "not decided within 1% of clip_score: open 3.00×" in out
    assert "one: 1 of 2 tasks have no measurements yet" in err


def test_another_bound_changes_no_file_and_starts_no_task(box: Path) -> None:
    measured(box, LONG)
    before = {path: path.stat().st_mtime_ns for path in box.rglob("*")}
    assert [main(["results", "one.yaml", "--max-loss", bound]) for bound in ("1%", "0.05")] == [
        0,
        0,
    ]
    assert {path: path.stat().st_mtime_ns for path in box.rglob("*")} == before


def test_the_fastest_of_all_tasks_of_all_sweeps(
    box: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sweep(box, "two", "a")
    measured(box, LONG)
    measured(box, "a", [ROWS[0], line("slower", 1.2, 0.0, seconds=0.2)], "two")
    assert main(["results", "one.yaml", "two.yaml", "--max-loss", "0.01"]) == 0
    assert "the fastest of all tasks: two/a, slower, 0.2 s/image" in capsys.readouterr().out


@pytest.mark.parametrize("form", [[], ["--md"], ["--csv"], ["--json"], ["--snippet"]])
def test_a_number_beyond_all_bounds_is_not_known(
    box: Path, form: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    measured(box, LONG, [*ROWS, line("odd", 1e300), line("vast", 2.0, 0.0, 1e300)])
    assert main(["results", "one.yaml", *form]) == 0
    assert "odd" in capsys.readouterr().out or form == ["--snippet"]


@pytest.mark.parametrize("width", [60, 80, 200])
def test_ids_give_way_from_their_middle(
    box: Path, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured(box, LONG)
    measured(box, "SD15-DDIM-25")
    sweep = read_sweep(Path("one.yaml"))
    answers = answers_of([(sweep, SweepPaths(box, "one"), sweep.tasks)], max_loss=0.01)
    monkeypatch.setattr("sys.stdout", shown := io.StringIO())
    console = WideConsole()
    console.width = width
    for part in as_text(answers, width):
        console.print(part)
    lines = shown.getvalue().splitlines()
    assert all(cell_len(text) <= width for text in lines)
    row = lines[1]
    assert row.startswith("stab")
    assert ("DPM-50 " in row) and ("…" in row) == (width == 60)
    assert row.split()[-4:] == ["safe", "1.50×", "+0.20%", "1.3"]


def test_what_was_halved_is_said(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured(box, LONG)
    done = {"attempts": [{"overrides": {}}, {"overrides": {"size": 2}}]}
    (box / "checkpoints" / "one" / f"{LONG}.done").write_text(json.dumps(done))
    assert main(["results", "one.yaml"]) == 0
    assert "size 2 instead of 8: memory ran out" in capsys.readouterr().out
    assert main(["results", "one.yaml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tasks"][0]["halved"] == {
        "size": {"sweep": 8, "was": 2}
    }


def test_of_a_worker_with_one_metric_the_best_is_told_by_that(
    box: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def slept(label: str, value: float) -> dict[str, Any]:
        ends = {"low": value - 0.1, "high": value + 0.1}
        return {
            "label": label,
            "metrics": [{"name": "nap", "value": value, "better": "lower", **ends}],
        }

    measured(box, LONG, [slept("long", 2.0), slept("short", 1.0), slept("shortish", 1.1)])
    assert main(["results", "one.yaml"]) == 0
    out = capsys.readouterr().out
    assert "best by nap (lower is better): short, 1 [0.9, 1.1]" in out
    assert "cannot be told from shortish" in out


def test_controls_alone_make_no_best(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured(box, LONG, [ROWS[0], line("3 steps", 2.0, 0.1, role="control")])
    assert main(["results", "one.yaml"]) == 0
    out = capsys.readouterr().out
    assert "no candidate is measured yet" in out
    assert "3 steps" not in out


def test_of_metrics_without_a_direction_none_is_best(
    box: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured(box, LONG, [{"label": "a", "metrics": [{"name": "nap", "value": 1.0}]}])
    assert main(["results", "one.yaml"]) == 0
    assert "no metric says which way is better" in capsys.readouterr().out


def test_hostile_names_reach_no_terminal_and_no_table(
    box: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured(box, LONG, [ROWS[0], line("\x1b[31m|<script>\r\n", 1.5, 0.0)])
    for form in ([], ["--md"], ["--csv"], ["--json"]):
        assert main(["results", "one.yaml", *form]) == 0
        assert "\x1b" not in (out := capsys.readouterr().out)
        assert "\r" not in out
    main(["results", "one.yaml", "--md"])
    assert "\\[31m\\|\\<script\\>" in capsys.readouterr().out


def test_csv_has_every_configuration(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured(box, LONG)
    assert main(["results", "one.yaml", "--csv", "--max-loss", "1%"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["label"] for row in rows] == ["baseline", "safe", "fast", "open"]
    assert [row["bound"] for row in rows] == ["", "within", "not within", "cannot tell yet"]
    assert float(rows[1]["speedup_low"]) == pytest.approx(1.485)


def test_json_is_what_its_schema_says(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured(box, LONG)
    assert main(["results", "one.yaml", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["version"] == 1
    assert TypeAdapter(Answers).validate_python(printed).tasks[0].best == "open"
    assert json.loads(schema_file("results").read_text()) == schema_of("results"), (
        "python -m tests.helpers.json_schemas writes the schema anew"
    )


@pytest.mark.parametrize("form", [[], ["--json"], ["--csv"], ["--md"]])
def test_without_rows_it_says_so(
    box: Path, form: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    measured(box, LONG, ["{cut"])
    assert main(["results", "one.yaml", *form]) == 1
    assert "one: no measurements yet in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--metric", "clip_scroe"], "did you mean clip_score?"),
        (["--metric", "images_scored", "--max-loss", "1%"], "a loss of images_scored is not known"),
    ],
)
def test_a_metric_that_is_none(
    box: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    measured(box, LONG)
    assert main(["results", "one.yaml", *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("bound", ["foo", "", "101%", "-1%", "nan", "inf", "2"])
def test_a_bound_that_is_none(box: Path, bound: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["results", "one.yaml", f"--max-loss={bound}"])
    assert ended.value.code == 2
    assert "write 1% or 0.01" in capsys.readouterr().err


def test_files_of_another_sweep_are_refused(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured(box, LONG)
    first = box / "first.yaml"
    text = (box / "one.yaml").read_text().replace('"size": 8', '"size": 9')
    first.write_text(text.replace('{"worker"', '{"name": "one", "worker"'))
    claim(read_sweep(first), first, SweepPaths(box, "one"))
    assert main(["results", "one.yaml"]) == 2
    assert "another sweep file of the name" in capsys.readouterr().err


@pytest.mark.parametrize("form", [[], ["--json"], ["--csv"], ["--md"]])
def test_a_reader_that_leaves_is_no_error(box: Path, form: list[str]) -> None:
    measured(box, LONG)
    reads, writes = os.pipe()
    os.close(reads)
    words = [sys.executable, "-m", "scheduler", "results", "one.yaml", "--only", LONG, *form]
    done = subprocess.run(
        words,
        stdout=writes,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )
    os.close(writes)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_program_of_the_best(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {
        "digest": "now",
        "pipe": "SHAPES_SD15",
        "source": "./models/o'clock",
        "weights": "pretrained",
        "sched": "DDIM",
        "steps": 6,
        "image_size": 64,
        "guidance_scale": 7.5,
        "seed": 0,
        "dtype": "float32",
        "batch_size": 2,
        "first_prompt": 0,
        "pipeline": {},
    }
    more = {"status": "measured", "samples": {}, "settings": settings, "environment": {}}
    cached = {"accelerators": {"deepcache": {"cache_interval": 3, "cache_branch_id": 0}}}
    rows = [ROWS[0] | more | {"configuration": {"accelerators": {}}}]
    rows.append(ROWS[1] | more | {"configuration": cached})
    measured(box, LONG, rows)
    measured(box, "SD15-DDIM-25")
    assert main(["results", "one.yaml", "--snippet"]) == 0
    said = capsys.readouterr()
    assert 'model = "./models/o\'clock"' in said.out
    assert "helper.set_params(cache_interval=3, cache_branch_id=0)" in said.out
    assert said.out.count("import torch") == 1
    assert "SD15-DDIM-25: there is no program for its best, open" in said.err
