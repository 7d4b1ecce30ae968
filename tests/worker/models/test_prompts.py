"""Captions from files of every kind, and files that are wrong in every way."""

import json

import pytest

from worker.errors import ConfigurationError
from worker.models.prompts import load_captions


def test_text_tsv_and_json_lines(tmp_path):
    wanted = ["a cat", "ein Größenvergleich"]
    (tmp_path / "c.txt").write_text("a cat\n\n  ein Größenvergleich \r\n", encoding="utf-8-sig")
    (tmp_path / "c.tsv").write_text("id\tcaption\n1\ta cat\n2\tein Größenvergleich\n", "utf-8")
    rows = [{"caption": "a cat"}, {"captions": ["ein Größenvergleich", "another"]}]
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for name in ("c.txt", "c.tsv", "c.jsonl"):
        assert load_captions(str(tmp_path / name), 2) == wanted
        assert load_captions(str(tmp_path / name), 1) == wanted[:1]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("c.txt", b"one\n", "has 1 captions, but the task needs 2"),
        ("c.txt", b"\xff\xfe", "not UTF-8"),
        ("c.tsv", b"id\ttext\n1\tx\n", "column 'caption'"),
        ("c.tsv", b"", "column 'caption'"),
        ("c.tsv", b"id\tcaption\n1\n", "line 2 has no caption"),
        ("c.jsonl", b"{\n", "line 1 is not JSON"),
        ("c.jsonl", b'{"caption": 3}\n', "expected a text under 'caption', found int"),
        ("c.jsonl", b'{"captions": []}\n', "expected a text"),
        ("c.jsonl", b'{"caption": "\\ud800"}\n', "line 1 holds half a character"),
        ("c.jsonl", b'{"caption": ' + b"9" * 5000 + b"}\n", "line 1 cannot be read"),
        ("c.jsonl", b"[" * 100_000 + b"\n", "line 1"),
        ("c.csv", b"", "neither coco2017 nor a file ending in .txt, .tsv, .jsonl"),
    ],
)
def test_what_is_wrong_with_a_file(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigurationError, match=words):
        load_captions(str(tmp_path / name), 2)


@pytest.mark.parametrize("separator", ["\u2028", "\x0b", "\x85"])
def test_a_caption_may_hold_what_only_python_takes_for_the_end_of_a_line(tmp_path, separator):
    caption = f"a cat{separator}on a mat"
    file = tmp_path / "c.jsonl"
    file.write_text(json.dumps({"caption": caption}, ensure_ascii=False), "utf-8")
    if separator != "\x0b":  # a control character, which JSON wants escaped
        assert load_captions(str(file), 1) == [caption]
    file = tmp_path / "c.txt"
    file.write_text(caption, "utf-8")
    assert load_captions(str(file), 1) == [caption]


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        load_captions(str(tmp_path / "c.txt"), 1)


def test_a_folder_here_is_not_taken_for_coco(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "phiyodr" / "coco2017").mkdir(parents=True)
    (tmp_path / "phiyodr" / "coco2017" / "validation.jsonl").write_text('{"captions": ["no"]}')
    with pytest.raises(ConfigurationError, match="a folder of the same name"):
        load_captions("coco2017", 1)
