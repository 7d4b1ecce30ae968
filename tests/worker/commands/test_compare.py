"""The command line: tables, JSON, languages, relaxed scores, exit codes, mistakes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from worker.commands.main import main
from worker.judging import field_diff
from worker.judging.fields import FIELDS

ROOT = Path(__file__).resolve().parents[3]
CASES = ROOT / "cases"
PROGRAM = """\
import torch
from diffusers import {scheduler}, StableDiffusionPipeline
from DeepCache import DeepCacheSDHelper

pipe = StableDiffusionPipeline.from_pretrained("{model}", torch_dtype=torch.float16).to("cuda")
pipe.scheduler = {scheduler}.from_config(pipe.scheduler.config)
helper = DeepCacheSDHelper(pipe=pipe)
helper.set_params(cache_interval={interval}, cache_branch_id=0)
helper.enable()
pipe("a cat", num_inference_steps={steps})
"""
USUAL = {
    "model": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "scheduler": "DDIMScheduler",
    "interval": 4,
    "steps": 50,
}


def pair(folder: Path, **changes: Any) -> list[str]:
    """Write the usual program and a changed one; return their paths."""
    (folder / "gt.py").write_text(PROGRAM.format(**USUAL))
    (folder / "gen.py").write_text(PROGRAM.format(**USUAL | changes))
    return [str(folder / "gt.py"), str(folder / "gen.py")]


def relaxed(files: list[str], capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    code = main(["compare", *files, "--json", "--relaxed", *more])
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    report["exit"] = code
    report["by_name"] = {item["field"]: item for item in report["fields"]}
    return report


def test_json_has_the_promised_fields(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *pair(tmp_path, steps=30), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    by_name = {item["field"]: item for item in report["fields"]}
    assert {"pipeline", "model_id", "scheduler", "steps", "accelerators"} <= set(by_name)
    assert by_name["steps"] == {"field": "steps", "expected": 50, "found": 30, "match": False}
    assert by_name["accelerators"]["found"]["deepcache"]["cache_interval"] == 4
    assert report["matched"] == report["total"] - 1 == len(by_name) - 1


def test_the_table_in_english(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *pair(tmp_path, steps=30)]) == 1
    table = capsys.readouterr().out
    assert "stable-diffusion-v1-5/stable-diffusion-v1-5" in table
    assert "17 of 18 fields match, 1 mismatch" in table


def test_the_table_in_chinese(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *pair(tmp_path, steps=30), "--lang", "zh"]) == 1
    table = capsys.readouterr().out
    assert "推理步数" in table
    assert "17 个匹配" in table


def test_reasons_and_remarks_in_chinese(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = pair(tmp_path, interval=3)
    text = (tmp_path / "gen.py").read_text() + "import config\npipe('a', height=config.HEIGHT)\n"
    (tmp_path / "gen.py").write_text(text + "raise ValueError\n")
    assert main(["compare", *files, "--lang", "zh", "--relaxed"]) == 1
    table = capsys.readouterr().out
    assert "deepcache：cache_interval：相差 25%" in table
    assert "config.HEIGHT 在别处设定" in table
    assert "文件运行时会出错：文件在第 13 行抛出 ValueError" in table
    (tmp_path / "gen.py").write_bytes(b"\0")
    assert main(["compare", *files, "--lang", "zh"]) == 2
    assert "含有空字节，不是 Python 源码" in capsys.readouterr().err


def test_chinese_on_a_terminal_that_has_only_ascii(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "worker", "compare", *pair(tmp_path), "--lang", "zh"],
        cwd=ROOT,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_does_not_parse_leaves_the_other_findings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = pair(tmp_path)
    (tmp_path / "gen.py").write_text("pipe = StableDiffusionPipeline(\n")
    assert main(["compare", *files, "--json"]) == 2
    printed = capsys.readouterr()
    by_name = {item["field"]: item for item in json.loads(printed.out)["fields"]}
    assert by_name["steps"] == {"field": "steps", "expected": 50, "found": None, "match": None}
    assert "gen.py does not parse: line 1" in printed.err


@pytest.mark.parametrize("name", ["missing.py", ".", "/dev/zero"])
def test_a_file_that_cannot_be_read(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = pair(tmp_path)
    assert main(["compare", files[0], str(tmp_path / name)]) == 2
    printed = capsys.readouterr()
    assert len(printed.err.splitlines()) == 1
    assert "not compared (" in printed.out
    assert printed.err.strip()[-12:] in printed.out


def test_two_files_without_a_pipeline_do_not_match(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.py").write_text("print('hello')\n")
    assert main(["compare", str(tmp_path / "a.py"), str(tmp_path / "a.py")]) == 3
    assert "the file builds no pipeline" in capsys.readouterr().out


def test_a_text_cannot_move_the_cursor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = pair(tmp_path)
    text = (tmp_path / "gen.py").read_text().replace("a cat", "\\x1b[2J\\x1b[1;1H[bold]all match")
    (tmp_path / "gen.py").write_text(text)
    assert main(["compare", *files]) == 1
    printed = capsys.readouterr().out
    assert "\x1b[2J" not in printed
    assert "[bold]all match" in printed


def test_relaxed_takes_an_alias_of_the_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = pair(tmp_path, model="runwayml/stable-diffusion-v1-5")
    assert main(["compare", *files, "--json"]) == 1
    capsys.readouterr()
    report = relaxed(files, capsys)
    assert report["exit"] == 0
    assert report["score"] == 1
    assert report["by_name"]["model_id"]["why"] == "two ids of one model"


def test_relaxed_takes_an_equivalent_scheduler(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = pair(tmp_path, scheduler="EulerDiscreteScheduler")
    report = relaxed(files, capsys)
    assert report["by_name"]["scheduler"]["score"] == 0  # by default it spaces its steps otherwise
    text = (tmp_path / "gen.py").read_text()
    (tmp_path / "gen.py").write_text(
        text.replace("scheduler.config)", "scheduler.config, timestep_spacing='leading')")
    )
    report = relaxed(files, capsys)
    assert report["by_name"]["scheduler"]["match"] is True
    (tmp_path / "gen.py").write_text(text.replace("stable-diffusion-v1-5", "some-model"))
    report = relaxed(files, capsys)
    assert report["by_name"]["scheduler"]["match"] is None


@pytest.mark.parametrize(
    ("one", "other"),
    [("DDIM", "UniPCMultistep"), ("DPMSolverMultistep", "DPMSolverSinglestep")],
)
def test_another_algorithm_is_not_equivalent(
    one: str, other: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = pair(tmp_path, scheduler=f"{other}Scheduler")
    text = (tmp_path / "gt.py").read_text().replace("DDIMScheduler", f"{one}Scheduler")
    (tmp_path / "gt.py").write_text(text)
    assert relaxed(files, capsys)["by_name"]["scheduler"]["score"] == 0


def test_what_both_leave_at_its_default_counts_for_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = pair(tmp_path)
    load = (tmp_path / "gen.py").read_text().partition("pipe.scheduler")[0]
    wrong = "pipe('zzz', 8, 8, 1, guidance_scale=-3.0)\n"
    (tmp_path / "gen.py").write_text(load + wrong)
    report = relaxed(files, capsys)
    assert report["by_name"]["negative_prompt"]["why"] == "the default, not counted"
    assert "why" not in report["by_name"]["dtype"]
    assert report["score"] < 0.4


def test_relaxed_gives_part_of_the_credit_per_parameter(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = relaxed(pair(tmp_path, interval=3), capsys)
    accelerators = report["by_name"]["accelerators"]
    # One of three parameters is a quarter off.
    assert accelerators["score"] == pytest.approx((0.75 + 1 + 1) / 3)
    assert "cache_interval: off by 25%" in accelerators["why"]
    assert report["exit"] == 1
    assert 0.9 < report["score"] < 1


def test_relaxed_scores_nothing_for_what_is_not_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = pair(tmp_path)
    text = (tmp_path / "gen.py").read_text().replace("interval=4", "interval=int(input())")
    (tmp_path / "gen.py").write_text(text.replace('"a cat"', "input()"))
    report = relaxed(files, capsys)
    assert report["scored"]["unknown"] == 3  # a prompt that is not known may be several
    assert report["score"] < 1
    # What the reference leaves open nobody can be asked for.
    report = relaxed(files[::-1], capsys)
    assert report["scored"]["unknown"] == 0


def test_relaxed_takes_near_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert relaxed(pair(tmp_path, steps=49), capsys)["exit"] == 0
    assert relaxed(pair(tmp_path, steps=49), capsys, "--tolerance", "0.01")["exit"] == 1


def test_weights_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = tmp_path / "weights.yaml"
    files = pair(tmp_path, scheduler="UniPCMultistepScheduler")
    weights.write_text("scheduler: 0\nscheduler_args: 0\n")
    assert relaxed(files, capsys, "--weights", str(weights))["score"] == 1
    weights.write_text("scheduler: 1000\n")
    assert relaxed(files, capsys, "--weights", str(weights))["score"] < 0.05


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("shceduler: 1\n", "did you mean scheduler?"),
        ("scheduler: -1\n", "at least 0"),
        ("scheduler: many\n", "at least 0"),
        ("scheduler: .nan\n", "no number that JSON can hold"),
        ("- scheduler\n", "holds a list; expected fields with their weights"),
        ("scheduler: [\n", "line 2, column 1: is not valid YAML"),
        ("", "is empty; expected fields with their weights"),
    ],
)
def test_a_mistake_in_the_weights(
    content: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "weights.yaml"
    weights.write_text(content)
    code = main(["compare", *pair(tmp_path), "--relaxed", "--weights", str(weights)])
    printed = capsys.readouterr().err
    assert code == 2
    assert message in printed
    assert len(printed.splitlines()) == 1


def test_weights_without_relaxed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *pair(tmp_path), "--weights", "w.yaml"]) == 2
    assert "--relaxed" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["1" + "0" * 400, "-0x" + "f" * 300, "1e308"])
def test_a_number_that_no_float_can_hold(
    number: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = pair(tmp_path)
    text = (tmp_path / "gen.py").read_text()
    text = text.replace("config)", f"config, steps_offset={number})")
    (tmp_path / "gen.py").write_text(text.replace("_steps=50", f"_steps={number}"))
    assert main(["compare", *files]) in (1, 3)
    capsys.readouterr()
    assert relaxed(files, capsys)["exit"] in (1, 3)
    assert capsys.readouterr().err == ""


def test_whole_numbers_beyond_every_float_are_far_apart() -> None:
    fields = dict.fromkeys(FIELDS, None) | {"steps": 10**400}
    found = field_diff.Findings(fields | {"steps": 0.5})
    relaxed = field_diff.Relaxed(0.05, field_diff.WEIGHTS)
    (steps,) = [
        item
        for item in field_diff.compare(field_diff.Findings(fields), found, relaxed)
        if item.field == "steps"
    ]
    assert (steps.match, steps.score) == (False, 0)


def test_a_failure_of_the_comparison_is_no_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(field_diff, "compare", None)
    assert main(["compare", *pair(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("compare: the comparison itself failed: TypeError")
