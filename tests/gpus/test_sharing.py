"""Timed and untimed tasks on eight GPUs, under faults, judged by what the workers saw."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import pytest

from tests.gpus.test_gpu_sweep import HERE, Runs, runs  # noqa: F401
from tests.helpers.fake_nvml import GIB, FakeNvml

# Notes when it starts and ends, and holds its memory in between; asks for 20 GiB of 80.
CHECK = """
import json, sys
tasks = json.load(sys.stdin)["tasks"]
print(json.dumps({"problems": [], "timed": [t["id"] for t in tasks if t["matrix"]["kind"] == "timed"]}))
"""


@pytest.fixture
def sweep(runs: Runs, fake_nvml: FakeNvml, tmp_path: Path) -> str:  # noqa: F811
    """Sixty tasks, of which a third is timed."""
    fake_nvml.gpus(8, total=80 * GIB)
    (tmp_path / "check.py").write_text(CHECK)
    command = ["python", "-I", "-S", str(HERE / "noting_worker.py"), str(runs.event_log), "{kind}"]
    check = ["python", "-I", "-S", str(tmp_path / "check.py")]
    return runs.sweep(
        "sharing",
        [],
        matrix={"kind": ["free", "timed", "other"], "number": list(range(20))},
        exclude=[],
        include=[],
        worker={"command": command, "check": check},
        devices={"idle_for": "0s", "share": {"memory": "20GiB", "at_most": 3}},
        retries={"backoff": "10ms", "max_attempts": 20},
    )


def test_nothing_is_lost_repeated_or_beside_a_timed_task(runs: Runs, sweep: str) -> None:  # noqa: F811
    code, output = runs.end_under_faults(sweep, at_once=12)
    assert code == 0, output
    done = list((runs.folder / "checkpoints" / "sharing").glob("*.done"))
    assert len(done) == 60
    spans = judge(runs.seen())
    ends = Counter(task for task, *_ in spans if task.startswith("+"))
    assert set(ends.values()) == {1}, "a task was completed twice"
    assert len(ends) == 60


def judge(seen: list[list[str]]) -> list[tuple[str, float, float]]:
    """Return each attempt with its span; assert that no device held more than it may at once."""
    by_gpu: dict[str, list[tuple[float, float, str]]] = defaultdict(list)
    spans = []
    ends = {(line[4], line[5]): float(line[1]) for line in seen if line[0] == "end"}
    for line in seen:
        if line[0] != "start":
            continue
        begun, gpu, kind, task, pid = float(line[1]), *line[2:6]
        end = ends.get((task, pid))
        # Of one that was killed only the beginning is known.
        by_gpu[gpu].append((begun, begun if end is None else end, kind))
        spans.append((("+" if end is not None else "-") + task, begun, end or begun))
    for on_one in by_gpu.values():
        for begun, _, kind in on_one:
            at_once = [other for b, e, other in on_one if b <= begun <= e]
            assert len(at_once) <= 3
            assert len(at_once) == 1 or "timed" not in at_once, (kind, at_once)
    shared = [len([1 for b, e, _ in on_one if b < begun < e]) for on_one in by_gpu.values()
              for begun, *_ in on_one]  # fmt: skip
    assert max(shared) > 0, "no device was ever shared"
    return spans
