"""Tasks in two stages on four GPUs, under faults: the timed one alone on its GPU, the other beside others."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.gpus.test_gpu_sweep import HERE, Runs, runs  # noqa: F401
from tests.gpus.test_sharing import judge
from tests.helpers.fake_nvml import GIB, FakeNvml

CHECK = """
import json, sys
tasks = [task["id"] for task in json.load(sys.stdin)["tasks"]]
print(json.dumps({"problems": [], "timed": tasks, "staged": tasks}))
"""


def test_each_stage_is_done_once_and_what_is_timed_is_alone(
    runs: Runs,  # noqa: F811
    fake_nvml: FakeNvml,
    tmp_path: Path,
) -> None:
    fake_nvml.gpus(4, total=80 * GIB)
    (tmp_path / "check.py").write_text(CHECK)
    command = ["python", "-I", "-S", str(HERE / "noting_worker.py"), str(runs.event_log), "staged"]
    sweep = runs.sweep(
        "stages",
        [],
        matrix={"number": list(range(24))},
        exclude=[],
        include=[],
        worker={"command": command, "check": ["python", "-I", "-S", str(tmp_path / "check.py")]},
        devices={"idle_for": "0s", "share": {"memory": "20GiB", "at_most": 3}},
        retries={"backoff": "10ms", "max_attempts": 20},
    )
    code, output = runs.end_under_faults(sweep, at_once=4)
    assert code == 0, output
    assert len(list((runs.folder / "checkpoints" / "stages").glob("*.done"))) == 24
    seen = runs.seen()
    judge(seen)
    ends = Counter((line[4], line[3]) for line in seen if line[0] == "end")
    assert set(ends.values()) == {1}, "a stage was completed twice"
    assert len(ends) == 48
