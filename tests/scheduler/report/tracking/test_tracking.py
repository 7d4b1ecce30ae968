"""Measurements go to a tracker, each once; a tracker that fails loses nothing and fails nothing."""

from __future__ import annotations

import fcntl
import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from scheduler.config.loader import SweepError, read_sweep
from tests.helpers.sweep_runner import PATIENCE, REPOSITORY, Ended, SweepRunner

# Stands in for a tracker's package, and does as the file beside it says.
STAND_IN = """\
import json, pathlib, time
HERE = pathlib.Path(__file__).parent
def tell(what, **facts):
    with (HERE / "told").open("a") as file:
        file.write(json.dumps({"what": what, **facts}) + "\\n")
def init(**facts):
    tell("init", **facts)
    mood = (HERE / "mood").read_text()
    if mood == "hangs":
        time.sleep(1000)
    if mood in ("raises", facts["name"]):
        raise ConnectionError("no route to\\x1b[31m host")
def log(metrics, step):
    tell("log", metrics=metrics, step=step)
def finish():
    tell("finish")
"""
HOSTILE = "$(reboot);'\" <b>é"


def row(label: str, *metrics: Any) -> bytes:
    return json.dumps({"label": label, "metrics": list(metrics)}).encode() + b"\n"


ROWS = (
    row("baseline", {"name": "seconds", "value": 2.0})
    + row("fast", {"name": "seconds", "value": 1.0, "low": 0.9, "high": 1.1})
    + json.dumps({"summary": {"best": "fast"}}).encode()
    + b"\n"
)


class Tracked:
    """A sweep whose measurements go to the stand-in."""

    def __init__(self, runner: SweepRunner) -> None:
        self.runner = runner
        self.folder = runner.folder / "packages"
        self.folder.mkdir()
        (self.folder / "trackio.py").write_text(STAND_IN)
        self.be("kind")

    def be(self, mood: str) -> None:
        (self.folder / "mood").write_text(mood)

    @property
    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": f"{REPOSITORY}:{self.folder}"}

    def write(self, *tasks: str, script: str = "ok", rows: bytes = ROWS, **track: Any) -> None:
        self.runner.write(dict.fromkeys(tasks, script), track={"to": "trackio", **track})
        self.runner.paths.make_folders()
        for task in tasks:
            self.runner.paths.results(task).write_bytes(rows)

    def run(self) -> Ended:
        return self.runner.run(**self.environment)

    def track(self) -> Ended:
        return self.runner.run("track", self.runner.file, **self.environment)

    def told(self, what: str) -> list[dict[str, Any]]:
        path = self.folder / "told"
        lines = map(json.loads, path.read_text().splitlines()) if path.exists() else ()
        return [line for line in lines if line["what"] == what]

    def wait_until_called(self) -> None:
        patience = time.monotonic() + PATIENCE
        while not self.told("init"):
            assert time.monotonic() < patience, "the tracker was never called"
            time.sleep(0.01)


@pytest.fixture
def tracked(runner: SweepRunner) -> Tracked:
    return Tracked(runner)


def test_each_task_is_a_run_and_each_measurement_a_step_of_it(tracked: Tracked) -> None:
    tracked.write(HOSTILE, "b", project="mine")
    assert tracked.run().code == 0
    runs = {told["name"]: told for told in tracked.told("init")}
    assert list(runs) == [HOSTILE, "b"]
    assert runs["b"]["group"] == "runner"
    assert runs["b"]["project"] == "mine"
    assert runs[HOSTILE]["config"] == {"case": HOSTILE}
    steps = [(told["step"], told["metrics"]) for told in tracked.told("log")]
    measured = {"seconds": 1.0, "seconds.low": 0.9, "seconds.high": 1.1, "label": "fast"}
    assert steps == [(0, {"seconds": 2.0, "label": "baseline"}), (1, measured)] * 2
    assert not tracked.runner.journal("tracking_failed")


def test_only_what_is_new_is_sent(tracked: Tracked) -> None:
    tracked.write("a", "b")
    assert "4 measurement(s) sent" in tracked.track().out
    assert "0 measurement(s) sent" in tracked.track().out
    with tracked.runner.paths.results("b").open("ab") as file:
        file.write(row("more") + row("cut off")[:-1])
    assert "1 measurement(s) sent" in tracked.track().out
    assert tracked.told("log")[-1] == {"what": "log", "metrics": {"label": "more"}, "step": 2}
    assert len(tracked.told("log")) == 5


def test_other_settings_are_another_run_and_another_project_gets_all(tracked: Tracked) -> None:
    tracked.write("a")
    tracked.track()
    tracked.write("a", rows=ROWS + row("new"))
    content = tracked.runner.file.read_text().replace("worker:", "worker:\n  args: {size: 8}")
    tracked.runner.write_text(content)
    assert "1 measurement(s) sent" in tracked.track().out
    assert tracked.told("log")[-1]["step"] == 0
    assert tracked.told("init")[-1]["config"] == {"case": "a", "args.size": "8"}
    tracked.write("a", rows=ROWS, project="other")
    assert "2 measurement(s) sent" in tracked.track().out


def test_a_tracker_that_raises_is_one_line_and_gets_all_later(tracked: Tracked) -> None:
    tracked.write("a", "b", "c", "d", "e")
    tracked.be("raises")
    ended = tracked.run()
    assert ended.code == 0
    assert ended.out.count("track: ended with exit code 1") == 1
    assert len(tracked.runner.journal("tracking_failed")) == 1
    failed = tracked.track()
    assert failed.code == 1
    assert "a: not sent: ConnectionError: no route to [31m host" in failed.err
    assert "d: " not in failed.err  # three in a row: it is down
    tracked.be("kind")
    assert "10 measurement(s) sent" in tracked.track().out


def test_one_task_that_is_refused_holds_up_no_other(tracked: Tracked) -> None:
    tracked.write("a", "b", "c")
    tracked.be("b")
    assert "4 measurement(s) sent" in tracked.track().out
    tracked.be("kind")
    assert "2 measurement(s) sent" in tracked.track().out


def test_a_tracker_that_hangs_is_ended(tracked: Tracked) -> None:
    tracked.write("a", timeout="3s")
    tracked.be("hangs")
    ended = tracked.run()
    assert ended.code == 0
    assert "track: was ended: it ran for more than 3.0 s (track.timeout)" in ended.out
    by_hand = tracked.track()
    assert by_hand.code == 1
    assert by_hand.err.startswith("runner: not all was sent within 3.0 s (track.timeout)")
    tracked.be("kind")
    assert "2 measurement(s) sent" in tracked.track().out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_dispatcher_that_is_told_to_leave_does_not_wait_for_a_tracker(
    tracked: Tracked, number: int
) -> None:
    tracked.write("a", timeout="10m")
    tracked.be("hangs")
    running = tracked.runner.start(**tracked.environment)
    tracked.wait_until_called()
    running.send(number)
    assert running.end().code == 0  # the sweep was over
    assert len(tracked.told("init")) == 1


def test_rows_that_make_no_sense_are_sent_as_far_as_they_do(tracked: Tracked) -> None:
    strange = [
        {"name": "../../etc\n", "value": 1},
        {"name": "", "value": 2},
        {"name": "nan", "value": float("nan")},
        {"name": "text", "value": "3"},
        {"value": True},
        "none",
    ]
    rows = b'{"metrics": 7}\n[1]\n{"metrics"\n\xff\n' + row("\x1b[2J" + "x" * 1000, *strange)
    tracked.write("a", rows=rows)
    assert tracked.track().code == 0
    empty, sent = tracked.told("log")
    assert empty["metrics"] == {"label": "–"}
    label = sent["metrics"].pop("label")
    assert label.isprintable()
    assert len(label) <= 500
    assert sent["metrics"] == {"etc": 1.0, "unnamed": 2.0}


def test_two_do_not_send_at_once(tracked: Tracked) -> None:
    tracked.write("a")
    with tracked.runner.paths.tracking.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        ended = tracked.track()
    assert (ended.code, ended.err) == (3, "runner: another process sends its measurements\n")
    assert not tracked.told("init")


def test_a_package_that_is_missing_is_said_before_anything_starts(tracked: Tracked) -> None:
    (tracked.folder / "sitecustomize.py").write_text("import sys\nsys.modules['trackio'] = None\n")
    tracked.write("a")
    for ended in (tracked.run(), tracked.track()):
        assert ended.code == 2
        assert ended.err.count("\n") == 1
        assert "track.to: the package trackio is not installed: pip install " in ended.err
    assert not tracked.runner.starts()


@pytest.mark.parametrize(
    ("track", "problem"),
    [
        ("{to: tensorboard}", "track.to: must be mlflow, wandb or trackio, not 'tensorboard'"),
        ("{project: mine}", "track.to: is missing; it is mlflow, wandb or trackio"),
        ("{to: mlflow, project: ''}", "track.project: is empty; it needs at least one character"),
        ("{to: mlflow, timeout: 1h}", "track.timeout: must be more than 0 s and at most 10 min"),
        ("{to: mlflow, tiemout: 1s}", "track.tiemout: unknown key; did you mean timeout?"),
        ("", "track: is empty; give it a value or remove it"),
        ("mlflow", "track: must be a mapping"),
    ],
)
def test_a_wrong_section_is_one_sentence(tmp_path: Path, track: str, problem: str) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(f"matrix: {{a: [1]}}\nworker: {{command: ['true']}}\ntrack: {track}\n")
    with pytest.raises(SweepError) as raised:
        read_sweep(file)
    (found,) = raised.value.problems
    assert problem in found


def test_without_a_section_the_command_says_so(runner: SweepRunner) -> None:
    runner.write({"a": "ok"})
    ended = runner.run("track", runner.file)
    assert ended.code == 2
    assert "it has no section track" in ended.err


def test_mlflow_gets_each_row_once_whatever_was_recorded(
    tracked: Tracked, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    pytest.importorskip("sqlalchemy", reason="mlflow's file needs sqlalchemy")
    uri = f"sqlite:///{tracked.folder.parent.parent / 'runs.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    tracked.runner.environment["MLFLOW_TRACKING_URI"] = uri
    tracked.write(HOSTILE, to="mlflow", rows=ROWS)
    assert "2 measurement(s) sent to mlflow" in tracked.track().out
    # As if it had been killed before it could record what it sent.
    ledger = tracked.runner.paths.tracked
    ledger.write_bytes(ledger.read_bytes().splitlines(keepends=True)[0])
    assert "2 measurement(s) sent to mlflow" in tracked.track().out
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("runner")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == HOSTILE
    assert run.data.params == {"case": HOSTILE}
    assert run.data.tags["step 1"] == "fast"
    seconds = client.get_metric_history(run.info.run_id, "seconds")
    assert {(metric.step, metric.value) for metric in seconds} == {(0, 2.0), (1, 1.0)}
