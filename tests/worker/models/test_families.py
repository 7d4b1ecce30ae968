"""The contract of a pipeline family, of every one there is; and that a family is one file."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from worker.config.settings import PipelineSettings
from worker.models.catalogue import PIPES
from worker.models.families.base import Family
from worker.models.families.registry import buildable, families, family_of
from worker.models.loading import apply_settings

ROOT = Path(__file__).resolve().parents[3]
FAMILIES = list(families().values())
ARCHITECTURES = [
    pytest.param(family, name, id=name) for family in FAMILIES for name in family.published
]
TINY = [pipe for pipe in PIPES.values() if pipe.source.startswith("built:")]
LOCAL = [pipe for pipe in PIPES.values() if not pipe.is_published]


def image(pipeline, scale: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    options = {"num_inference_steps": 2, "guidance_scale": scale, "output_type": "pt"}
    return pipeline("a red ball", height=64, width=64, generator=generator, **options).images


def test_the_families_that_there_are() -> None:
    assert list(families()) == ["sd", "sdxl"]
    assert list(buildable()) == ["sd15", "sd21", "sdxl"]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_what_a_family_declares(family: Family) -> None:
    assert families()[family.name] is family
    assert family.pipes
    for pipe in family.pipes:
        assert PIPES[pipe.name] is pipe
        assert family_of(pipe.architecture) is family
        assert pipe.image_size % family.pixels_per_latent == 0
        # so that weights: random can build it
        assert not pipe.is_published or pipe.architecture.name in family.published
    assert family_of(family.unlisted) is family
    assert not family.guided(1.0)


@pytest.mark.parametrize(("family", "architecture"), ARCHITECTURES)
def test_what_is_built_is_what_the_rules_assume(family: Family, architecture: str) -> None:
    """At full size too, where nothing is allocated."""
    shapes = [pipe.architecture for pipe in family.pipes if pipe.is_published]
    (shape,) = {shape for shape in shapes if shape.name == architecture}
    for components in (family.published[architecture], family.tiny(architecture)):
        with torch.device("meta"):
            parts = family.build(components)
        for part in (
            family.denoiser,
            "vae",
            "scheduler",
            *family.text_encoders,
            *family.tokenizers,
        ):
            assert parts[part] is not None
        pipeline = family.load_class()(**parts, **family.options)
        assert type(pipeline).__name__ == family.pipeline_class
        if components is family.published[architecture]:
            config = getattr(pipeline, family.denoiser).config
            assert family.found_shape(config) == family.expected_shape(shape)


@pytest.mark.parametrize(("family", "architecture"), ARCHITECTURES)
def test_the_tiny_one_keeps_the_structure(family: Family, architecture: str) -> None:
    full, tiny = family.published[architecture], family.tiny(architecture)
    assert full.keys() == tiny.keys()
    for part, config in full.items():
        for key, value in config.items():
            assert type(tiny[part][key]) is type(value), (part, key)
    size = sum(
        parameter.numel()
        for part in family.build(tiny).values()
        if isinstance(part, torch.nn.Module)
        for parameter in part.parameters()
    )
    assert size < 10e6


@pytest.mark.parametrize("pipe", LOCAL, ids=lambda pipe: pipe.name)
def test_a_pipe_is_loaded_and_makes_images(pipe, load) -> None:
    family, pipeline = family_of(pipe.architecture), load(pipe.name)
    called = []
    denoiser = getattr(pipeline, family.denoiser)
    hook = denoiser.register_forward_pre_hook(lambda _module, given: called.append(len(given[0])))
    plain, guided = image(pipeline, 1.0), image(pipeline, pipe.architecture.guidance_scale)
    assert plain.shape == guided.shape == (1, 3, 64, 64)
    assert family.guided(pipe.architecture.guidance_scale)
    hook.remove()
    assert called == [1, 1, 2, 2]  # guidance doubles the work of each of two steps
    processors = dict(denoiser.attn_processors)
    apply_settings(pipeline, family, PipelineSettings(attention="plain"))
    assert {type(processor).__name__ for processor in denoiser.attn_processors.values()} == {
        "AttnProcessor"
    }
    assert torch.allclose(image(pipeline, 1.0), plain, atol=1e-3)
    denoiser.set_attn_processor(processors)


@pytest.mark.parametrize("pipe", TINY, ids=lambda pipe: pipe.name)
@pytest.mark.parametrize("other", FAMILIES, ids=lambda family: family.name)
def test_one_family_is_not_taken_for_another(pipe, other: Family, load) -> None:
    family = family_of(pipe.architecture)
    config = getattr(load(pipe.name), family.denoiser).config
    same = family.found_shape(config) == other.expected_shape(other.unlisted)
    assert same is (family is other)


def test_no_module_outside_names_a_family() -> None:
    """What differs between families is asked of them."""
    names = {*families(), *buildable(), *(family.pipeline_class for family in FAMILIES)}
    # shapes/ trains the miniatures by recipes of its own; the judge's facts are of diffusers' classes
    outside = [
        file
        for file in (ROOT / "worker").rglob("*.py")
        if not {"families", "shapes", "judging"} & set(file.parts)
    ]
    assert len(outside) > 40
    found = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in outside
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and node.value in names
    ]
    assert not found


PAGE = ROOT / "docs/add-a-pipeline-family.md"
PROGRAM = """
import sys
from worker.models import families
families.__path__.append(sys.argv.pop(1))
from worker.commands.main import main
sys.exit(main())
"""


def test_a_family_is_one_file(tmp_path: Path) -> None:
    """The page's, measured from a file of its own, with no other file of the worker touched."""
    (tmp_path / "families").mkdir()
    (toy,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    (tmp_path / "families" / "toy.py").write_text(toy)
    (tmp_path / "search.yaml").write_text(
        "settings: {attention: plain}\ntiming: {warmup: 0, repeats: 1}\n"
        "configurations: [{tome: {ratio: 0.5, max_downsample: 2}}]\n"
        "controls: {fewer_steps: [0.5], null_arm: false}\n"
    )
    done = subprocess.run(
        [
            *(sys.executable, "-c", PROGRAM, str(tmp_path / "families"), "search"),
            *("--pipe", "TOY", "--sched", "DDIM", "--steps", "2", "--num-samples", "2"),
            *("--batch-size", "2", "--search", "search.yaml", "--results", "results.jsonl"),
        ],
        cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    measured = [row for row in rows if row.get("status") == "measured"]
    assert {row["role"] for row in measured} >= {"baseline", "candidate"}
    assert all(row["settings"]["source"] == "built:toy1" for row in measured)
    assert all(row["settings"]["guidance_scale"] == 4.0 for row in measured)
