"""A few pictures of each configuration lie beside the results; what goes wrong with one costs it alone."""

from __future__ import annotations

import os
import shutil
import subprocess

import numpy
import pytest
from PIL import Image

from tests.helpers.tiny_task import SECTION, measure, read
from worker.measure.rounds import call
from worker.search.section import read_search

TWO = SECTION | {
    "configurations": [{"deepcache": {"cache_interval": 2}}],
    "controls": {"fewer_steps": [], "guidance_off": [], "null_arm": True},
    "timing": {"warmup": 0, "repeats": 1},
}


def rows_of(path):
    return {row["label"]: row for row in read(path) if "label" in row}


@pytest.fixture
def made(monkeypatch):
    """Return the images of every full call, by the configuration's label."""
    found = {}
    once = call._call

    def noting(context, configuration, indices, steps):
        batch = once(context, configuration, indices, steps)
        if steps is None:
            found.setdefault(configuration.label, {}).update(
                zip(indices, batch.images, strict=True)
            )
        return batch

    monkeypatch.setattr(call, "_call", noting)
    return found


def test_they_are_the_images_of_the_same_prompts_for_all(tmp_path, made):
    path = tmp_path / "t.jsonl"
    measure(path, section=TWO | {"keep_images": 3}, num_samples=4, batch_size=2)
    rows = rows_of(path)
    shown = {label: row["pictures"] for label, row in rows.items() if "pictures" in row}
    assert list(shown) == ["baseline", "DeepCache 2/0"]  # the null arm's latents are others
    first, other = ([{**one, "file": ""} for one in pictures] for pictures in shown.values())
    assert first == other
    assert [one["seed"] for one in first] == [0, 1, 2]
    for label, pictures in shown.items():
        assert rows[label]["files"] == [one["file"] for one in pictures]
        for index, one in enumerate(pictures):
            kept = numpy.asarray(Image.open(tmp_path / one["file"]))
            exact = made[label][index].permute(1, 2, 0).numpy() * 255
            assert numpy.array_equal(kept, exact.round().astype("uint8"))
    assert len(list((tmp_path / "t.images").iterdir())) == 6


def test_none_where_none_are_asked_for(tmp_path):
    path = tmp_path / "t.jsonl"
    measure(path, section=TWO | {"keep_images": 0}, num_samples=2, batch_size=2)
    assert not any("pictures" in row for row in rows_of(path).values())
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.jsonl"]


@pytest.mark.parametrize("obstacle", ["a file", "a link"])
def test_a_folder_that_cannot_be_written_costs_the_pictures_alone(tmp_path, obstacle):
    path, elsewhere = tmp_path / "box" / "t.jsonl", tmp_path / "elsewhere"
    path.parent.mkdir()
    elsewhere.mkdir()
    if obstacle == "a file":
        (path.parent / "t.images").write_text("")
    else:
        (path.parent / "t.images").symlink_to(elsewhere)
    said = []
    measure(path, section=TWO, num_samples=2, batch_size=2, say=said.append)
    rows = rows_of(path)
    assert {row["status"] for row in rows.values()} == {"measured"}
    assert not any("pictures" in row for row in rows.values())
    assert len([line for line in said if "no more pictures" in line]) == 1
    assert list(elsewhere.iterdir()) == []


def test_a_full_disk_costs_the_pictures_alone(tmp_path):
    folder, said = tmp_path / "t.images", []
    folder.mkdir()
    mounted = shutil.which("mount") is not None and os.geteuid() == 0
    words = ["mount", "-o", "size=8k", "-t", "tmpfs", "tmpfs", str(folder)]
    if not mounted or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("needs to mount a small file system, as root")
    try:
        measure(tmp_path / "t.jsonl", section=TWO, num_samples=2, batch_size=2, say=said.append)
        rows = rows_of(tmp_path / "t.jsonl")
        assert {row["status"] for row in rows.values()} == {"measured"}
        named = [one["file"] for row in rows.values() for one in row.get("pictures", [])]
        assert sorted(named) == sorted(f"t.images/{file.name}" for file in folder.iterdir())
        assert [line for line in said if "no more pictures" in line and "No space" in line]
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("count", [-1, 65, "two"])
def test_a_number_that_nobody_means_is_refused(count):
    assert read_search({"keep_images": count})[0] is None
