"""`python -m worker plan`: what would be measured, and what is wrong with a search file."""

import json
import os
import subprocess
import sys

import pytest

from tests.helpers.measured_rows import row
from worker.commands.main import main
from worker.results.row import metric

PLAN = [sys.executable, "-m", "worker", "plan", "--pipe", "SDXL", "--sched", "DDIM", "--steps"]


def test_plan_says_what_is_left_out():
    done = subprocess.run([*PLAN, "10"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "candidate  T-GATE 4" in done.stdout
    done = subprocess.run([*PLAN, "1"], capture_output=True, text=True)
    assert "so it is measured as 'baseline'" in done.stdout


@pytest.mark.parametrize("command", [["--help"], ["plan", "--help"], [*PLAN[3:], "10"]])
def test_a_reader_that_has_seen_enough(command):
    """As `python -m worker … | head`: no traceback."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [*PLAN[:3], *command], stdout=write_end, stderr=subprocess.PIPE, env=environment, text=True
    )
    os.close(write_end)
    assert "Traceback" not in done.stderr, done.stderr
    assert "BrokenPipe" not in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "max_loss: 0.05\nmax_loss: 0.5",
            "line 2: duplicate key 'max_loss'; it is on line 1 already",
        ),
        ("max_loss: 2020-13-45", "search.max_loss: "),
        (f"seed: {'9' * 5000}", "line 1: seed: 9999"),
        ("[" * 300, "line 1: is nested more than 100 levels deep"),
    ],
)
def test_what_is_wrong_with_a_search_file(tmp_path, capsys, text, words):
    (tmp_path / "search.yaml").write_text(text)
    flags = ["--pipe", "TINY_SD15", "--sched", "DDIM", "--steps", "4"]
    assert main(["plan", *flags, "--search", str(tmp_path / "search.yaml")]) == 2
    assert words in capsys.readouterr().err


def test_a_sweep_file_without_a_search_section_has_the_defaults(tmp_path, capsys):
    (tmp_path / "sweep.yaml").write_text("matrix: {pipe: [SD15]}")
    flags = ["--pipe", "TINY_SD15", "--sched", "DDIM", "--steps", "4"]
    assert main(["plan", *flags, "--search", str(tmp_path / "sweep.yaml")]) == 0
    assert "candidate  DeepCache 2/0" in capsys.readouterr().out


COUNTED = """\
matrix: {pipe: [TINY_SD15]}
worker: {args: {num_samples: 10, batch_size: 4, confirm: 8}}
search:
  configurations: [{deepcache: {cache_interval: [2, 3]}}, {tome: {ratio: 0.5}}]
  controls: {fewer_steps: [0.5], guidance_off: [], null_arm: false}
  timing: {warmup: 1, repeats: 2, block: 3}
"""


def test_a_plan_says_what_it_costs(tmp_path, capsys):
    """Three batches and a warm-up of four images each; the baseline beside each of two blocks."""
    (tmp_path / "sweep.yaml").write_text(COUNTED)
    flags = ["--pipe", "TINY_SD15", "--sched", "PNDM", "--steps", "4"]
    assert main(["plan", *flags, "--search", str(tmp_path / "sweep.yaml")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:7] == [
        "  baseline   baseline       32 images, 40 calls",
        "  control    2 steps        16 images, 12 calls",
        "  candidate  DeepCache 2/0  16 images, 20 calls",
        "  candidate  DeepCache 3/0  16 images, 20 calls",
        "  candidate  ToMe 0.5/1     16 images, 20 calls",
        "altogether 96 images, 112 calls, in batches of 4",
    ]
    assert lines[7].startswith("confirmation: what proves worth it again, at most 72 images")
    given = ["--num-samples", "1", "--batch-size", "1", "--confirm", "0"]
    assert main(["plan", *flags, *given, "--search", str(tmp_path / "sweep.yaml")]) == 0
    assert "altogether 18 images" in capsys.readouterr().out


def test_of_a_precision_the_plan_knows_what_it_costs_at_least(tmp_path, capsys):
    asked = COUNTED.replace("block: 3", "block: 2, precision: 2%, at_most: 5m")
    (tmp_path / "sweep.yaml").write_text(asked)
    flags = ["--pipe", "TINY_SD15", "--sched", "PNDM", "--steps", "4"]
    assert main(["plan", *flags, "--search", str(tmp_path / "sweep.yaml")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[6:8] == [
        "altogether at least 96 images, 112 calls, in batches of 4",
        "then rounds go on until every speed-up is known to ±2%, for at most 300 s in each of 2 blocks",
    ]
    assert lines[8].startswith(
        "confirmation: what proves worth it again, of all of it at least 72 "
    )


@pytest.mark.parametrize(
    ("goal", "confirmed"),
    [
        ("max_loss: 0.01\n  budget: 2h", 7 * 24),
        ("max_loss: 0.01\n  target_speedup: 1.5", 7 * 24),
        ("keep_images: 2", 6 * 24),
    ],
)
def test_of_an_adaptive_search_the_plan_says_what_it_costs_at_most(
    tmp_path, capsys, goal, confirmed
):
    """A warm-up and two rounds on 8 prompts; 24 more of each candidate, each beside a baseline; and two
    batches of two steps around each of these four.

    Confirmed are, in a warm-up and five rounds, up to three candidates one after the other, each beside a
    baseline, or the whole frontier at once.
    """
    asked = COUNTED.replace("num_samples: 10", "num_samples: 32")
    asked = asked.replace("repeats: 2", "repeats: 5") + f"  strategy: adaptive\n  {goal}\n"
    (tmp_path / "sweep.yaml").write_text(asked)
    flags = ["--pipe", "TINY_SD15", "--sched", "DDIM", "--steps", "4"]
    assert main(["plan", *flags, "--search", str(tmp_path / "sweep.yaml")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:7] == [
        "5 configurations are searched adaptively, each for at most:",
        "  baseline   baseline       116 images, 100 calls",
        "  control    2 steps        12 images, 6 calls",
        "  candidate  DeepCache 2/0  36 images, 36 calls",
        "  candidate  DeepCache 3/0  36 images, 36 calls",
        "  candidate  ToMe 0.5/1     36 images, 36 calls",
        "altogether at most 236 images, 214 calls, in batches of 4: "
        "if none is dropped, and no batch taken again",
    ]
    assert ("no look begins once 7200 s have been measured" in lines) == ("budget" in goal)
    (line,) = (line for line in lines if line.startswith("confirmation: "))
    assert f"at most {confirmed} images" in line
    assert lines[-1].startswith("GPU-hours: not known")


def test_a_count_that_is_none_is_named(tmp_path, capsys):
    (tmp_path / "sweep.yaml").write_text(COUNTED.replace("batch_size: 4", "batch_size: none"))
    flags = ["--pipe", "TINY_SD15", "--sched", "DDIM", "--steps", "4"]
    assert main(["plan", *flags, "--search", str(tmp_path / "sweep.yaml")]) == 2
    assert "sweep.yaml: worker.args.batch_size: expected a whole" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("steps", "controls", "said"),
    [
        (
            "4",
            "[0.5, 0.3]",
            "2 steps: 0.3 of 4 steps are 1; PNDM takes at least 2 steps; so it is measured as '2 st",
        ),
        ("10", "[5, 0.5]", "5 steps: 0.5 of 10 steps are 5; so it is measured as '5 steps'"),
        ("10", "[5, 5]", "5 steps: it is named more than once; so it is measured as '5 steps'"),
    ],
)
def test_every_reason_is_a_whole_one(tmp_path, capsys, steps, controls, said):
    (tmp_path / "search.yaml").write_text(f"controls: {{fewer_steps: {controls}}}")
    flags = ["--pipe", "TINY_SD15", "--sched", "PNDM", "--steps", steps]
    assert main(["plan", *flags, "--search", str(tmp_path / "search.yaml")]) == 0
    assert said in capsys.readouterr().out


def test_a_plan_that_cannot_be_run_is_none(tmp_path, capsys):
    (tmp_path / "search.yaml").write_text("weights: random")
    flags = ["--pipe", "TINY_SD15", "--sched", "DDIM", "--steps", "4"]
    assert main(["plan", *flags, "--search", str(tmp_path / "search.yaml")]) == 2
    said = capsys.readouterr()
    assert "search.weights" in said.err
    assert said.out == ""


FLAGS = ["plan", "--pipe", "SHAPES_SDXL", "--sched", "DDIM", "--steps", "10", "--batch-size", "4"]


def measured(tmp_path, *rows):
    """Write results of 20 steps in batches of 4: whole calls of so many seconds, by label."""
    settings = {"digest": "d", "pipe": "SHAPES_SDXL", "sched": "DDIM", "steps": 20, "batch_size": 4}
    lines = []
    for label, seconds, changed in rows:
        one = row(label, 1.0, 0.0, x=label)
        metrics = [metric("seconds_per_batch", seconds, "s", "lower")]
        plain = one.model_copy(update={"metrics": metrics}).as_json()
        lines.append({**plain, "settings": settings | changed, "environment": {}})
    file = tmp_path / "task.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return ["--measured", str(file)]


def test_the_time_goes_by_what_calls_took_before(tmp_path, capsys):
    def hours(*rows, search=()):
        assert main([*FLAGS, *measured(tmp_path, *rows), *search]) == 0
        (line,) = (line for line in capsys.readouterr().out.splitlines() if "GPU-hours" in line)
        return line, float(line.split("(")[1].split()[0].replace(",", ""))

    line, baseline = hours(("baseline", 20.0, {}))
    assert "from 1 measurements of SHAPES_SDXL in batches of 4" in line
    assert "count as the baseline" in line
    assert hours(("baseline", 40.0, {}))[1] == 2 * baseline
    (tmp_path / "search.yaml").write_text("strategy: adaptive")
    line, most = hours(("baseline", 20.0, {}), search=["--search", str(tmp_path / "search.yaml")])
    assert line.startswith("at most about ")
    assert most > 0
    assert hours(("baseline", 20.0, {}), ("DeepCache 3/0", 10.0, {}))[1] < baseline


@pytest.mark.parametrize("changed", [{"pipe": "SHAPES_SD15"}, {"batch_size": 8}, {"sched": "nix"}])
def test_without_a_like_measurement_the_time_is_not_known(tmp_path, capsys, changed):
    assert main([*FLAGS, *measured(tmp_path, ("baseline", 20.0, changed))]) == 0
    assert "GPU-hours: not known: no measurement of SHAPES_SDXL" in capsys.readouterr().out
    assert main(FLAGS) == 0
    assert "named (--measured FILE…)" in capsys.readouterr().out
    assert main([*FLAGS, "--measured", str(tmp_path / "nix.jsonl")]) == 2
    assert "nix.jsonl: cannot be read: No such file" in capsys.readouterr().err
