"""The figures of quality and cost mean what they say."""

import copy
import functools
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file, save_model
from torchmetrics.functional.image.lpips import _LPIPS

from tests.helpers.fake_nvml import FakeNvml
from worker.config.numbers import FEWEST_IMAGES_FOR_FID
from worker.errors import ConfigurationError
from worker.measure import rows
from worker.measure.settings import TaskRequest, settings_of
from worker.measure.task.run import run
from worker.metrics import fid
from worker.metrics.clip import ClipScorer, scores
from worker.metrics.device import Meter, Reading
from worker.metrics.host import Disturbance
from worker.metrics.lpips import Lpips
from worker.metrics.similarity import psnr, ssim
from worker.models.catalogue import find_pipe, find_sched
from worker.models.sources import local_source
from worker.models.task import Task
from worker.results.file import ResultsFile
from worker.search.section import Search
from worker.search.studies import Study


@pytest.fixture
def images():
    return torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_equal_images(images):
    assert psnr(images, images) == pytest.approx([100.0] * 3)
    assert ssim(images, images) == pytest.approx([1.0] * 3)


def test_psnr_of_a_known_error(images):
    other = images.clone()
    other[1] = (other[1] - 0.1).abs()
    wrong = (other[1] - images[1]).square().mean()
    found = psnr(other, images)
    assert found[0] == pytest.approx(100.0)
    assert found[1] == pytest.approx(float(-10 * wrong.log10()), rel=1e-5)


def test_ssim_falls_with_noise(images):
    noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(1))
    a_little, a_lot = (images + 0.1 * noise).clamp(0, 1), (images + noise).clamp(0, 1)
    for much, little in zip(ssim(a_lot, images), ssim(a_little, images), strict=True):
        assert much < little < 1


def test_lpips_from_safetensors(tmp_path, images):
    file = tmp_path / "lpips.safetensors"
    save_model(_LPIPS(pretrained=False, net="alex", pnet_rand=True), str(file))
    lpips = Lpips(str(file), "cpu")
    assert lpips.distance(images, images) == [0.0] * 3
    first, middle, last = lpips.distance(images, images.flip(0))
    assert middle == 0
    assert first == pytest.approx(last) != 0


def test_lpips_weights_that_are_not(tmp_path):
    with pytest.raises(ConfigurationError, match="does not exist"):
        Lpips(str(tmp_path / "nowhere.safetensors"), "cpu")
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ConfigurationError, match="does not hold LPIPS"):
        Lpips(str(tmp_path / "other.safetensors"), "cpu")
    (tmp_path / "torn.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(ConfigurationError, match="does not hold LPIPS"):
        Lpips(str(tmp_path / "torn.safetensors"), "cpu")


@pytest.fixture(scope="module")
def inception():
    torch.manual_seed(0)
    return fid._inception().eval()


def test_fid_from_safetensors(tmp_path, images, inception):
    file = tmp_path / "fid.safetensors"
    save_file(inception.state_dict(), file)
    network = fid.Fid(str(file), "cpu")
    features = network.features(images)
    assert features.shape == (3, 2048)
    torch.testing.assert_close(network.features(images[1:2]), features[1:2], rtol=1e-3, atol=1e-9)


def test_fid_weights_that_are_not(tmp_path):
    with pytest.raises(ConfigurationError, match="does not exist"):
        fid.Fid(str(tmp_path / "nowhere.safetensors"), "cpu")
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ConfigurationError, match="does not hold FID's"):
        fid.Fid(str(tmp_path / "other.safetensors"), "cpu")


def test_fid_averages_without_the_padding_and_takes_the_maximum_at_last(inception, monkeypatch):
    first, last = torch.randn(1, 192, 9, 9), torch.randn(1, 2048, 5, 5)
    pool = torch.nn.functional.avg_pool2d
    with monkeypatch.context() as patched, torch.inference_mode():
        patched.setattr(
            torch.nn.functional, "avg_pool2d", functools.partial(pool, count_include_pad=False)
        )
        expected_first = inception.Mixed_5b(first)
        patched.setattr(torch.nn.functional, "avg_pool2d", torch.nn.functional.max_pool2d)
        expected_last = inception.Mixed_7c(last)
    ours = fid._features_of(copy.deepcopy(inception))
    with torch.inference_mode():
        torch.testing.assert_close(ours.Mixed_5b(first), expected_first)
        torch.testing.assert_close(ours.Mixed_7c(last), expected_last)


def test_fid_of_a_shifted_distribution_is_the_square_of_the_shift():
    features = torch.randn(FEWEST_IMAGES_FOR_FID, 8, generator=torch.Generator().manual_seed(0))
    shifted = features + torch.arange(8) / 10
    assert fid.distance(shifted.split(500), features.split(300)) == pytest.approx(1.4, rel=1e-3)


def test_fid_refuses_too_few_images():
    features = torch.zeros(FEWEST_IMAGES_FOR_FID, 8)
    with pytest.raises(ValueError, match="needs at least 2,048 images, found 2,047"):
        fid.distance([features[1:]], [features])


def test_what_is_not_measured_has_a_reason():
    task = Task(find_pipe("TINY_SD15"), find_sched("DDIM"), 4)
    request = TaskRequest(task, Search(fid="a file"), num_samples=32, batch_size=4)
    settings = settings_of(request, Study("", count=32, batch_size=4), "cpu")
    reasons = rows.absent(settings)
    assert reasons["lpips"] == "search.lpips names no weights"
    assert reasons["fid"] == "needs at least 2,048 images, found 32"
    assert "pickle" in reasons["image_reward"]
    assert "fid" not in rows.absent(replace(settings, num_samples=2048))
    assert "mean nothing" in rows.absent(replace(settings, clip=None))["clip_score"]


def test_clip_score_is_the_cosine_whatever_the_batch(images):
    scorer = ClipScorer("built:tiny-clip", "", "cpu")
    captions = scorer.encode(["a cat", "a dog", "a red car"], batch=2)
    assert captions.norm(dim=-1).tolist() == pytest.approx([1.0] * 3)
    together = scores(scorer.embed(images), captions)
    alone = [scores(scorer.embed(images[n : n + 1]), captions[n : n + 1])[0] for n in range(3)]
    assert together == pytest.approx(alone, abs=1e-3)
    assert all(-100 <= score <= 100 for score in together)


def test_a_scorer_with_random_weights_is_built_on_its_device():
    """A gigabyte is neither drawn on the CPU nor carried over."""
    scorer = ClipScorer("ViT-B-32", None, "meta")
    assert {parameter.device.type for parameter in scorer._model.parameters()} == {"meta"}
    with pytest.raises(ConfigurationError, match="knows no model 'ViT-Z'"):
        ClipScorer("ViT-Z", None, "meta")


def test_captions_are_encoded_once_for_a_task(tmp_path, monkeypatch):
    encoded = []
    encode = ClipScorer.encode
    monkeypatch.setattr(
        ClipScorer, "encode", lambda self, captions: encoded.append(1) or encode(self, captions)
    )
    section = {
        "configurations": [{"deepcache": {"cache_interval": [2, 3]}}],
        "controls": {"fewer_steps": [], "guidance_off": [], "null_arm": False},
        "timing": {"repeats": 1, "warmup": 0, "block": 1},
    }
    task = Task(find_pipe("TINY_SD15"), find_sched("DDIM"), 3)
    wanted = TaskRequest(task, Search.model_validate(section), num_samples=2, batch_size=2)
    run(wanted, ResultsFile.open(tmp_path / "rows.jsonl"), "cpu", lambda _line: None)
    assert len(encoded) == 1


def test_clip_weights_in_a_pickle_are_refused(tmp_path):
    (tmp_path / "open_clip_config.json").write_text("{}")
    (tmp_path / "open_clip_pytorch_model.bin").touch()
    with pytest.raises(ConfigurationError, match=r"no \.safetensors"):
        ClipScorer(f"local-dir:{tmp_path}", "", "cpu")


def test_clip_weights_that_are_cut_off_are_refused(tmp_path):
    whole = Path(local_source("built:tiny-clip"))
    (tmp_path / "open_clip_config.json").write_bytes((whole / "open_clip_config.json").read_bytes())
    (tmp_path / "open_clip_model.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(ConfigurationError, match=r"search\.clip: local-dir:.* cannot be loaded"):
        ClipScorer(f"local-dir:{tmp_path}", "", "cpu")


@pytest.fixture
def metered(tmp_path, nvml_library):
    """Return a function that runs lines of Python beside a meter of the second of two GPUs."""
    fake_nvml = FakeNvml(tmp_path, nvml_library)
    gpus = fake_nvml.gpus(2)
    environment = fake_nvml.environment() | {"CUDA_VISIBLE_DEVICES": gpus[1].uuid}
    preamble = """
        import os, sys
        from pathlib import Path
        from tests.helpers.fake_nvml import FakeNvml, use_gpu
        from worker.metrics.device import Meter
        fake_nvml = FakeNvml(Path(os.environ["FAKE_NVML"]), Path(sys.argv[1]))
        fake_nvml.gpus(2)
    """

    def run(lines):
        code = textwrap.dedent(preamble) + textwrap.dedent(lines) + "\nprint(repr(meter.stop()))"
        done = subprocess.run(
            [sys.executable, "-c", code, str(nvml_library)],
            cwd=Path(__file__).parents[3],
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return eval(done.stdout, {"Reading": Reading, "Disturbance": Disturbance})

    return run


def test_a_meter_reads_its_own_gpu(metered):
    read = metered("""
        fake_nvml.set(1, utilization=90, clock=1900, violation=70)
        fake_nvml.set(0, utilization=20, clock=345)
        meter = Meter("cuda:0")
        use_gpu(2**30)
        meter.start()
    """)
    assert read == Reading(utilization=90.0, clock=1900.0)


@pytest.mark.parametrize(
    ("before", "during", "why"),
    [
        (
            "",
            "fake_nvml.set(1, processes={1: 2**20})",
            Disturbance("another process used the GPU", "pid 1"),
        ),
        (
            "fake_nvml.set(1, processes={1: 2**20})",
            "",
            Disturbance("another process used the GPU", "pid 1"),
        ),
        ("fake_nvml.set(0, processes={1: 2**20})", "", None),
        (
            "",
            "fake_nvml.set(1, used=(1, 40))",
            Disturbance("another process used the GPU", "pid 1"),
        ),
        ("", "fake_nvml.set(1, used=(os.getpid(), 99))", None),
        ("", "fake_nvml.set(1, violation=5000)", Disturbance("the GPU was too hot")),
        ("fake_nvml.set(1, violation=5000)", "", None),
        ("", "fake_nvml.set(1, throttle=0x20)", Disturbance("the GPU was too hot")),
        (
            "",
            "fake_nvml.set(1, throttle=0x80)",
            Disturbance("the GPU was braked by its power supply"),
        ),
        ("", "fake_nvml.set(1, throttle=0x4)", None),  # at its power limit
        ("", "fake_nvml.set(1, fails={'nvmlDevice': 999})", None),
    ],
)
def test_a_stretch_that_something_disturbed_does_not_count(metered, before, during, why):
    read = metered(f"""
        {before}
        meter = Meter("cuda:0")
        use_gpu(2**30)
        meter.start()
        {during}
    """)
    assert read.disturbance == why


def test_in_a_container_the_process_that_came_with_us_is_us(metered):
    read = metered("""
        fake_nvml.set(1, processes={1: 2**20})
        meter = Meter("cuda:0")
        fake_nvml.set(1, processes={1: 2**20, 2: 2**30})
        meter.start()
        fake_nvml.set(1, processes={2: 2**30, 3: 2**20})
    """)
    assert read.disturbance == Disturbance("another process used the GPU", "pid 3")


def test_a_cpu_has_no_meter():
    meter = Meter("cpu")
    meter.start()
    assert meter.stop() == Reading()
