"""The file for Prometheus, read by Prometheus' own parser."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.helpers.sweep_runner import SweepRunner

pytest.importorskip("prometheus_client")
from prometheus_client.parser import text_string_to_metric_families


def samples(path: Path) -> dict[tuple[str, ...], float]:
    """Return all samples, by name and the labels beside the sweep's."""
    families = text_string_to_metric_families(path.read_text())
    return {
        (
            sample.name,
            *(value for name, value in sample.labels.items() if name != "sweep"),
        ): sample.value
        for family in families
        for sample in family.samples
    }


def test_it_is_there_while_the_sweep_runs_and_says_when_it_is_over(runner: SweepRunner) -> None:
    runner.write({"a": "gate; ok", "b": "exit 2"}, devices={"cpu_slots": 1})
    file = runner.folder / 'odd "name.prom'
    running = runner.start(runner.file, "--metrics-file", file)
    open_gate = runner.reach_gate("a")
    running.wait_for("a: attempt 1 started")
    assert samples(file)["diffusion_sweeps_up",] == 1
    open_gate()
    assert running.end().code == 1
    found = samples(file)
    assert found["diffusion_sweeps_up",] == 0
    assert found["diffusion_sweeps_tasks", "completed"] == 1
    assert found["diffusion_sweeps_tasks", "failed"] == 1
    assert found["diffusion_sweeps_device_tasks", "cpu:0", "CPU slot 0"] == 0
    assert found["diffusion_sweeps_lost_seconds_total",] > 0
    assert [path.name for path in runner.folder.glob("*.prom*")] == [file.name]


def test_where_it_cannot_be_written_nothing_starts(runner: SweepRunner) -> None:
    runner.write({"a": "ok"})
    ended = runner.run(runner.file, "--metrics-file", runner.folder / "none" / "x.prom")
    assert (ended.code, runner.starts()) == (2, 0)
    assert ended.err.startswith("--metrics-file: ")
    assert ended.err.endswith("x.prom: No such file or directory\n")
    ended = runner.run(runner.file, "--metrics-file", ".")
    said = "--metrics-file: . is a folder; name a file\n"
    assert (ended.code, ended.err, runner.starts()) == (2, said, 0)


def test_it_takes_no_fifos_place_and_is_written_where_a_link_leads(runner: SweepRunner) -> None:
    runner.write({"a": "ok"})
    fifo, link = runner.folder / "fifo.prom", runner.folder / "link.prom"
    os.mkfifo(fifo)
    link.symlink_to(fifo.name)
    for path in (fifo, link):
        ended = runner.run(runner.file, "--metrics-file", path)
        assert ended.err == f"--metrics-file: {path} is a FIFO; name a file\n"
        assert (ended.code, fifo.is_fifo()) == (2, True)
    fifo.unlink()
    assert runner.run(runner.file, "--metrics-file", link).code == 0
    assert link.is_symlink()
    assert samples(fifo)["diffusion_sweeps_tasks", "completed"] == 1


def test_a_missing_package_is_one_sentence(runner: SweepRunner, tmp_path: Path) -> None:
    runner.write({"a": "ok"})
    hidden = tmp_path / "hidden" / "prometheus_client"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError('no')\n")
    path = f"{hidden.parent}:{runner.environment['PYTHONPATH']}"
    file = runner.folder / "x.prom"
    running = runner.start(runner.file, "--metrics-file", file, PYTHONPATH=path)
    ended = running.end()
    said = "--metrics-file needs prometheus_client: pip install 'diffusion-sweeps[metrics]'\n"
    assert (ended.code, ended.err, runner.starts()) == (2, said, 0)
