"""``python -m worker check``: all problems at once, fast, without torch."""

import json
import subprocess
import sys

import pytest
import torch

from worker.commands.main import main
from worker.errors import ConfigurationError
from worker.models.catalogue import find_pipe, find_sched
from worker.models.loading import load_pipeline
from worker.search import studies
from worker.search.check import find_problems

TINY = "package:captions/tiny.txt"
GOOD = {"pipe": "TINY_SD15", "sched": "DDIM", "steps": 4}


def check(question: str, *options: str):
    return subprocess.run(
        [sys.executable, *options, "-m", "worker", "check"],
        input=question,
        capture_output=True,
        text=True,
    )


def test_answers_on_standard_output_without_torch():
    tasks = [{"id": "a", "matrix": GOOD}, {"id": "b", "matrix": GOOD | {"sched": "DDMI"}}]
    done = check(json.dumps({"tasks": tasks, "args": {}, "search": None}), "-X", "importtime")
    assert done.returncode == 0
    (problem,) = json.loads(done.stdout)["problems"]
    assert problem["key"] == "matrix.sched"
    assert "did you mean DDIM?" in problem["message"]
    for heavy in ("torch", "diffusers", "transformers", "numpy"):
        assert f" {heavy}\n" not in done.stderr


def test_a_question_that_is_none():
    many = ("", "[]", "{}", '{"tasks": [1]}', "\x00", "[" * 200_000, '{"tasks": [{"matrix": [1]}]}')
    for question in (*many, '{"tasks": [], "args": [1]}', '{"tasks": 7}'):
        done = check(question)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("section", "timed"), [({}, ["a", "b"]), ({"timing": "off"}, [])])
def test_which_tasks_measure_speed(section, timed):
    tasks = [{"id": "a", "matrix": GOOD}, {"id": "b", "matrix": GOOD}]
    done = check(json.dumps({"tasks": tasks, "args": {}, "search": section}))
    assert json.loads(done.stdout) == {"problems": [], "timed": timed, "staged": []}


def test_every_problem_at_once_and_each_once():
    section = {
        "configurations": [{"deepcache": {"cache_interval": 0}}, {"tome": {"ratio": [0.5, 2.0]}}],
        "contrls": {},
        "weights": "rndom",
    }
    tasks = [GOOD | {"pipe": "SDLX"}, GOOD | {"pipe": "SDLX", "step": 3}, GOOD | {"steps": 0}]
    keys = [key for key, _ in find_problems(tasks, {"num_sample": 3, "seed": -1}, section)]
    assert sorted(keys) == [
        "matrix.pipe",
        "matrix.step",
        "matrix.steps",
        "search.configurations.0.deepcache.cache_interval",
        "search.configurations.1.tome.ratio.1",
        "search.contrls",
        "search.weights",
        "worker.args.num_sample",
        "worker.args.seed",
    ]


def test_configuration_that_cannot_be(tmp_path):
    section = {"configurations": [{"deepcache": {"cache_interval": 3, "cache_branch_id": 10}}]}
    assert find_problems([GOOD], {}, section) == []
    (problem,) = find_problems([GOOD | {"pipe": "TINY_SDXL"}], {}, section)
    assert problem[0] == "search.configurations.0"
    assert "branches 0 to 8" in problem[1]


def test_a_branch_that_one_of_the_pipes_has_is_left_out_of_the_others():
    pipes = [GOOD, GOOD | {"pipe": "TINY_SDXL"}]
    section = {"configurations": [{"deepcache": {"cache_interval": 3, "cache_branch_id": [0, 10]}}]}
    assert find_problems(pipes, {}, section) == []
    section["configurations"][0]["deepcache"]["cache_branch_id"] = [0, 10, 99]
    (problem,) = find_problems(pipes, {}, section)
    assert problem[1].startswith("cache_branch_id 99 does not exist")


@pytest.mark.parametrize(
    ("args", "section", "key", "words"),
    [
        ({"seed": 10**26}, None, "worker.args.seed", "expected at most"),
        ({"seed": "9" * 5000}, None, "worker.args.seed", "expected a whole number"),
        ({"batch_size": 10**9}, None, "worker.args.batch_size", "expected at most 1000000"),
        ({}, {"stability": {"seeds": [10**30]}}, "search.stability.seeds.0", "less than or equal"),
        ({}, {"image_size": 8 * 10**12}, "search.image_size", "less than or equal to 65536"),
        ({}, {"models": {"SDXL": ""}}, "search.models.SDXL", "at least 1 character"),
        (
            {},
            {"configurations": [{"deepcache": {"cache_interval": []}}]},
            "search.configurations.0.deepcache.cache_interval",
            "at least 1 item",
        ),
        (
            {},
            {"configurations": [{"tome": {"ratio": 0.5, "max_downsample": True}}]},
            "search.configurations.0.tome.max_downsample",
            "expected a whole number, found True",
        ),
        (
            {},
            {"configurations": [{"tome": {"ratio": 0.8}}]},
            "search.configurations.0.tome.ratio",
            "less than or equal to 0.75",
        ),
        (
            {},
            {"configurations": [{"tgate": {"gate_step": 0}}]},
            "search.configurations.0.tgate.gate_step",
            "greater than",
        ),
        (
            {},
            {"clip": {"model": "local-dir:/m", "pretrained": "x.safetensors"}},
            "search.clip",
            "leave pretrained out",
        ),
        ({}, {"captions": "a\0b.txt"}, "search.captions", "null"),
        ({}, {"captions": f"{'c' * 300}.txt"}, "search.captions", "cannot be read"),
        ({}, {"lpips": f"{'l' * 300}.safetensors"}, "search.lpips", "does not exist"),
        ({}, {"models": {"TINY_SD15": f"./{'m' * 300}"}}, "search.models.TINY_SD15", "does not"),
    ],
)
def test_values_that_no_machine_can_take(args, section, key, words):
    ((found, sentence),) = find_problems([GOOD], args, section)
    assert found == key
    assert words in sentence


def test_missing_axis_and_too_few_steps():
    assert [key for key, _ in find_problems([{"pipe": "SD15", "sched": "DDIM"}], {}, None)] == [
        "matrix.steps"
    ]
    (problem,) = find_problems([GOOD | {"sched": "PNDM", "steps": 1}], {}, None)
    assert "takes 2 to 999 steps, found 1" in problem[1]


def test_captions_are_counted(tmp_path):
    file = tmp_path / "few.txt"
    file.write_text("one\ntwo\n")
    (problem,) = find_problems([GOOD], {"num_samples": 3}, {"captions": str(file)})
    assert problem[0] == "search.captions"
    assert "has 2 captions" in problem[1]


@pytest.mark.parametrize(
    ("args", "section", "needed"),
    [
        ({"num_samples": 2, "confirm": 1}, {}, 3),
        ({"num_samples": 1}, {"stability": {"num_samples": 1, "prompts": ["long"]}}, 8),
    ],
)
def test_captions_of_later_studies_are_counted(tmp_path, args, section, needed):
    file = tmp_path / "few.txt"
    file.write_text("one\ntwo\n")
    (problem,) = find_problems([GOOD], args, section | {"captions": str(file)})
    assert problem[0] == "search.captions"
    assert f"the task needs {needed}" in problem[1]


def test_folders_and_names_of_models():
    section = {"models": {"SDLX": "some/repository", "SDXL": "./nowhere"}}
    problems = dict(find_problems([GOOD], {}, section))
    assert "did you mean SDXL" in problems["search.models.SDLX"]
    assert "does not exist" in problems["search.models.SDXL"]


def test_a_folder_that_hides_a_model_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pipe = find_pipe("SD15")
    (tmp_path / pipe.source).mkdir(parents=True)
    task, section = GOOD | {"pipe": "SD15"}, {"captions": TINY}
    (problem,) = find_problems([task], {}, section)
    assert problem[0] == "search.models.SD15"
    assert f"write ./{pipe.source} if it is meant" in problem[1]
    where = {"source": pipe.source, "weights": "pretrained", "device": "cpu"}
    with pytest.raises(ConfigurationError, match="a folder of the same name"):
        load_pipeline(pipe, find_sched("DDIM"), dtype=torch.float32, **where)
    meant = section | {"models": {"SD15": f"./{pipe.source}"}}
    (problem,) = find_problems([task], {}, meant)
    assert "is not a pipeline's folder" in problem[1]


def test_a_hundred_thousand_tasks():
    tasks = [GOOD | {"steps": n % 1000, "seed": n} for n in range(100_000)]
    (problem,) = find_problems(tasks, {}, None)
    assert problem == ("matrix.steps", "expected a whole number from 1 on, found 0")


def test_random_weights_are_for_published_architectures():
    (problem,) = find_problems([GOOD], {}, {"weights": "random"})
    assert problem[0] == "search.weights"
    assert (
        find_problems([GOOD | {"pipe": "SDXL"}], {}, {"weights": "random", "captions": TINY}) == []
    )


def test_random_weights_need_no_captions_from_a_hub():
    published = GOOD | {"pipe": "SD15"}
    assert find_problems([published], {"num_samples": 64}, {"weights": "random"}) == []
    (problem,) = find_problems([published], {"num_samples": 65}, {"weights": "random"})
    assert "has 64 captions, but the task needs 65" in problem[1]


def test_files_that_are_not_there():
    file = "no.safetensors"
    section = {"lpips": file, "fid": file, "clip": {"model": "x", "pretrained": file}}
    keys = [key for key, _ in find_problems([GOOD], {}, section)]
    assert keys == ["search.clip.pretrained", "search.lpips", "search.fid"]


def test_sections_that_are_no_mapping():
    assert find_problems([GOOD], {}, [1]) == [("search", "expected keys with values, found [1]")]
    (problem,) = find_problems([GOOD], {}, {"configurations": [{"deepcache": 3}]})
    assert problem == (
        "search.configurations.0.deepcache",
        "expected keys with values, found 3",
    )


@pytest.mark.parametrize(
    ("args", "changes", "key", "sentence"),
    [
        ({"num_samples": 8}, {}, "search.strategy", "16 prompts or more"),
        ({}, {"stability": {"num_samples": 4}}, "search", "leave stability out"),
        ({}, {"fid": "f.safetensors"}, "search.fid", "takes 2,048 prompts and has 16: set confirm"),
    ],
)
def test_what_an_adaptive_search_cannot_do_is_told_before_it_runs(
    tmp_path, capsys, monkeypatch, args, changes, key, sentence
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f.safetensors").touch()
    section = {"strategy": "adaptive", **changes}
    (problem,) = find_problems([GOOD], args, section)
    assert problem[0] == key
    assert sentence in problem[1]
    (tmp_path / "sweep.yaml").write_text(
        json.dumps({"matrix": {}, "worker": {"args": args}, "search": section})
    )
    flags = [f"--{name}={value}" for name, value in GOOD.items()]
    assert main(["plan", *flags, "--search", "sweep.yaml"]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "section"),
    [
        ({"num_samples": 16}, {}),
        ({"num_samples": 16, "confirm": 2048}, {"fid": "f.safetensors"}),
    ],
)
def test_what_it_can_do_is_not_refused(tmp_path, monkeypatch, args, section):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f.safetensors").touch()
    (tmp_path / "captions.txt").write_text("a\n" * 2100)
    section = {"strategy": "adaptive", "captions": "captions.txt", **section}
    assert find_problems([GOOD], args, section) == []


@pytest.mark.parametrize(
    ("configuration", "named"),
    [
        ({"deepcache": {"cache_interval": {"from": 2, "to": 9}}}, None),
        ({"deepcache": {"cache_interval": list(range(2, 402))}}, None),
        ({"deepcache": {"cache_interval": [2, 3]}}, 2),
    ],
)
def test_proposals_need_optuna_and_it_is_said_before_anything_runs(
    monkeypatch, configuration, named
):
    section = {"strategy": "adaptive", "configurations": [configuration], "proposals": named}
    assert find_problems([GOOD], {}, section) == []
    monkeypatch.setattr(studies, "find_spec", lambda _name: None)
    ((key, sentence),) = find_problems([GOOD], {}, section)
    assert key == "search.configurations"
    assert "pip install 'diffusion-sweeps[adaptive]'" in sentence
    few = {"strategy": "adaptive", "configurations": [{"deepcache": {"cache_interval": 2}}]}
    assert find_problems([GOOD], {}, few) == []


def test_a_range_has_to_be_possible_at_both_ends_and_millions_are_looked_at_by_their_corners():
    branches = {"cache_interval": 2, "cache_branch_id": {"from": 0, "to": 40}}
    section = {"strategy": "adaptive", "configurations": [{"deepcache": branches}]}
    ((key, _),) = find_problems([GOOD], {}, section)
    assert key == "search.configurations.0"
    many = {"cache_interval": list(range(2, 3000)), "center": list(range(1, 3000))}
    section = {"strategy": "adaptive", "configurations": [{"deepcache": many}]}
    assert find_problems([GOOD], {}, section) == []
