"""A file judged from its text to its speed, by the commands that do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.guidance_embedding import guidance_embedding
from tests.helpers.model_folders import Change, black, config, shapes
from worker.commands.main import main
from worker.judging import build
from worker.judging.measure_program import (
    MeasureOptions,
    UnsuitableError,
    _no_quality,
    _settings,
    measure,
    program_of,
)
from worker.judging.report import plain
from worker.judging.sandbox.sandbox import Limits
from worker.judging.static.extract import extract
from worker.models.catalogue import find_pipe
from worker.models.sources import local_source

SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
SDXL = "stabilityai/stable-diffusion-xl-base-1.0"
PROGRAM = f"""
from DeepCache import DeepCacheSDHelper
from diffusers import DDIMScheduler, StableDiffusionPipeline
pipe = StableDiffusionPipeline.from_pretrained("{SD15}")
pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
helper = DeepCacheSDHelper(pipe=pipe)
helper.set_params(cache_interval=4)
helper.enable()
pipe(["a", "b"], num_inference_steps=8)
"""
QUICK = ["--num-samples", "2", "--repeats", "1"]
DECIDING = ["--num-samples", "2", "--repeats", "6"]  # as many pairs as an interval needs


@pytest.fixture
def models_file(tmp_path: Path, model_cache: None) -> str:
    file = tmp_path / "models.yaml"
    file.write_text(f"{SD15}: built:sd15\n")
    return str(file)


def test_a_file_is_measured_against_its_own_baseline(
    tmp_path: Path, models_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gen.py").write_text(PROGRAM)
    flags = ["--models", models_file, "--target-speedup", "1000", "--json", *DECIDING]
    assert main(["evaluate", str(tmp_path / "gen.py"), *flags]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["configuration"]["model_id"] == SD15
    assert report["accelerators"] == {"deepcache": {"cache_interval": 4, "cache_branch_id": 0}}
    assert report["baseline"]["role"] == "baseline"
    assert report["candidate"]["role"] == "candidate"
    assert report["speedup"]["low"] <= report["speedup"]["value"] <= report["speedup"]["high"]
    assert (report["relative_loss"], report["loss_unknown"]) == (None, "random weights")
    assert report["passed"] is False
    assert report["achievement"] == pytest.approx(report["speedup"]["value"] / 1000)


def distilled(folder: Path) -> None:
    """Give the model a UNet of two blocks with two layers each, untrained."""
    from diffusers import UNet2DConditionModel

    known = UNet2DConditionModel.load_config(folder / "unet")
    fewer = {name: known[name][:2] for name in ("block_out_channels", "attention_head_dim")}
    fewer["down_block_types"] = ["CrossAttnDownBlock2D", "DownBlock2D"]
    fewer["up_block_types"] = ["UpBlock2D", "CrossAttnUpBlock2D"]
    changed = known | fewer | {"layers_per_block": 2}
    UNet2DConditionModel.from_config(changed).save_pretrained(folder / "unet")


def test_a_distilled_unet_is_measured_by_its_own_blocks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gen.py").write_text(PROGRAM)
    shapes(tmp_path / "distilled", distilled)
    (tmp_path / "models.yaml").write_text(f"{SD15}: distilled\n")
    flags = ["--models", str(tmp_path / "models.yaml"), "--json", *QUICK]
    flags += [
        "--captions",
        "package:captions/shapes.txt",
        "--clip",
        "package:shapes/weights/scorer",
    ]
    assert main(["evaluate", str(tmp_path / "gen.py"), *flags]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["accelerators"] == {"deepcache": {"cache_interval": 4, "cache_branch_id": 0}}
    assert (report["candidate"]["status"], report["loss_unknown"]) == ("measured", None)
    assert report["relative_loss"]["value"] is not None


@pytest.fixture(scope="module")
def built(model_cache: None) -> build.Built:
    """What the program builds, told by itself once."""
    return build.build(PROGRAM.encode(), {SD15: "built:sd15"}, Limits(seconds=120))


UNSUITABLE = {
    "unequal layers": (config("unet", layers_per_block=[1, 2, 1]), "unequally many layers in its"),
    "no attention": (
        config("unet", down_block_types=["DownBlock2D"] * 3, mid_block_type="UNetMidBlock2D"),
        "no attention to the words",
    ),
    "inpainting": (config("unet", in_channels=9), "as for inpainting"),
}


@pytest.mark.parametrize(("change", "words"), UNSUITABLE.values(), ids=UNSUITABLE.keys())
def test_what_a_unet_lacks_to_be_measured_is_said_once(
    tmp_path: Path, built: build.Built, change: Change, words: str
) -> None:
    folder = shapes(tmp_path / "model", change)
    with pytest.raises(UnsuitableError, match=words) as said:
        program_of(built, {SD15: str(folder)})
    assert str(said.value).count(SD15) <= 1


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Models whose UNet has a guidance embedding, as latent consistency models have."""
    folder = tmp_path_factory.mktemp("embedded")
    return {
        model: str(shapes(folder / weights, guidance_embedding, weights=weights))
        for model, weights in ((SD15, "sd15"), (SDXL, "sdxl"))
    }


TGATE = """
import tgate
from diffusers import {cls}Pipeline
pipe = tgate.{loader}({cls}Pipeline.from_pretrained("{model}"))
pipe.tgate(["a", "b"], num_inference_steps=8{given})
"""
OF_SD = {"cls": "StableDiffusion", "loader": "TgateSDLoader", "model": SD15}
OF_SDXL = {"cls": "StableDiffusionXL", "loader": "TgateSDXLLoader", "model": SDXL}
MIXES, FAILS = "it averages different images, or fails", "tgate fails with lcm=True"
# model, whether with a guidance embedding, further arguments of its call, why it cannot be measured
GATED = {
    "guided": (OF_SD, False, "gate_step=4, guidance_rescale=0.7, output_type='pt'", None),
    "unguided": (OF_SD, False, "gate_step=4, guidance_scale=1.0", MIXES),
    "embedded": (OF_SD, True, "gate_step=4", MIXES),
    "embedded, behind the end": (OF_SD, True, "gate_step=10", None),
    "SDXL embedded": (OF_SDXL, True, "gate_step=4, lcm=False", MIXES),
    "SDXL embedded and told so": (OF_SDXL, True, "gate_step=4, lcm=True", None),
    "SDXL told so of a guided one": (OF_SDXL, False, "gate_step=4, lcm=True", FAILS),
}


@pytest.mark.parametrize(("of", "embeds", "given", "why"), GATED.values(), ids=GATED.keys())
def test_tgate_s_own_package_needs_guidance(
    of: dict[str, str], embeds: bool, given: str, why: str | None, embedded: dict[str, str]
) -> None:
    """As it does in truth: tests/worker/accelerators/test_batches.py holds it against the package."""
    shipped = {SD15: "package:shapes/weights/sd15", SDXL: "package:shapes/weights/sdxl"}
    models = embedded if embeds else shipped
    places = {model: local_source(place) for model, place in models.items()}
    text = TGATE.format(**of, given=f", {given}").encode()
    ran, read = build.build(text, places, Limits(seconds=120)), extract(text)
    accelerators = plain(ran.findings.fields["accelerators"])
    assert accelerators == plain(read.fields["accelerators"])
    assert accelerators["tgate"].get("lcm", False) == ("lcm=True" in given)
    if why is None:
        program = program_of(ran, models)
        assert program.configuration.label.startswith("T-GATE")
        told = "measured without guidance_rescale of its call"
        assert (told in program.remarks) == ("guidance_rescale" in given)
        assert not any("output_type" in remark for remark in program.remarks)
    else:
        with pytest.raises(UnsuitableError, match=why):
            program_of(ran, models)


def test_a_unet_that_is_guided_in_another_way_than_its_model_s_own(
    built: build.Built, embedded: dict[str, str]
) -> None:
    """As where a file puts a consistency model's UNet into the pipeline of another model."""
    with pytest.raises(UnsuitableError, match="its UNet is not its model's own"):
        program_of(built, embedded)


def test_a_program_whose_images_show_nothing_is_not_passed(
    tmp_path: Path, built: build.Built
) -> None:
    folder = shapes(tmp_path / "black", black)
    scored = ("package:shapes/weights/scorer", "")
    options = MeasureOptions(2, repeats=1, captions="package:captions/shapes.txt", clip=scored)
    with pytest.raises(
        UnsuitableError, match=r"pipeline fails: its images have no contrast \(2 of"
    ):
        measure(program_of(built, {SD15: str(folder)}), options, "cpu", print)


def test_a_model_that_ships_is_scored_by_its_own_scorer(built: build.Built) -> None:
    folder = local_source("package:shapes/weights/sd15")
    for place in (folder, "package:shapes/weights/sd15"):
        program = program_of(built, {SD15: place})
        assert program.task.pipe.clip == ("package:shapes/weights/scorer", "")
        shipped = find_pipe("SHAPES_SD15").architecture
        assert replace(program.task.pipe.architecture, guidance_scale=3.0) == shipped


@pytest.mark.parametrize(
    ("place", "clip", "why"),
    [
        ("built:sd15", None, "random weights"),
        ("package:shapes/weights/sd15", None, None),
        ("package:shapes/weights/sd15", ("built:tiny-clip", ""), "the scorer built:tiny-clip has"),
    ],
)
def test_of_random_weights_no_quality_is_known(
    built: build.Built, place: str, clip: tuple[str, str] | None, why: str | None
) -> None:
    program = program_of(built, {SD15: place})
    options = MeasureOptions(clip=clip)
    found = _no_quality(program, options)
    assert str(found).startswith(str(why))
    assert (_settings(program, options, "cpu", print).clip is None) == (why is not None)


def test_a_file_that_fails_is_not_passed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gen.py").write_text("import sys; sys.exit('no GPU here')")
    assert main(["evaluate", str(tmp_path / "gen.py")]) == 1
    assert "it fails: SystemExit: no GPU here" in capsys.readouterr().out


def test_a_model_that_is_not_here_is_not_the_file_s_fault(tmp_path: Path) -> None:
    (tmp_path / "gen.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-m", "worker", "evaluate", str(tmp_path / "gen.py")],
        cwd=Path(__file__).resolve().parents[3],
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 75
    assert f"the model {SD15} is not in the local cache" in done.stderr


def test_advice_names_the_flags_of_the_command(
    tmp_path: Path, models_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gen.py").write_text(PROGRAM)
    captions = tmp_path / "c.txt"
    captions.write_text("one\n")
    flags = ["--models", models_file, "--captions", str(captions), *QUICK]
    assert main(["evaluate", str(tmp_path / "gen.py"), *flags]) == 2
    said = capsys.readouterr().err
    assert "has 1 captions, but the task needs 2; lower --num-samples" in said
    assert "give --captions a longer file" in said
    assert "search." not in said
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    assert "75 a model or" in capsys.readouterr().out


def test_a_file_that_does_not_parse_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gen.py").write_text("(")
    assert main(["evaluate", str(tmp_path / "gen.py")]) == 2
    assert "does not parse" in capsys.readouterr().err


def test_what_counts_is_what_ran(
    tmp_path: Path, models_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The text enables DeepCache; code that only running shows takes it off again."""
    (tmp_path / "gen.py").write_text(PROGRAM.replace("pipe([", "exec('helper.disable()')\npipe(["))
    flags = ["--models", models_file, "--json", *QUICK]
    assert main(["evaluate", str(tmp_path / "gen.py"), *flags]) == 3
    report = json.loads(capsys.readouterr().out)
    assert report["accelerators"] == {}
    assert report["speedup"]["value"] == 1
    # ... as far as it is known: code that only running shows could have changed what is told
    assert report["passed"] is None
    assert "it uses exec" in report["caveat"]


def test_a_row_tells_each_wrong_field_and_both_files(
    case: Path, tmp_path: Path, models_file: str
) -> None:
    text = (case / "gen.py").read_text()
    (case / "gen.py").write_text(f"{text}\npipe('a', num_inference_steps=7)\n# {'x' * 30_000}")
    results = tmp_path / "results.jsonl"
    assert main(["judge", str(case), "--models", models_file, "--results", str(results)]) == 0
    verdict = json.loads(results.read_text().splitlines()[0])["verdict"]
    assert verdict["level"] == "4"
    steps = next(one for one in verdict["wrong"] if one["field"] == "steps")
    assert (steps["expected"], steps["found"]) == ("8", "7")
    assert [one["field"] for one in verdict["wrong"]] == verdict["mismatches"]
    assert verdict["files"]["gt.py"] == (case / "gt.py").read_text()
    assert verdict["files"]["gen.py"].startswith(text)
    assert len(verdict["files"]["gen.py"]) < 20_100


def test_what_ran_is_held_against_what_is_written(
    case: Path, tmp_path: Path, models_file: str
) -> None:
    """The text builds what is asked; it then calls something else behind a name of its own."""
    lie = "import worker.judging.sandbox.hooks as h\nold = h.describe\ndef lie(*a, **k):\n"
    lie += " told = old(*a, **k)\n told['fields']['steps'] = 3\n return told\nh.describe = lie\n"
    (case / "gen.py").write_text(lie + PROGRAM)
    results = tmp_path / "results.jsonl"
    assert main(["judge", str(case), "--models", models_file, "--results", str(results)]) == 0
    assert (summary(results)["stage"], summary(results)["passed"]) == ("objects", False)
    verdict = json.loads(results.read_text().splitlines()[0])["verdict"]
    assert "not what is written in it: steps" in verdict["problem"]


@pytest.mark.parametrize("size", ["24", "24GB", "0GiB", "manyGiB"])
def test_a_mistake_in_a_size(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", "gen.py", "--memory", size])
    assert "is not a size such as 24GiB" in capsys.readouterr().err


def test_the_memory_limit_is_the_command_line_s(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gen.py").write_text("x = bytearray(2 ** 30)")
    assert main(["evaluate", str(tmp_path / "gen.py"), "--memory", "300MiB"]) == 1
    assert "MemoryError" in capsys.readouterr().out


@pytest.fixture
def case(tmp_path: Path) -> Path:
    folder = tmp_path / "4-example"
    folder.mkdir()
    (folder / "gt.py").write_text(PROGRAM)
    (folder / "gen.py").write_text(PROGRAM.replace("=8", "=4 * 2"))
    (folder / "target.yaml").write_text("target_speedup: 0.001\n")
    return folder


def summary(results: Path) -> dict[str, object]:
    last = json.loads(results.read_text().splitlines()[-1])
    found: dict[str, object] = last["summary"]
    return found


def test_a_case_from_its_text_to_its_speed(case: Path, models_file: str, tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    flags = ["--models", models_file, "--results", str(results), *DECIDING]
    assert main(["judge", str(case), *flags]) == 0
    found = summary(results)
    assert (found["level"], found["stage"], found["passed"]) == ("4", "measured", True)
    assert found["achievement"] == 1
    rows = [json.loads(line) for line in results.read_text().splitlines()[:-1]]
    assert [row["role"] for row in rows] == ["baseline", "candidate"]
    assert {"passed", "achievement", "speedup"} <= {item["name"] for item in rows[1]["metrics"]}


def test_a_wrong_case_is_a_result(
    case: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (case / "gen.py").write_text(PROGRAM.replace("cache_interval=4", "cache_interval=2"))
    results = tmp_path / "results.jsonl"
    assert main(["judge", str(case), "--results", str(results)]) == 0
    assert capsys.readouterr().out.endswith("Successfully completed\n")
    found = summary(results)
    assert (found["stage"], found["passed"], found["achievement"]) == ("text", False, 0)


def test_what_a_judged_file_raises_is_no_failure_of_the_judge(
    case: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (case / "gen.py").write_text(PROGRAM + "raise RuntimeError('CUDA out of memory')\n")
    (case / "models.yaml").write_text(f"{SD15}: built:sd15\n")
    results = tmp_path / "results.jsonl"
    flags = ["--models", str(case / "models.yaml"), "--results", str(results)]
    assert main(["judge", str(case), *flags]) == 0
    printed = capsys.readouterr()
    assert "RuntimeError" not in printed.out + printed.err
    assert "CUDA out of memory" not in printed.out + printed.err
    assert "RuntimeError: CUDA out of memory" in results.read_text()
    assert summary(results)["stage"] == "objects"


def test_a_case_without_its_reference_is_a_mistake(
    case: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (case / "gt.py").unlink()
    assert main(["judge", str(case), "--results", str(tmp_path / "r.jsonl")]) == 2
    assert "gt.py" in capsys.readouterr().err


def test_a_file_is_no_case(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "README.md").write_text("about these cases")
    flags = ["--results", str(tmp_path / "r.jsonl")]
    assert main(["judge", str(tmp_path / "README.md"), *flags]) == 2
    assert "is no folder" in capsys.readouterr().err


def test_the_sweep_over_cases_takes_the_folders_alone(tmp_path: Path) -> None:
    (tmp_path / "cases" / "1-example").mkdir(parents=True)
    (tmp_path / "cases" / "README.md").write_text("about these cases")
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-m", "scheduler", root / "sweeps" / "codecheck.yaml", "--dry-run"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert "codecheck: 1 task" in done.stdout
    assert "README" not in done.stdout


@pytest.mark.parametrize("wrong", ["missing", "too large", "a folder"])
def test_a_generated_file_that_cannot_be_read_is_a_result(
    wrong: str, case: Path, tmp_path: Path
) -> None:
    (case / "gen.py").unlink()
    if wrong == "too large":
        (case / "gen.py").write_text("#" * (17 * 2**20))
    elif wrong == "a folder":
        (case / "gen.py").mkdir()
    results = tmp_path / "results.jsonl"
    assert main(["judge", str(case), "--results", str(results)]) == 0
    found = summary(results)
    assert (found["stage"], found["passed"], found["achievement"]) == ("text", False, 0)
    assert "gen.py" in json.loads(results.read_text().splitlines()[0])["verdict"]["problem"]


def test_infinities_of_a_noise_scheduler_are_measured(
    tmp_path: Path, models_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """DPM-Solver's own configuration holds one."""
    (tmp_path / "gen.py").write_text(
        PROGRAM.replace("DDIMScheduler", "DPMSolverMultistepScheduler")
    )
    flags = ["--models", models_file, "--json", *QUICK]
    code = main(["evaluate", str(tmp_path / "gen.py"), *flags])
    report = json.loads(capsys.readouterr().out)
    assert (code, report.get("problem")) == (0, None)
    assert report["configuration"]["scheduler"] == "DPMSolverMultistepScheduler"


@pytest.mark.parametrize("command", ["compare", "evaluate", "judge"])
def test_what_no_sandbox_kept_from_a_file_is_said_on_standard_error(
    command: str,
    case: Path,
    models_file: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Standard output is for the answer, and a scheduler reads it."""
    really = build.build

    def build_unprotected(*given: Any) -> build.Built:
        return replace(really(*given), confined={"network": False})

    monkeypatch.setattr(build, "build", build_unprotected)
    (case / "target.yaml").unlink()
    gen = str(case / "gen.py")
    commands = {
        "compare": ["compare", str(case / "gt.py"), gen, "--runtime", "--json"],
        "evaluate": ["evaluate", gen, "--json", *QUICK],
        "judge": ["judge", str(case), "--results", str(tmp_path / "r.jsonl")],
    }
    assert main([*commands[command], "--models", models_file]) == 0
    printed = capsys.readouterr()
    sentence = "this system allows no network namespace: the program had the network"
    assert printed.err.splitlines() == [f"{command}: {sentence}"]
    assert "namespace" not in printed.out


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ("guidance_scale=-1", "its guidance is not a number from 0 on"),
        ("height=100, width=100", "sides of 100 pixels, no multiple of 8"),
        ("height=72", "not square"),
    ],
)
def test_a_call_that_cannot_be_measured(
    changed: str, words: str, tmp_path: Path, models_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gen.py").write_text(PROGRAM.replace("=8)", f"=8, {changed})"))
    flags = ["--models", models_file, "--json", *QUICK]
    assert main(["evaluate", str(tmp_path / "gen.py"), *flags]) == 3
    report = json.loads(capsys.readouterr().out)
    assert report["problem"].startswith("not measured: ")
    assert words in report["problem"]


def test_a_program_in_a_type_that_is_not_measured(tmp_path: Path, models_file: str) -> None:
    """On a CPU everything is measured in float32."""
    (tmp_path / "gen.py").write_text(PROGRAM)
    built = build.build(PROGRAM.encode(), build.read_models(models_file), Limits(seconds=120))
    program = replace(program_of(built, {SD15: "built:sd15"}), dtype="float64")
    with pytest.raises(UnsuitableError, match="its pipeline is float64; float32, "):
        measure(program, MeasureOptions(), "cuda:0", print)
