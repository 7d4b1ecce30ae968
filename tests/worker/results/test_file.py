"""Nothing that was measured is lost."""

import json
import os
from pathlib import Path

import pytest

from worker.errors import WorkerError
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
    with pytest.raises(WorkerError, match="is not a file"):
        ResultsFile.open(tmp_path)


def test_a_full_disk_says_so():
    results = ResultsFile(Path("/dev/full"))
    with pytest.raises(WorkerError, match="No space left"):
        results.append({"n": 1})


def test_a_place_that_takes_no_file_is_noticed_before_anything_is_measured():
    results = ResultsFile.open(Path("/proc/task.jsonl"))
    with pytest.raises(WorkerError, match=r"/proc/task\.jsonl cannot be written"):
        results.check_writable()


def test_a_command_with_a_name_that_is_no_text_costs_no_measurement(tmp_path):
    results = ResultsFile.open(tmp_path / "task.jsonl")
    results.append({"command": os.fsdecode(b"--search \xff.yaml")})
    assert ResultsFile.open(results.path).lines == [{"command": "--search ?.yaml"}]
