"""The benchmark of the accelerators: what is still to do, and the page that it writes."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from worker.results.file import ResultsFile
from worker.results.row import metric

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def acceleration(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import acceleration

    return acceleration


def figure(*fields, **ends):
    """Return a metric as it stands in a results file."""
    return metric(*fields, **ends).model_dump()


def row(label="DeepCache 3/0", gpu="NVIDIA H200", gain=2.4, low=2.3, *, compiled=False, **more):
    settings = {"pipe": "SD15", "image_size": 512, "sched": "DDIM", "steps": 50, "batch_size": 4}
    settings |= {"dtype": "float16", "pipeline": {"compile": compiled}, "digest": f"{compiled}"}
    settings["timing"] = {"repeats": 10}
    versions = {"torch": "2.11"}
    machine = {"device": gpu, "driver": "580", "threads": None, "python": "3.12"}
    return {
        "role": "candidate",
        "label": label,
        "configuration": {"accelerators": {"named": label}},
        "status": "measured",
        "metrics": [
            figure("seconds_per_image", 0.2, "s", "lower"),
            figure("speedup", gain, "×", "higher", low=low, high=2.5),
        ],
        "samples": {},
        "settings": settings,
        "environment": machine | {"versions": versions, "commit": "0123456789abcdef"},
        **more,
    }


def written(acceleration, folder, **jobs):
    for job, rows in jobs.items():
        results = ResultsFile.open(folder / f"{job}.jsonl")
        for measured in rows:
            results.append(measured)
    return acceleration.acceleration_report.page(folder)


def test_rows_stand_under_the_machine_that_made_them(acceleration, tmp_path):
    page = written(acceleration, tmp_path, one=[row(), row(gpu="NVIDIA A100", gain=1.9)])
    _, h200, a100 = page.split("## On ")
    assert h200.startswith("NVIDIA H200, driver 580")
    assert "2.40 (2.30 to 2.50) | 1.68 (a)" in h200
    assert "1.90" not in h200
    assert "1.90" in a100


def test_what_is_found_of_a_machine_stands_under_it(acceleration, tmp_path):
    """One card's figures neither hide the other's nor stand for them."""
    cards = {"NVIDIA A100": ("2.0%", "0.040"), "NVIDIA H200": ("1.2%", "0.020")}
    rows = []
    for gpu, (share, seconds) in cards.items():
        measured = row(gpu=gpu)
        found = {"pipe": "SD15", "batch_size": 4, "scorer": "ViT-g-14"}
        found |= {"seconds_per_batch": float(seconds), "environment": measured["environment"]}
        summary = {"overhead": float(share[:-1]) / 100}
        rows += [measured, {"summary": summary}, {"scoring": found}]
    _, *machines = written(acceleration, tmp_path, one=rows, two=rows[:1]).split("## On ")
    assert [text.split(",")[0] for text in machines] == [*cards]
    for text, (share, seconds) in zip(machines, cards.values(), strict=True):
        assert f"| one | {share} |  | yes |" in text
        assert f"| SD15, batch 4, ViT-g-14 | {seconds} |" in text
    assert ["Measured twice" in text for text in machines] == [True, False]


def test_the_newest_job_counts_by_the_run_log(acceleration, tmp_path):
    jobs = dict(zip("ab", acceleration.first_jobs(), strict=False))
    run_log = acceleration.RunLog(tmp_path, "H200")
    run_log.note(jobs["b"].name, "ended", 1)
    run_log.note(jobs["a"].name, "ended", 1)
    names = {jobs["a"].name: [row(gain=2.4)], jobs["b"].name: [row(gain=2.3)]}
    table = written(acceleration, tmp_path, **names).split("###")[1]
    assert "2.40" in table
    assert "2.30 (" not in table


def test_the_newest_measurement_of_a_configuration_counts(acceleration, tmp_path):
    page = written(acceleration, tmp_path, one=[row(gain=2.0), row(gain=2.4)])
    assert "2.40" in page
    assert "2.00" not in page


def test_a_speedup_stands_under_the_baseline_of_its_own_job(acceleration, tmp_path):
    def baseline(seconds):
        made = row(label="baseline", role="baseline", configuration={"accelerators": {}})
        return made | {"metrics": [figure("seconds_per_image", seconds, "s", "lower")]}

    jobs = {"a": [baseline(0.41), row(gain=2.3)], "b": [baseline(0.42), row(gain=2.4)]}
    jobs["c"] = [baseline(0.43), row(label="T-GATE 10", gain=1.3)]
    table = written(acceleration, tmp_path, **jobs).split("###")[1]
    rows = [line[2:].split(" | ")[:2] for line in table.splitlines() if line.startswith("| ")]
    assert rows[1:] == [
        ["baseline", "0.420"],  # of job b, which measured DeepCache last
        ["DeepCache 3/0", "0.200"],
        ["baseline", "0.430"],
        ["T-GATE 10", "0.200"],
    ]


def test_a_speedup_is_estimated_from_the_times_again(acceleration, tmp_path):
    """A folder that grew over versions of the program holds figures of several estimators."""
    times = {"baseline_seconds": [2.0] * 9 + [9.0] * 2, "seconds": [1.0] * 11}
    page = written(acceleration, tmp_path, one=[row(gain=9.9, samples=times)])
    assert "| 2.00 (2.00 to 2.00)" in page
    assert "9.90" not in page


def test_what_a_person_wrote_above_the_tables_is_kept(acceleration, tmp_path):
    page = tmp_path / "docs" / "results.md"
    acceleration.write(page, "tables")
    assert page.read_text() == f"{acceleration.TITLE}{acceleration.MARK}\n\ntables"
    page.write_text(f"findings\n{acceleration.MARK}\n\ntables")
    acceleration.write(page, "new tables")
    assert page.read_text() == f"findings\n{acceleration.MARK}\n\nnew tables"


def test_an_interval_that_is_not_known_is_no_error(acceleration, tmp_path):
    assert "2.40 (? to 2.50)" in written(acceleration, tmp_path, one=[row(low=None)])


def test_two_runs_are_held_against_each_other(acceleration, tmp_path):
    two = [row(gain=2.41), row(label="T-GATE 10", gain=1.3)]
    page = written(acceleration, tmp_path, one=[row(), row(label="T-GATE 10", gain=1.25)], two=two)
    assert "2.41 (2.30 to 2.50) | 0.4% | yes |" in page
    assert "1.30 (2.30 to 2.50) | 3.8% | no |" in page
    assert "1 of 2 do not agree within 3%." in page


def test_compiled_stands_beside_eager(acceleration, tmp_path):
    page = written(acceleration, tmp_path, eager=[row()], compiled=[row(gain=2.2, compiled=True)])
    assert "0.200 | 2.40 (2.30 to 2.50) | 0.200 | 2.20 (2.30 to 2.50)" in page


def test_what_the_evaluation_costs(acceleration, tmp_path):
    summaries = [row(), {"summary": {"overhead": 0.012}}, {"summary": {}}]
    assert "| one | 1.2% |  | yes |" in written(acceleration, tmp_path, one=summaries)


@pytest.mark.parametrize(
    ("seconds", "share", "verdict"), [(0.02, "3.9%", "yes"), (0.04, "5.8%", "no")]
)
def test_what_the_evaluation_would_cost_with_a_scorer(
    acceleration, tmp_path, seconds, share, verdict
):
    scored = {"pipe": "SD15", "batch_size": 4, "scorer": "ViT-g-14", "seconds_per_batch": seconds}
    slow, fast = row(samples={"seconds": [1.2, 1.8]}), row(samples={"seconds": [0.4, 0.52]})
    scored["environment"] = slow["environment"]
    failed = row(label="ToMe 0.5/1", status="out of memory", metrics=[], samples={})
    one = [
        slow,
        fast,
        failed,
        {"summary": {"overhead": 0.02}},
    ]  # 0.98 s in the pipeline for 0.02 beside it
    page = written(acceleration, tmp_path, one=one, two=[{"scoring": scored}])
    assert f"| one | 2.0% | {share} | {verdict} |" in page
    assert f"| SD15, batch 4, ViT-g-14 | {seconds:.3f} |" in page


@pytest.mark.parametrize(
    ("interval", "apart", "cells"),
    [
        ([1.01, 1.05, 1.09], 0.0, "1.050 (1.010 to 1.090) | not slower | 0.0e+00"),
        ([0.91, 0.95, 0.99], 0.0, "0.950 (0.910 to 0.990) | slower | 0.0e+00"),
        ([None, 0.95, None], None, "0.950 (? to ?) | ? | NaN or Inf"),
    ],
)
def test_ours_beside_the_packages(acceleration, tmp_path, interval, apart, cells):
    found = {"pipe": "SD15", "steps": 50, "batch_size": 4, "accelerator": "deepcache"}
    found |= {"our_seconds": 1.0, "package_seconds": 1.05, "largest_difference": apart}
    found |= {"package_over_ours": interval, "environment": row()["environment"]}
    found |= {"package": "DeepCache 0.1.1"}
    page = written(acceleration, tmp_path, packages=[found])
    assert f"| {cells} |" in page
    assert "| DeepCache 0.1.1 | 1.000 |" in page


def test_the_committed_lines_have_the_keys_of_their_time(acceleration, tmp_path):
    """Those of the first jobs call the run log's jobs visits, and ours the house."""
    about = {"accelerator": "tgate", "pipe": "SD15", "steps": 50, "batch_size": 4}
    about |= {"largest_difference": 0.0, "environment": row()["environment"]}
    samples = {"house": [1.0] * 6, "package": [1.2] * 6}
    old = about | {"house_seconds": 1.0, "package_seconds": 1.2, "samples": samples}
    assert "| tgate | 1.000 | 1.200 | 1.200 (1.200" in written(acceleration, tmp_path, one=[old])
    log = ResultsFile.open(tmp_path / "run_log" / "jobs.jsonl")
    log.append({"visit": "SD15-again", "machine": "H200", "ended": 71.5})
    assert acceleration.RunLog(tmp_path, "H200").is_done("SD15-again")
    assert acceleration.RunLog(tmp_path, "A100").expected("SD15-again", 200) == 71.5


def test_disturbed_batches_are_shown(acceleration, tmp_path):
    disturbed = row()
    disturbed["metrics"] += [figure("timed_batches", 10, "", None)]
    assert "| 10 |" in written(acceleration, tmp_path, one=[disturbed])
    disturbed["metrics"] += [figure("batches_disturbed", 3, "", None)]
    assert "| 10, 3 disturbed |" in written(acceleration, tmp_path, two=[disturbed])


def test_a_job_is_done_on_the_machine_that_made_it(acceleration, tmp_path):
    job = next(acceleration.first_jobs())
    run_log = acceleration.RunLog(tmp_path, "H200")
    about = (job.name, job.guess)
    assert run_log.expected(*about) == job.guess
    run_log.note(job.name, "started", 540)
    assert run_log.expected(*about) == job.guess, "what failed may need no more than it had"
    run_log.note(job.name, "stopped", 540)
    run_log.note(job.name, "started", 600)
    assert run_log.expected(*about) == 541, "it needs more than it had when it was stopped"
    run_log.note(job.name, "ended", 123.4)
    assert run_log.is_done(job.name)
    other = acceleration.RunLog(tmp_path, "A100")
    assert not other.is_done(job.name)
    assert other.expected(*about) == 123.4


def test_a_job_that_cannot_be_measured_says_why_in_one_sentence_and_is_tried_again(tmp_path):
    (tmp_path / "SD15-again.jsonl").mkdir()
    command = [sys.executable, BENCHMARKS / "acceleration.py", "--out", tmp_path, "--tiny"]
    command += ["--only", "SD15-again", "--budget", "500"]
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 1
        assert done.stdout.startswith("SD15-again: failed with code 2 after ")
        (sentence,) = done.stderr.splitlines()
        assert sentence.endswith("SD15-again.jsonl is not a file; name another")


def test_a_job_is_stopped_when_the_budget_ends(acceleration, tmp_path):
    job = acceleration.Job("SD15-again", "SD15", 4, guess=0.1)
    arguments = argparse.Namespace(out=tmp_path, tiny=True, budget=0.2)
    assert acceleration.go_on([job], arguments) == acceleration.ALL_BUT_DONE
    run_log = acceleration.RunLog(tmp_path, "cpu")
    assert run_log.expected(job.name, job.guess) > 1


def test_nothing_is_started_that_does_not_fit_into_the_budget(tmp_path):
    command = [sys.executable, BENCHMARKS / "acceleration.py", "--out", tmp_path, "--tiny"]
    done = subprocess.run(
        [*command, "--only", "SD15-again", "--budget", "50", "--write", tmp_path / "page.md"],
        capture_output=True,
        text=True,
        env=os.environ,
    )
    assert (done.returncode, done.stderr) == (75, "")
    assert done.stdout == "still to do: SD15-again, about 100 s\n"
    assert (
        (tmp_path / "page.md").read_text().startswith("# What the accelerators give, all figures")
    )


def test_the_first_list_is_of_known_jobs_and_fits_into_calls_of_nine_minutes(acceleration):
    jobs = [*acceleration.first_jobs()]
    kinds = {"cached", "combined", "again", "packages", "scoring", "compiled"}
    names = {f"{pipe}-{kind}" for pipe in ("SD15", "SDXL") for kind in kinds}
    longer = {"SDXL-tgate", "SDXL-tgate-again"}
    assert {job.name for job in jobs} == names | longer
    assert all(job.guess < 540 for job in jobs)
    for alike in (names, longer):  # else no two of them could be compared
        plain = [v for v in jobs if v.name in alike and not v.packages and not v.scoring]
        assert len({job.rounds for job in plain}) == 1


def test_a_call_ends_after_two_failures_in_a_row(acceleration, tmp_path, monkeypatch, capsys):
    codes = iter([1, 0, -9, 1])

    def fail(command, timeout):
        return subprocess.CompletedProcess(command, next(codes))

    monkeypatch.setattr(acceleration.subprocess, "run", fail)
    jobs = [acceleration.Job(name, "SD15", 4) for name in "abcdef"]
    arguments = argparse.Namespace(out=tmp_path, tiny=True, budget=900)
    assert acceleration.go_on(jobs, arguments) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["a: failed with code 1 after 0 s", "b: ended after 0 s"]
    assert lines[2:4] == ["c: failed with code -9 after 0 s", "d: failed with code 1 after 0 s"]
    assert lines[4] == "2 jobs failed one after the other: nothing else was started"
    assert lines[5:] == ["still to do: e, about 200 s", "still to do: f, about 200 s"]


def test_packages_that_were_compared_on_this_machine_are_not_compared_again(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import against_packages

    def refuse(*_arguments, **_options):
        raise AssertionError("a pipeline was loaded")

    about = {"pipe": "TINY_SD15", "steps": 4, "batch_size": 1}
    here = against_packages.environment.describe("cpu")
    known = [
        about | {"accelerator": name, "environment": here}
        for name in ("deepcache", "tgate", "tome")
    ]
    monkeypatch.setattr(against_packages, "load_pipeline", refuse)
    assert [*against_packages.measure(*about.values(), 1, "cpu", known)] == []
    known[0] = known[0] | {"environment": here | {"device": "another"}}
    with pytest.raises(AssertionError, match="a pipeline was loaded"):
        next(against_packages.measure(*about.values(), 1, "cpu", known))


def test_tome_and_its_package_make_the_same_random_choices(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import against_packages

    about = {"pipe": "TINY_SD15", "steps": 2, "batch_size": 1}
    about["environment"] = against_packages.environment.describe("cpu")
    known = [about | {"accelerator": name} for name in ("deepcache", "tgate")]
    (found,) = against_packages.measure("TINY_SD15", 2, 1, 1, "cpu", known)
    assert found["package"].startswith("tomesd ")
    assert found["largest_difference"] == 0.0


def test_a_commit_is_told_where_there_is_no_checkout(monkeypatch):
    from worker.results import environment

    assert environment.describe("cpu")["commit"] != "beef"
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("DIFFUSION_SWEEPS_COMMIT", "beef")
    assert environment.describe("cpu")["commit"] == "beef"
