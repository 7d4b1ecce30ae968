"""Garbage in: a baseline that shows nothing is refused, a configuration that shows nothing is marked."""

import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline

from tests.helpers.model_folders import black, shapes
from tests.helpers.tiny_task import (
    NO_CONTROLS,
    TooLarge,
    measure,
    read,
    replace_accelerator,
    value,
)
from worker.commands.main import main
from worker.errors import ConfigurationError
from worker.measure.settings import TaskRequest
from worker.measure.task.run import run
from worker.models.catalogue import find_pipe, find_sched
from worker.models.task import Task
from worker.results.file import ResultsFile
from worker.results.row import Measurement
from worker.search.section import Search

SECTION = {"configurations": [], "controls": NO_CONTROLS, "timing": {"repeats": 1, "warmup": 0}}


def request(images, section=SECTION, steps=2, batch_size=8):
    task = Task(find_pipe("SHAPES_SD15"), find_sched("DDIM"), steps)
    return TaskRequest(task, Search.model_validate(section), images, batch_size)


def measured(path, *arguments, said=None, **options):
    """Measure the trained miniature, and return the summary."""
    say = (lambda _line: None) if said is None else said.append
    return run(request(*arguments, **options), ResultsFile.open(path), "cpu", say)


@pytest.fixture
def decoded(monkeypatch):
    """Return what has a function change all that autoencoders decode, from -1 to 1."""
    decode = AutoencoderKL.decode

    def change(function):
        def changed(self, latents, *arguments, **options):
            (images,) = decode(self, latents, *arguments, **options)
            return (function(images),)

        monkeypatch.setattr(AutoencoderKL, "decode", changed)

    return change


def test_a_black_baseline_ends_the_command_at_once(tmp_path, capsys):
    folder = shapes(tmp_path / "black", black)
    section = tmp_path / "search.yaml"
    section.write_text(f"models: {{SHAPES_SD15: {folder}}}\n")
    words = ["search", "--pipe", "SHAPES_SD15", "--sched", "DDIM", "--steps", "2"]
    words += ["--num-samples", "16", "--results", str(tmp_path / "r.jsonl")]
    assert main([*words, "--search", str(section)]) == 2
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith(
        "error: the baseline's images have no contrast (8 of 8 made are of one colour, the first "
        "rgb(0, 0, 0)): look at the VAE"
    )
    assert "round" not in printed.out, "no time is spent on comparisons"
    assert (tmp_path / "r.jsonl").read_text() == ""


def ignore_prompts(monkeypatch):
    encode = StableDiffusionPipeline.encode_prompt

    def encode_nothing(self, *arguments, **options):
        return tuple(
            None if embedded is None else torch.zeros_like(embedded)
            for embedded in encode(self, *arguments, **options)
        )

    monkeypatch.setattr(StableDiffusionPipeline, "encode_prompt", encode_nothing)


def noise_from(image):
    """Return noise that follows from an image and has nothing else to do with it."""
    seed = int(1000 * image.double().abs().sum())
    return torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))


GARBAGE = {
    "grey": (
        lambda images: 1e-3 * images,
        r"no contrast \(8 of 8 made .* rgb\(12[78], 12[78], 12[78]\)",
    ),
    "alike": (
        lambda images: torch.linspace(-1, 1, 64).expand(images.shape) + 1e-3 * images,
        r"all alike \(8 of other prompts and other latents are the same picture\)",
    ),
    "noise": (
        lambda images: torch.stack([noise_from(image) for image in images]),
        r"nothing to do with their captions \(\d+ images score .* look at the text encoder",
    ),
}


@pytest.mark.parametrize(("change", "words"), GARBAGE.values(), ids=GARBAGE.keys())
@pytest.mark.parametrize("batch_size", [1, 8])
def test_a_baseline_that_shows_nothing_is_a_mistake(tmp_path, decoded, change, words, batch_size):
    decoded(change)
    with pytest.raises(ConfigurationError, match=f"^the baseline's images (have|are) {words}"):
        measured(tmp_path / "r.jsonl", 32, batch_size=batch_size)
    assert not (tmp_path / "r.jsonl").read_text()


def test_a_model_that_does_not_hear_its_prompts_is_refused(tmp_path, monkeypatch):
    ignore_prompts(monkeypatch)
    with pytest.raises(ConfigurationError, match="have nothing to do with their captions"):
        measured(tmp_path / "r.jsonl", 32, steps=3)


def test_good_images_of_few_steps_pass_without_a_word(tmp_path):
    said = []
    measured(tmp_path / "r.jsonl", 16, said=said)
    assert not [line for line in said if "captions" in line or "contrast" in line]


def test_with_few_images_it_cannot_be_told(tmp_path, monkeypatch):
    ignore_prompts(monkeypatch)
    said = []
    measured(tmp_path / "r.jsonl", 8, said=said)
    assert (
        "  whether images show their captions cannot be told: 16 images are needed, found 8" in said
    )


def test_captions_that_are_all_alike_tell_nothing(tmp_path):
    captions, said = tmp_path / "c.txt", []
    captions.write_text("a small red star on a blue background\n" * 16)
    measured(tmp_path / "r.jsonl", 16, SECTION | {"captions": str(captions)}, said=said)
    (line,) = [line for line in said if "cannot be told" in line]
    assert "of 16 captions 1 are no near duplicates of others" in line


def test_of_random_weights_no_captions_are_asked(tmp_path):
    said = []
    measure(tmp_path / "r.jsonl", said.append, section=SECTION, num_samples=16)
    assert not [line for line in said if "captions" in line]


def test_some_blank_images_among_good_ones_are_counted(tmp_path, decoded):
    """As a safety checker leaves them; the first batch has nothing else."""
    captions, said, path = tmp_path / "c.txt", [], tmp_path / "r.jsonl"
    colours = ("blue", "red", "blue")
    captions.write_text("".join(f"a small black star on a {name} background\n" for name in colours))

    def blank_what_is_blue(images):
        corner = images[:, :, 0, 0]
        blue = (corner[:, 2] > corner[:, 0])[:, None, None, None]
        return torch.where(blue, -1.0, images)

    decoded(blank_what_is_blue)
    measured(path, 3, SECTION | {"captions": str(captions)}, said=said, batch_size=1, steps=4)
    row = read(path)[0]
    assert row["status"] == "measured"
    assert value(row, "images_without_contrast") == 2
    assert any(line.startswith("  baseline: 2 of 3 images have no contrast") for line in said)


class Blanking(TooLarge):
    """An accelerator that leaves nothing of the image."""

    def prepare(self, pipe, clock):
        self.vae = pipe.vae

    def install(self):
        self.hook = self.vae.decoder.register_forward_hook(lambda _module, _in, out: out * 0)

    def remove(self):
        self.hook.remove()


def test_a_configuration_that_shows_nothing_is_marked(tmp_path, monkeypatch):
    replace_accelerator(monkeypatch, "deepcache", Blanking)
    path, said = tmp_path / "r.jsonl", []
    section = SECTION | {
        "configurations": [{"deepcache": {"cache_interval": 2}}, {"tome": {"ratio": 0.5}}]
    }
    summary = measured(path, 4, section, said=said, batch_size=2)
    status = {row["label"]: row["status"] for row in read(path)[:-1]}
    assert status["DeepCache 2/0"] == "images have no contrast"
    assert set(status.values()) == {"images have no contrast", "measured"}
    assert read(path)[-1]["summary"]["worthless"] == {"DeepCache 2/0": "images have no contrast"}
    assert summary.best is None or summary.best.label != "DeepCache 2/0"
    assert "DeepCache 2/0: images have no contrast; the next configuration follows" in said
    assert all(Measurement.model_validate(row) for row in read(path)[:-1])


def test_a_study_that_shows_nothing_is_a_result_of_its_own(tmp_path, decoded):
    decoded(lambda images: images if len(images) < 4 else torch.zeros_like(images))
    stability = {"num_samples": 4, "batch_sizes": [4], "seeds": [], "prompts": []}
    path = tmp_path / "r.jsonl"
    wanted = request(2, SECTION | {"stability": stability}, batch_size=2)
    run(wanted, ResultsFile.open(path), "cpu", lambda _line: None)
    found = {row["label"]: row["status"] for row in read(path)[:-1]}
    assert found == {
        "baseline": "measured",
        "baseline (batch size 4)": "images have no contrast",
    }
