"""Pipelines built for real, apart, from tiny models: what is compared are the objects."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from worker.commands.main import main
from worker.errors import ConfigurationError
from worker.judging import build, object_diff
from worker.judging.measure_program import MeasureOptions, UnsuitableError, measure, program_of
from worker.judging.reasons.codes import Why
from worker.judging.report import plain
from worker.judging.sandbox import sandbox, schema
from worker.judging.static.extract import extract
from worker.judging.tamper_check import way_to_harness
from worker.models.loading import local_source

SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
MODELS = {SD15: "built:sd15"}
LIMITS = sandbox.Limits(seconds=120)
START = f"""
import tomesd, tgate, torch
from DeepCache import DeepCacheSDHelper
from diffusers import DDIMScheduler, EulerDiscreteScheduler, StableDiffusionPipeline
pipe = StableDiffusionPipeline.from_pretrained("{SD15}").to("cuda")
pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
helper = DeepCacheSDHelper(pipe=pipe)
helper.set_params(cache_interval=3, cache_branch_id=1)
"""
CALL = "pipe(['a cat', 'a dog'], num_inference_steps=6).images[0].save('x.png')\n"
REFERENCE = START + "helper.enable()\ntomesd.apply_patch(pipe, ratio=0.4)\n" + CALL
# The text names nothing that is on: the parameters come from a file that it writes itself.
DISGUISED = (
    START.replace("cache_interval=3", "cache_interval=int(open('n').read())").replace(
        "import tomesd", "open('n', 'w').write('3')\nimport tomesd"
    )
    + "getattr(helper, ''.join(['en', 'able']))()\ntomesd.apply_patch(pipe.unet, 0.4)\n"
    + CALL
)
# What is done to the pipeline, one step after the other, each told by a call of its own.
STEPS = {
    "other scheduler": (
        "pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config)\n",
        "pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)\n",
    ),
    "other weights": (
        "weight = pipe.unet.conv_in.weight.detach()\nweight.mul_(1.01)\n",
        "weight.div_(1.01)\n",
    ),
    "no accelerator": ("helper.disable()\ntomesd.remove_patch(pipe)\n", ""),
    "own wrapper": (
        "own = pipe.unet.forward\npipe.unet.forward = lambda *a, **k: own(*a, **k)\n",
        "pipe.unet.forward = own\n",
    ),
    "tgate": (
        "pipe = tgate.TgateSDDeepCacheLoader(pipe)\n"
        "pipe.tgate('a cat', gate_step=3, num_inference_steps=6)\n",
        "",
    ),
}


def frames_of(program: str) -> list[dict[str, Any]]:
    folders = {SD15: local_source("built:sd15")}
    outcome = sandbox.run_apart(program.encode(), {"models": folders}, LIMITS)
    assert outcome.code == 0, outcome.output
    return [schema.read("call", frame.content) for frame in outcome.frames if frame.kind == "call"]


@pytest.fixture(scope="module")
def described(model_cache: None) -> dict[str, dict[str, Any]]:
    """Return the description of the reference and of every step after it."""
    program = REFERENCE
    for name, (change, back) in STEPS.items():
        program += change + ("" if name == "tgate" else CALL) + back
    return dict(zip(["reference", *STEPS], frames_of(program), strict=True))


def differences(described: dict[str, dict[str, Any]], name: str) -> dict[str, str]:
    """Return the paths at which a step's objects differ from the reference's, and how."""
    items = object_diff.compare(described["reference"], described[name])
    assert sum(object_diff.counts(items).values()) == len(items)
    return {item.path: item.kind for item in items if item.kind != "match"}


def test_the_fields_of_what_was_built(described: dict[str, dict[str, Any]]) -> None:
    fields = described["reference"]["fields"]
    assert fields["pipeline"] == "StableDiffusionPipeline"
    assert fields["model_id"] == SD15
    assert fields["scheduler"] == "DDIMScheduler"
    assert (fields["steps"], fields["batch"], fields["device"]) == (6, 2, "cuda")
    assert fields["accelerators"]["deepcache"] == {
        "cache_interval": 3,
        "cache_branch_id": 1,
        "skip_mode": "uniform",
    }
    assert fields["accelerators"]["tome"]["ratio"] == 0.4


def test_another_scheduler_is_another_object(described: dict[str, dict[str, Any]]) -> None:
    found = differences(described, "other scheduler")
    assert found["scheduler.class"] == "mismatch"
    assert found["scheduler.sigmas"] == "only right"
    assert found["scheduler.final_alpha_cumprod"] == "only left"
    assert not [path for path in found if path.startswith("unet")]


def test_other_weights_are_found(described: dict[str, dict[str, Any]]) -> None:
    assert differences(described, "other weights") == {"unet.conv_in.weight": "mismatch"}


def test_an_accelerator_that_was_taken_off_is_off(described: dict[str, dict[str, Any]]) -> None:
    assert described["no accelerator"]["fields"]["accelerators"] == {}
    assert described["no accelerator"]["unknown"] == []
    found = differences(described, "no accelerator")
    assert found["accelerators.deepcache.cache_interval"] == "only left"
    assert found["accelerators.tome.ratio"] == "only left"


def test_a_wrapper_of_its_own_is_no_known_accelerator(
    described: dict[str, dict[str, Any]],
) -> None:
    assert described["own wrapper"]["fields"]["accelerators"] == {}
    (change,) = described["own wrapper"]["unknown"]
    assert change.startswith("unet: forward is")


def test_the_call_s_own_arguments_count_for_tgate(described: dict[str, dict[str, Any]]) -> None:
    found = described["tgate"]["fields"]["accelerators"]
    assert found["tgate"] == {"gate_step": 3, "sp_interval": 1, "fi_interval": 1, "warm_up": 0}
    assert found["deepcache"]["cache_interval"] == 3


def test_accelerators_are_found_by_what_they_changed(
    described: dict[str, dict[str, Any]],
) -> None:
    """The same objects from another text, which then fails: both are told."""
    built = build.build((DISGUISED + "raise ValueError('too late')\n").encode(), MODELS, LIMITS)
    assert built.description is not None, built.output
    items = object_diff.compare(described["reference"], built.description)
    assert [item for item in items if item.kind != "match"] == []
    assert built.problem == Why.PROGRAM_FAILS(error="ValueError: too late")


def test_a_pipeline_that_is_never_called_is_compared_all_the_same() -> None:
    built = build.build(START.encode(), MODELS, LIMITS)
    assert built.problem is None, built.output
    assert plain(built.findings.fields["scheduler"]) == "DDIMScheduler"
    assert plain(built.findings.fields["steps"]) == "no call"
    with pytest.raises(UnsuitableError, match="never calls"):
        program_of(built, MODELS)


def told(described: object) -> build.Built:
    """Return what the judge makes of a program that tells this."""
    frames = [
        sandbox.Frame("call", json.dumps(described).encode()),
        sandbox.Frame("end", b'{"error": null}'),
    ]
    return build.interpret(sandbox.Outcome("ended", 0, frames, tampered=False, output=""))


def test_what_ran_against_what_is_written(described: dict[str, dict[str, Any]]) -> None:
    ran = told(described["reference"])
    plain = backing(REFERENCE, ran)
    assert (plain.contradicted, plain.untold, plain.suffices) == ([], [], True)
    disguised = backing(DISGUISED, ran)
    assert (disguised.contradicted, disguised.untold) == ([], ["accelerators"])
    assert not disguised.suffices
    other = REFERENCE.replace("helper.enable()", "helper.enable(); helper.disable()")
    assert backing(other, ran).contradicted == ["accelerators"]
    assert backing(other, ran).problem == Why.NOT_AS_WRITTEN(fields="accelerators")


def backing(text: str, ran: build.Built) -> build.Backing:
    return build.backing(text.encode(), extract(text.encode()), ran.findings)


@pytest.mark.parametrize(
    "way",
    [
        "exec('x')",
        "run = exec",
        "import worker.judging.sandbox.hooks as hooks; hooks.describe = None",
        "import sys; sys._getframe()",
        "import sys; sys.modules['json']",
        "import logging; logging.sys.modules['json']",
        "from sys import modules",
        "import json; json.dumps = str",
        "import json; module = json; module.dumps = str",
        "import gc",
        "from .hooks import describe",
        "import helper_that_it_wrote",
        "StableDiffusionPipeline.to.__globals__",
        "getattr(pipe, 'a' + 'b')",
        "read = getattr",
        "import os; os.system('true')",
    ],
)
def test_ways_to_the_harness(way: str) -> None:
    assert way_to_harness(ast.parse(START + way)) is not None


def test_a_plain_file_shows_no_way() -> None:
    plain = (
        "import argparse, os, sys\nfrom pathlib import Path\nimport numpy as np\n"
        "class Maker:\n def __init__(self, pipe): self._pipe = pipe\n"
        "def main():\n steps = int(os.environ.get('STEPS', sys.argv[1]))\n"
        " pipe.vae = None\n print(np.zeros(1), Path('.'), getattr(pipe, 'unet', None))\n"
        "if __name__ == '__main__': main()\n"
    )
    assert way_to_harness(ast.parse(START + plain)) is None


FORGED = """exec(r'''
import worker.judging.sandbox.hooks as hooks
describe = hooks.describe
def lie(pipe, arguments, *args, **options):
    told = describe(pipe, arguments, *args, **options)
    told["fields"]["steps"] = told["objects"]["call.steps"] = 6
    return told
hooks.describe = lie
from diffusers import StableDiffusionPipeline
pipe = StableDiffusionPipeline.from_pretrained("MODEL")
pipe("a cat", num_inference_steps=2)
''')
""".replace("MODEL", SD15)


def test_a_forged_match_is_none(
    tmp_path: Path, models_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    honest = f"from diffusers import StableDiffusionPipeline as P\nP.from_pretrained('{SD15}')"
    (tmp_path / "gt.py").write_text(honest + "('a cat', num_inference_steps=6)\n")
    (tmp_path / "gen.py").write_text(FORGED)
    files = [str(tmp_path / "gt.py"), str(tmp_path / "gen.py")]
    assert main(["compare", *files, "--runtime", "--models", models_file, "--json"]) == 3
    report = json.loads(capsys.readouterr().out)
    (note,) = report["notes"]["found"]
    assert "it uses exec" in note
    assert "steps" in note
    assert main(["compare", *files, "--runtime", "--models", models_file, "--lang", "zh"]) == 3
    said = "".join(capsys.readouterr().out.split())
    assert "它所构建的仅由其自身的描述得知，因为其文本没有说明：" in said
    assert "而且它可能改动过该描述（它使用exec）：任何匹配都不确定" in said


def test_a_program_that_fails_is_told_in_chinese(
    tmp_path: Path, models_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    honest = f"from diffusers import StableDiffusionPipeline as P\nP.from_pretrained('{SD15}')"
    (tmp_path / "gt.py").write_text(honest + "('a cat', num_inference_steps=6)\n")
    (tmp_path / "gen.py").write_text("raise ValueError('no')\n")
    files = [str(tmp_path / "gt.py"), str(tmp_path / "gen.py")]
    assert main(["compare", *files, "--runtime", "--models", models_file, "--lang", "zh"]) == 1
    assert "被评判的文件未能运行完毕：它出错：ValueError: no" in capsys.readouterr().out


@pytest.mark.parametrize("told_instead", [{}, [], None, "call", {"fields": None}])
def test_a_description_that_is_none_breaks_nothing(told_instead: object) -> None:
    built = told(told_instead)
    assert built.description is None
    assert built.problem is not None
    assert built.problem.code is Why.UNREADABLE_DESCRIPTION


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("tensors unet.conv_in.weight", 1),
        ("tensors unet.conv_in.weight values", "no base64"),
        ("tensors unet.conv_in.weight values", "AAAA"),
        ("tensors unet.conv_in.weight shape", [-1]),
        ("objects class", {}),
        ("objects", None),
        ("fields settings", None),
        ("fields scheduler_args", 5),
        ("fields accelerators", {"deepcache": 7}),
        ("fields accelerators", {"deepcache": {"cache_interval": {"a": [[[]]]}}}),
        ("fields height", "abc"),
        ("fields steps", 10**400),
        ("fields steps", True),
        ("fields guidance", float("nan")),
        ("unknown", [1]),
    ],
)
def test_a_description_that_lies_in_its_form_is_none(
    path: str, value: object, described: dict[str, dict[str, Any]]
) -> None:
    """The program shares its process with what describes it, and can send anything."""
    changed = json.loads(json.dumps(described["reference"]))
    *inner, last = path.split(" ")
    place = changed
    for key in inner:
        place = place[key]
    place[last] = value
    built = told(changed)
    assert built.description is None
    assert built.problem is not None
    assert built.problem.code is Why.UNREADABLE_DESCRIPTION


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("guidance", float("nan"), "guidance is no finite number"),
        ("guidance", "seven", "guidance: "),
        ("height", -1, "height: Input should be greater than or equal to 0"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_sentence(
    field: str, value: object, said: str, described: dict[str, dict[str, Any]]
) -> None:
    changed = json.loads(json.dumps(described["reference"]))
    changed["fields"][field] = value
    problem = told(changed).problem
    assert problem is not None
    assert dict(problem.arguments)["error"].startswith(said)
    assert "constrained" not in dict(problem.arguments)["error"]


@pytest.mark.parametrize("ending", ["", "null", "[]", '{"error": 5}'])
def test_an_ending_that_is_none_is_a_problem(ending: str) -> None:
    frames = [sandbox.Frame("end", ending.encode())]
    built = build.interpret(sandbox.Outcome("ended", 0, frames, tampered=False, output=""))
    assert built.problem is not None
    assert built.problem.code is Why.UNREADABLE_DESCRIPTION


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 1_000_000}, "1000000 steps"),
        ({"images_per_prompt": 20_000}, "40000 images"),
        ({"batch": 0}, "0 images"),
        ({"height": 4096, "width": 4096, "steps": 500}, "too large"),
        ({"height": 0, "width": 0}, "sides of 0 pixels"),
        ({"guidance": None}, "guidance"),
        ({"accelerators": {"deepcache": {}}}, "deepcache.cache_interval"),
        ({"accelerators": {"deepcache": {"cache_interval": "3"}}}, "deepcache.cache_interval"),
        ({"accelerators": {"tgate": {"gate_step": None}}}, "tgate.gate_step"),
        ({"accelerators": {"tome": {"ratio": "x"}}}, "tome.ratio"),
        ({"accelerators": {"magic": {}}}, "magic"),
        ({"scheduler_args": {"num_train_timesteps": "x"}}, "its pipeline fails: TypeError"),
        ({"scheduler_args": {"beta_schedule": "x"}}, "its pipeline fails: NotImplementedError"),
        (
            {"scheduler_args": {"num_train_timesteps": 3}},
            "its pipeline fails: ValueError.* 3 timesteps$",
        ),
    ],
)
def test_what_cannot_be_measured_is_said(
    changes: dict[str, Any], words: str, described: dict[str, dict[str, Any]]
) -> None:
    changed = described["reference"] | {"fields": described["reference"]["fields"] | changes}
    options = MeasureOptions(num_samples=2, repeats=1, warmup=0)

    def try_to_measure() -> None:
        program = program_of(told(changed), MODELS)
        measure(program, options, "cpu", lambda _line: None)

    with pytest.raises(UnsuitableError, match=words):
        try_to_measure()


@pytest.fixture
def models_file(tmp_path: Path) -> str:
    file = tmp_path / "models.yaml"
    file.write_text(f"{SD15}: built:sd15\n")
    return str(file)


def test_the_command_compares_objects(
    tmp_path: Path, models_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gt.py").write_text(REFERENCE)
    (tmp_path / "gen.py").write_text(REFERENCE.replace(CALL, STEPS["other weights"][0] + CALL))
    files = [str(tmp_path / "gt.py"), str(tmp_path / "gen.py")]
    assert main(["compare", *files]) == 3
    capsys.readouterr()
    # the text cannot tell: the objects do
    assert main(["compare", *files, "--hybrid", "--models", models_file, "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["matched"] == report["total"]
    assert report["objects"]["mismatched"] == 1
    assert report["objects"]["differences"][0]["path"] == "unet.conv_in.weight"
    assert report["objects"]["problem"] is None


def test_hybrid_runs_nothing_that_the_text_refutes(
    tmp_path: Path, models_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gt.py").write_text(REFERENCE)
    (tmp_path / "gen.py").write_text(REFERENCE.replace("enable", "disable"))
    monkeypatch.setattr(sandbox, "run_apart", None)
    files = [str(tmp_path / "gt.py"), str(tmp_path / "gen.py")]
    assert main(["compare", *files, "--hybrid", "--models", models_file]) == 1


def test_a_reference_that_does_not_build(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gt.py").write_text("raise SystemExit('no')\n")
    files = [str(tmp_path / "gt.py"), str(tmp_path / "gt.py")]
    assert main(["compare", *files, "--runtime"]) == 2
    assert "gt.py cannot be built: it fails: SystemExit: no" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- a\n", "holds a list; expected model ids with their folders"),
        ("a: 1\n", "must map to a folder's name"),
        ("a: [\n", "line 2, column 1: is not valid YAML"),
        ("a: ./missing\n", "does not exist"),
    ],
)
def test_a_mistake_in_the_models_file(content: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    file.write_text(content)
    with pytest.raises(ConfigurationError, match=message):
        build.read_models(str(file))
