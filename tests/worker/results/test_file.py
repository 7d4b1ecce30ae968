"""Nothing that was measured is lost."""

import json
import os
import resource
from contextlib import contextmanager
from pathlib import Path

import pytest

from worker.errors import ConfigurationError, WorkerError
from worker.results.file import ResultsFile


def test_rows_come_back(tmp_path):
    results = ResultsFile.open(tmp_path / "new" / "task.jsonl")
    results.append({"label": "Größe ×"})
    results.append({"summary": {}})
    assert ResultsFile.open(results.path).lines == [{"label": "Größe ×"}, {"summary": {}}]


def test_a_line_cut_off_anywhere_costs_only_itself(tmp_path):
    path = tmp_path / "task.jsonl"
    whole = b'{"n": 1}\n'
    last = json.dumps({"n": 2, "label": "Größe"}, ensure_ascii=False).encode()
    for length in range(1, len(last)):
        path.write_bytes(whole + last[:length])
        results = ResultsFile.open(path)
        assert results.lines == [{"n": 1}]
        assert len(results.notices) == 1
        results.append({"n": 3})
        assert ResultsFile.open(path).lines == [{"n": 1}, {"n": 3}]


def test_a_whole_last_line_without_its_newline_counts(tmp_path):
    path = tmp_path / "task.jsonl"
    path.write_bytes(b'{"n": 1}')
    results = ResultsFile.open(path)
    assert results.lines == [{"n": 1}]
    results.append({"n": 2})
    assert ResultsFile.open(path).lines == [{"n": 1}, {"n": 2}]


def test_a_line_nested_too_deeply_costs_only_itself(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_bytes(b"[" * 100_000 + b'\n{"a": 1}\n')
    results = ResultsFile.open(path)
    assert results.lines == [{"a": 1}]
    assert "line 1 is cut off or not JSON" in results.notices[0]


def test_a_name_that_no_file_can_have(tmp_path):
    with pytest.raises(WorkerError, match="cannot be read: File name too long"):
        ResultsFile.open(tmp_path / ("r" * 300))


def test_a_folder_in_its_place(tmp_path):
    with pytest.raises(ConfigurationError, match="is not a file"):
        ResultsFile.open(tmp_path)


@contextmanager
def no_more_room():
    """Let no file grow; no fixture, for pytest's own output may be a file as well."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_says_so_where_a_part_of_the_line_fitted(tmp_path):
    results = ResultsFile.open(tmp_path / "r.jsonl")
    with (
        no_more_room(),
        pytest.raises(WorkerError, match=r"r\.jsonl cannot be written: File too large; what was"),
    ):
        results.append({"n": 10})
    results.append({"n": 2})
    assert ResultsFile.open(results.path).lines == [{"n": 2}]


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("thing", ["fifo", "folder", "dangling link", "endless", "link"])
def test_nothing_but_a_regular_file_is_read_or_written(tmp_path, thing, later):
    """Be it there at the beginning, or put there while something is measured."""
    path, victim = tmp_path / "r.jsonl", tmp_path / "victim"
    victim.write_text("{}")
    results = ResultsFile.open(path) if later else None
    {
        "fifo": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "dangling link": lambda: path.symlink_to(tmp_path / "nowhere"),
        "endless": lambda: path.symlink_to("/dev/zero"),
        "link": lambda: path.symlink_to(victim),
    }[thing]()
    with pytest.raises(
        WorkerError, match="is not a file" if results is None else "cannot be written"
    ):
        results = results or ResultsFile.open(path)
        results.append({"n": 1})
    assert victim.read_text() == "{}"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    "value", ["1" + "0" * 400, "9" * 5000, "1e999", "NaN", "[" * 200 + "]" * 200]
)
def test_a_value_that_nothing_can_be_made_of_costs_only_its_line(tmp_path, value):
    path = tmp_path / "r.jsonl"
    path.write_text(f'{{"metrics": [{value}]}}\n{{"a": 1}}\n')
    results = ResultsFile.open(path)
    assert results.lines == [{"a": 1}]
    assert len(results.notices) == 1


def test_a_place_that_takes_no_file_is_noticed_before_anything_is_measured():
    results = ResultsFile.open(Path("/proc/task.jsonl"))
    with pytest.raises(WorkerError, match=r"/proc/task\.jsonl cannot be written"):
        results.check_writable()


def test_a_command_with_a_name_that_is_no_text_costs_no_measurement(tmp_path):
    results = ResultsFile.open(tmp_path / "task.jsonl")
    results.append({"command": os.fsdecode(b"--search \xff.yaml")})
    assert ResultsFile.open(results.path).lines == [{"command": "--search ?.yaml"}]
