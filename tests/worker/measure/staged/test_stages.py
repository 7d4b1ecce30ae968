"""A task measured in two stages: the same images as in one, and a clock for the first of them alone."""

import json
from dataclasses import replace

import pytest

from tests.helpers.tiny_task import NO_CONTROLS, SECTION, labels, measure, read, request, value
from worker.commands.main import main
from worker.errors import WorkerError
from worker.measure.staged.stages import run_timed_stage
from worker.measure.task.run import run
from worker.results.file import ResultsFile
from worker.search.check import tasks_in_stages
from worker.search.studies import Stability

TASK = {
    "section": SECTION | {"controls": NO_CONTROLS | {"null_arm": True}},
    "num_samples": 7,
    "batch_size": 2,
}


def in_stages(path, say=lambda _line: None, **changes):
    """Measure a task in two attempts, as the scheduler would have it."""
    asked = request(**(TASK | changes))
    assert run_timed_stage(replace(asked, stage="timed"), ResultsFile.open(path), "cpu", say)
    return run(replace(asked, stage="untimed"), ResultsFile.open(path), "cpu", say)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Return the folder of a task that was measured at once and one in stages, and their summaries."""
    folder = tmp_path_factory.mktemp("both")
    return folder, measure(folder / "once.jsonl", **TASK), in_stages(folder / "stages.jsonl")


def test_both_ways_give_the_same_figures_of_quality(both):
    folder, once, stages = both
    whole = {row["label"]: row for row in read(folder / "once.jsonl") if "label" in row}
    rows = [row for row in read(folder / "stages.jsonl") if "label" in row]
    pooled = {row["label"]: row for row in rows if "study" not in row}
    assert pooled.keys() == whole.keys()
    for label, row in pooled.items():
        scores = whole[label]["samples"]["clip_score"]
        # captions are embedded in other batches
        assert row["samples"]["clip_score"] == pytest.approx(scores, rel=1e-5)
        assert (value(row, "quality_loss") is None) == (label == "baseline")
        for name in {"quality_loss", "clip_score", "psnr", "ssim", "images_scored"}.intersection(
            metric["name"] for metric in row["metrics"]
        ):
            assert value(row, name) == pytest.approx(
                value(whole[label], name), rel=1e-3, abs=1e-5
            ), (
                label,
                name,
            )
        assert row["settings"]["num_samples"] == 7
        assert value(row, "timed_batches") == 2  # not the four that all prompts take
    assert stages.frontier
    assert stages.bound.keys() == once.bound.keys()
    assert stages.null_arm is not None


def test_no_image_of_the_first_stage_is_made_again(both):
    folder, _, stages = both
    rows = [row for row in read(folder / "stages.jsonl") if "study" in row]
    first = [row for row in rows if row["study"] == "prompts 1 to 4"]
    rest = [row for row in rows if row["study"] == "prompts 5 to 7"]
    assert len(first) == len(rest) == 5
    assert all(row["samples"].get("seconds") for row in first)
    assert not any(row["samples"].get("seconds") for row in rest)
    assert stages.images_generated == sum(value(row, "images_generated") for row in rows)


def test_a_finished_task_is_not_measured_again(both):
    folder, _, stages = both
    before = labels(folder / "stages.jsonl")
    assert in_stages(folder / "stages.jsonl").frontier == stages.frontier
    assert labels(folder / "stages.jsonl") == before


def test_the_second_stage_does_not_time_what_the_first_has_left(tmp_path):
    asked = replace(request(**TASK), stage="untimed")
    with pytest.raises(WorkerError, match="what is timed was not measured"):
        run(asked, ResultsFile.open(tmp_path / "t.jsonl"), "cpu", lambda _line: None)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ["t"]),
        ({"num_samples": 4}, []),  # the first stage is all
        ({"confirm": 2}, []),
        ({"timing": "off"}, []),
        ({"strategy": "adaptive"}, []),
        ({"weights": "random"}, []),
        ({"stability": Stability().model_dump(exclude_defaults=True)}, []),
        ({"num_samples": "seven"}, []),
    ],
)
def test_the_worker_knows_which_tasks_have_stages(change, expected):
    args = {"num_samples": 7, "batch_size": 2} | {
        name: change[name] for name in change if name in ("num_samples", "confirm")
    }
    section = {"timing": {"repeats": 2}} | {
        name: change[name] for name in change if name not in args
    }
    assert tasks_in_stages({"t": {}}, args, section) == expected


def test_the_command_ends_with_the_line_that_leaves_the_rest(tmp_path, monkeypatch, capsys):
    section = {"configurations": [], "controls": NO_CONTROLS, "timing": {"repeats": 1}}
    spec, results = tmp_path / "spec.json", tmp_path / "results.jsonl"
    monkeypatch.setenv("SWEEP_SPEC", str(spec))
    monkeypatch.setenv("SWEEP_RESULTS", str(results))
    flags = ["--pipe", "TINY_SD15", "--sched", "DDIM", "--steps", "2", "--num-samples", "2"]
    for stage, last in (
        ("timed", "Timed stage completed"),
        ("untimed", "Successfully completed"),
    ):
        spec.write_text(json.dumps({"search": section, "stage": stage}))
        assert main(["search", *flags, "--batch-size", "1"]) == 0
        assert capsys.readouterr().out.splitlines()[-1] == last
