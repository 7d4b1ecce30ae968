"""A chosen configuration as a program: it makes the worker's own images, and no row is run as code."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image

from tests.helpers.measured_rows import row as measured
from worker.measure.rounds.call import generate
from worker.measure.samples import Samples
from worker.measure.session import Session
from worker.measure.settings import TaskRequest, settings_of
from worker.models.catalogue import find_pipe, find_sched
from worker.models.task import Task
from worker.results.answers.snippet import _EXAMPLE, chosen_under_some_bound, snippet
from worker.results.row import Row
from worker.search.configuration import Configuration
from worker.search.section import Search
from worker.search.studies import Study

STEPS, IMAGES = 6, 2
DEEPCACHE = {"deepcache": {"cache_interval": 2, "cache_branch_id": 1}}
BENT = {"deepcache": {"cache_interval": 2, "cache_branch_id": 0, "center": 2}}
TOME = {"tome": {"ratio": 0.5, "max_downsample": 2}}
TGATE = {"tgate": {"gate_step": 3, "sp_interval": 1, "fi_interval": 1, "warm_up": 0}}
GUIDANCE = {"guidance_cutoff": {"step": 3}}
PLAIN, OURS = "package", "project"
HOSTILE = "'\"\n}{!r} ''' \\ {0}\u2028import os; os.abort()"

CASES = [
    ("SHAPES_SD15", "DDIM", {}, {}, PLAIN),
    ("SHAPES_SDXL", "DDIM", DEEPCACHE, {}, PLAIN),
    ("SHAPES_SD15", "EulerDiscrete", DEEPCACHE, {}, PLAIN),
    ("SHAPES_SD15", "PNDM", DEEPCACHE, {}, OURS),
    ("SHAPES_SD15", "HeunDiscrete", DEEPCACHE, {}, OURS),
    ("SHAPES_SD15", "DDIM", BENT, {}, OURS),
    ("SHAPES_SD15", "DDIM", TOME, {}, PLAIN),
    ("SHAPES_SDXL", "DDIM", TOME, {"attention": "plain", "channels_last": True}, PLAIN),
    ("SHAPES_SDXL", "DDIM", DEEPCACHE | TOME, {"fused_qkv": True, "vae_slicing": True}, PLAIN),
    ("SHAPES_SD15", "DDIM", TGATE, {}, OURS),
    ("SHAPES_SDXL", "DDIM", DEEPCACHE | TGATE, {}, OURS),
    ("SHAPES_SD15", "DDIM", TOME | TGATE, {}, OURS),
    ("SHAPES_SD15", "DDIM", DEEPCACHE | TOME | TGATE, {}, OURS),
    ("SHAPES_SD15", "DDIM", GUIDANCE, {}, OURS),
]


def told(case: Any) -> str:
    pipe, sched, accelerators, settings, _ = case
    return "-".join([pipe, sched, *accelerators, *settings])


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, list[Any], Path]]:
    """Return each case's program, the worker's images, and the folder in which the program wrote its own."""
    made = []
    for pipe, sched, accelerators, settings, _ in CASES:
        box = tmp_path_factory.mktemp("box")
        row, expected = images_of_the_worker(pipe, sched, accelerators, settings, box)
        program = snippet(row)
        assert program is not None
        (box / "program.py").write_text(program, encoding="utf-8")
        made.append((program, expected, box))
    # one process for all of them, since the libraries take far longer to import than a program runs
    one_by_one = (
        "import os, runpy, sys\n"
        "for box in sys.argv[1:]:\n"
        "    os.chdir(box)\n"
        "    runpy.run_path('program.py')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", one_by_one, *(box for _, _, box in made)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return made


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda number: told(CASES[number]))
def test_it_makes_the_images_of_the_worker(boxes: Any, number: int) -> None:
    program, expected, box = boxes[number]
    made = [numpy.asarray(Image.open(file)) for file in sorted(box.glob("image-*.png"))]
    assert ("from worker.accelerators" in program) == (CASES[number][-1] == OURS)
    assert len(made) == len(expected) == IMAGES
    assert all(numpy.array_equal(*pair) for pair in zip(made, expected, strict=True))
    assert not numpy.array_equal(*made)


def images_of_the_worker(
    pipe: str, sched: str, accelerators: Mapping[str, Any], settings: Mapping[str, Any], box: Path
) -> tuple[Row, list[Any]]:
    """Return a row as the worker writes it, and the images behind it as they look in a file."""
    captions = box / "captions.txt"
    captions.write_text(f"{_EXAMPLE}\n" * IMAGES)
    search = Search.model_validate({"captions": str(captions), "settings": settings})
    task = Task(find_pipe(pipe), find_sched(sched), STEPS)
    request = TaskRequest(task, search, num_samples=IMAGES, batch_size=IMAGES, seed=5)
    study = Study("", IMAGES, IMAGES, seed=5)
    wanted = settings_of(request, study, "cpu")
    configuration = Configuration.accelerated(accelerators)
    with Session(task, "cpu", print) as session:
        context = session.context(wanted, study)
        batch = generate(context, Samples(configuration), context.batch(0))
        assert batch is not None
        pixels = batch.images.permute(0, 2, 3, 1).numpy()
        plain = wanted.as_json(context.prompts) | {"scheduler_config": context.scheduler_config}
    row = row_of(configuration, plain)
    return row, list((pixels * 255).round().astype("uint8"))


def row_of(chosen: Configuration, settings: dict[str, Any], **more: Any) -> Row:
    own = {"configuration": chosen.as_json(), "label": chosen.label}
    base = measured("any", 2.0, 0.01).model_copy(update=own | more)
    return Row.of(
        base, absent={}, settings=settings, environment={"driver": None}, reproduce={}, study=None
    )


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    task = Task(find_pipe("SHAPES_SD15"), find_sched("DDIM"), STEPS)
    request = TaskRequest(task, Search(), num_samples=1, batch_size=1)
    return settings_of(request, Study("", 1, 1), "cpu").as_json(["a"])


def constants(program: str) -> Iterator[object]:
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.Constant):
            yield node.value


def test_what_a_row_says_is_data(settings: dict[str, Any]) -> None:
    row = row_of(
        Configuration.accelerated(DEEPCACHE), settings | {"source": HOSTILE}, label=HOSTILE
    )
    program = snippet(row)
    assert program is not None
    assert HOSTILE in constants(program)
    assert "os" not in {
        name.name
        for node in ast.walk(ast.parse(program))
        if isinstance(node, ast.Import)
        for name in node.names
    }


def test_a_model_is_loaded_where_it_was(settings: dict[str, Any]) -> None:
    baseline = Configuration.accelerated({})
    home = snippet(row_of(baseline, settings | {"source": "~/model"}))
    assert home is not None
    assert os.path.expanduser("~/model") in constants(home)
    random = snippet(row_of(baseline, settings | {"weights": "random", "dtype": "float16"}))
    assert random is not None
    assert "random weights" in random


PLAINLY = Configuration.accelerated({})


@pytest.mark.parametrize(
    "changed",
    [
        {"pipe": "OF_TOMORROW"},
        {"sched": "OfTomorrow"},
        {"dtype": "float16, exit()"},
        {"steps": "exit()"},
        {"scheduler_config": "exit()"},
    ],
    ids=str,
)
def test_there_is_none_with_settings_that_nobody_knows(
    settings: dict[str, Any], changed: dict[str, Any]
) -> None:
    assert snippet(row_of(PLAINLY, settings)) is not None
    assert snippet(row_of(PLAINLY, settings | changed)) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"configuration": {"accelerators": {}, "seeds": 1}},
        {"configuration": {"accelerators": {"of tomorrow": {"x": 1}}}},
        {"configuration": {"accelerators": {"tome": {"x) or exit(": 1}}}},
        {"configuration": {"accelerators": {"tome": {"ratio": "exit()"}}}},
        {"status": "out of memory"},
    ],
    ids=str,
)
def test_there_is_none_of_what_cannot_be_had_so(
    settings: dict[str, Any], changed: dict[str, Any]
) -> None:
    assert snippet(row_of(PLAINLY, settings, **changed)) is None


def test_a_program_for_what_some_bound_chooses() -> None:
    rows = [
        measured("baseline", 1.0, 0.0, "baseline"),
        measured("worse than fast", 2.0, 0.04, spread_of=0.001),
        measured("fast", 2.5, 0.03, spread_of=0.001),
        measured("safe", 1.5, 0.001, spread_of=0.001),
        measured("control", 3.0, 0.0, "control", spread_of=0.001),
    ]
    chosen = [row.label for row in chosen_under_some_bound(rows, best="baseline")]
    assert chosen == ["fast", "safe", "baseline"]
