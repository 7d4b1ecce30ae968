"""The program of what the slider chooses stands in the page as text."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from scheduler.cli.main import main

pytest.importorskip("plotly", reason="reports are drawn with plotly")
HOSTILE = "./</script><script>document.title='taken'</script>'\"\n{{ 7*7 }}"
SETTINGS = {
    "digest": "now",
    "pipe": "SHAPES_SD15",
    "source": HOSTILE,
    "weights": "pretrained",
    "sched": "DDIM",
    "steps": 6,
    "image_size": 64,
    "guidance_scale": 7.5,
    "seed": 0,
    "first_prompt": 0,
    "dtype": "float32",
    "batch_size": 2,
    "pipeline": {},
}


def row(label: str, speedup: float, loss: float, interval: int) -> dict[str, Any]:
    def metric(name: str, value: float, half: float) -> dict[str, Any]:
        return {"name": name, "value": value, "low": value - half, "high": value + half}

    metrics = [metric("clip_score", 30.0, 0.1)]
    if interval:
        metrics += [metric("speedup", speedup, 0.01), metric("quality_loss", loss, 0.001)]
        metrics.append({"name": "images_scored", "value": 32})
    accelerators = {"deepcache": {"cache_interval": interval}} if interval else {}
    return {
        "label": label,
        "role": "candidate" if interval else "baseline",
        "configuration": {"accelerators": accelerators},
        "status": "measured",
        "metrics": metrics,
        "samples": {},
        "settings": SETTINGS,
        "environment": {},
        "reproduce": {"command": "python -m worker search"},
    }


def test_it_changes_with_the_bound(tmp_path: Path, monkeypatch: Any, tab: Any) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = {"worker": {"command": ["true", "{task}"]}, "matrix": {"t": ["a"]}}
    (tmp_path / "one.yaml").write_text(json.dumps(sweep))
    (tmp_path / "checkpoints" / "one").mkdir(parents=True)
    rows = [row("baseline", 1.0, 0.0, 0), row("safe", 1.5, 0.002, 2), row("fast", 2.5, 0.03, 5)]
    lines = "".join(json.dumps(one) + "\n" for one in rows)
    (tmp_path / "checkpoints" / "one" / "a.jsonl").write_text(lines)
    assert main(["report", "one.yaml"]) == 0
    tab.goto((tmp_path / "one-report.html").as_uri())
    for percent, interval in (("1", 2), ("5", 5)):
        tab.fill("#loss", percent)
        program = tab.locator("#reproduce pre").nth(1).inner_text()
        assert f"helper.set_params(cache_interval={interval}, cache_branch_id=0)" in program
        values = [
            node.value for node in ast.walk(ast.parse(program)) if isinstance(node, ast.Constant)
        ]
        assert HOSTILE in values
    assert tab.title() == "Report: one"
