"""What was loaded ahead is taken once, by whoever needs just that."""

import os

import pytest

from worker.models import ahead


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    assert ahead._kept == {}


def test_the_same_is_taken_once():
    ahead.keep("pipeline", ("a", 1), "loaded ahead")
    assert ahead.taken_or("scorer", "s", lambda: "another kind") == "another kind"
    assert ahead.taken_or("pipeline", ("a", 1), lambda: "again") == "loaded ahead"
    assert ahead.taken_or("pipeline", ("a", 1), lambda: "again") == "again"


def test_another_one_is_given_up():
    ahead.keep("pipeline", ("a", 1), "loaded ahead")
    assert ahead.taken_or("pipeline", ("a", 2), lambda: dict(ahead._kept)) == {}


def test_a_file_that_was_written_anew_is_another(tmp_path):
    (tmp_path / "unet").mkdir()
    file = tmp_path / "unet" / "weights"
    file.write_text("a")
    before = ahead.files_below(str(tmp_path))
    assert before == ahead.files_below(str(tmp_path))
    os.utime(file, ns=(1, 1))
    assert before != ahead.files_below(str(tmp_path))
    assert ahead.files_below(str(file)) != ()


def test_a_file_that_took_the_place_of_another_is_another(tmp_path):
    kept, folder = tmp_path / "kept", tmp_path / "model"
    kept.mkdir()
    folder.mkdir()
    (folder / "unet").symlink_to(kept)
    (kept / "back").symlink_to(folder)
    for name in ("weights", "others"):
        (kept / name).write_text(name[:6])
        os.utime(kept / name, ns=(1, 1))
    before = ahead.files_below(str(folder))
    assert before == ahead.files_below(str(folder))
    (kept / "others").replace(kept / "weights")
    (kept / "others").touch()
    assert {entry[0] for entry in before} == {entry[0] for entry in ahead.files_below(str(folder))}
    assert before != ahead.files_below(str(folder))
