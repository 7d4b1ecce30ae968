"""Tasks that have several GPUs at once, beside others that share or have one; workers note what they see."""

from __future__ import annotations

import json
import signal
import subprocess
from collections import Counter, defaultdict
from itertools import combinations
from typing import Any

import pytest

from tests.gpus.test_gpu_sweep import HERE, Runs, runs  # noqa: F401
from tests.helpers.fake_nvml import GIB, FakeNvml

# Notes when it starts and ends, and holds memory of all its GPUs in between; asks for 20 GiB of 80.
CHECK = """
import json, sys
tasks = json.load(sys.stdin)["tasks"]
print(json.dumps({"problems": [], "timed": [t["id"] for t in tasks if t["matrix"]["kind"] != "free"]}))
"""


def sweep(runs: Runs, name: str, kinds: list[tuple[str, int]], **sections: Any) -> str:  # noqa: F811
    """Write a sweep whose tasks are of these kinds and have so many GPUs each."""
    command = ["python", "-I", "-S", str(HERE / "noting_worker.py"), str(runs.event_log), "{kind}"]
    devices = {"idle_for": "0s", "per_task": "gpus", **sections.pop("devices", {})}
    return runs.sweep(
        name,
        [],
        matrix={"number": [-1], "kind": ["none"], "gpus": [1]},
        exclude=[{"number": -1}],
        include=[{"number": n, "kind": kind, "gpus": gpus} for n, (kind, gpus) in enumerate(kinds)],
        worker={"command": command, **sections.pop("worker", {})},
        devices=devices,
        retries={"backoff": "10ms", "max_attempts": 20},
        **sections,
    )


def checkpoint(runs: Runs, name: str, task: str) -> dict[str, Any]:  # noqa: F811
    found: dict[str, Any] = json.loads(
        (runs.folder / "checkpoints" / name / f"{task}.done").read_text()
    )
    return found


def judge(seen: list[list[str]]) -> set[str]:
    """Return the tasks that were completed; assert that no device held more than it may at once."""
    spans: dict[str, list[tuple[float, float, str]]] = defaultdict(list)
    ends = {(line[4], line[5]): float(line[1]) for line in seen if line[0] == "end"}
    for _, at, gpus, kind, task, pid in (line for line in seen if line[0] == "start"):
        assert len(set(gpus.split(","))) == int(task.rpartition("_")[2]), (task, gpus)
        # Of one that was killed only the beginning is known.
        for gpu in gpus.split(","):
            spans[gpu].append((float(at), ends.get((task, pid), float(at)), kind))
    for on_one in spans.values():
        for (begun, end, kind), (other_begun, other_end, other_kind) in combinations(on_one, 2):
            at_once = max(begun, other_begun) < min(end, other_end)
            assert not at_once or kind == other_kind == "free", (kind, other_kind)
    completed = Counter(task for task, _ in ends)
    assert set(completed.values()) <= {1}, "a task was completed twice"
    return set(completed)


def test_joining_and_sharing_under_faults(runs: Runs, fake_nvml: FakeNvml) -> None:  # noqa: F811
    fake_nvml.gpus(8, total=80 * GIB)
    (runs.folder / "check.py").write_text(CHECK)
    kinds = [("free", 1), ("wide", 2), ("timed", 1), ("free", 1), ("wide", 3)] * 10
    check = ["python", "-I", "-S", str(runs.folder / "check.py")]
    share = {"memory": "20GiB", "at_most": 3}
    path = sweep(runs, "both", kinds, worker={"check": check}, devices={"share": share})
    _, plan = runs.start(path, "--dry-run").end()
    assert "  30 tasks have their devices alone; the others share them\n" in plan
    assert "  each task has up to 3 devices at once\n" in plan
    code, output = runs.end_under_faults(path, at_once=5)
    assert code == 0, output
    assert len(judge(runs.seen())) == 50
    done = checkpoint(runs, "both", "4_wide_3")
    assert len(done["devices"]) == 3
    assert done["attempts"][-1]["devices"] == done["devices"]
    assert done["device"] == done["devices"][0]
    assert "devices" not in checkpoint(runs, "both", "0_free_1")


def test_two_dispatchers_that_each_hold_a_part(runs: Runs, fake_nvml: FakeNvml) -> None:  # noqa: F811
    fake_nvml.gpus(4)
    kinds = [("wide", 1), ("wide", 2), ("wide", 4)] * 3
    both = [runs.start(sweep(runs, name, kinds)) for name in ("one", "two")]
    assert [run.end()[0] for run in both] == [0, 0]
    seen = runs.seen()
    for line in seen:  # they have the same names
        line[4] = f"{line[5]}_{line[4]}"
    assert len(judge(seen)) == 18


def test_devices_are_kept_while_their_dispatcher_is_dead(runs: Runs, fake_nvml: FakeNvml) -> None:  # noqa: F811
    fake_nvml.gpus(3)
    path = sweep(runs, "first", [("waits", 2), ("wide", 3)])
    run = runs.start(path)
    runs.wait_until_ready()
    run.process.send_signal(signal.SIGKILL)
    run.process.wait()
    # Not even NVML knows of the attempt: its memory is not shown.
    for gpu in fake_nvml.devices:
        for claim in (fake_nvml.folder / "use" / gpu.uuid).iterdir():
            claim.unlink()
    rival = runs.start(sweep(runs, "rival", [("wide", 2), ("wide", 1)]))
    rival.until("1_wide_1: attempt 1 started on GPU 2")
    again = runs.start(path)
    again.until("0_waits_2: attempt 1 still runs on GPU 0.*taken over")
    runs.open_gate()
    assert again.end()[0] == 0
    assert rival.end()[0] == 0
    assert len(judge(runs.seen())) == 4


def test_a_gpu_that_others_took_is_waited_for(runs: Runs, fake_nvml: FakeNvml) -> None:  # noqa: F811
    fake_nvml.gpus(2)
    with subprocess.Popen(["sleep", "600"]) as thief:
        try:
            fake_nvml.set(1, processes={thief.pid: 3 * GIB})
            run = runs.start(sweep(runs, "stolen", [("waits", 2), ("wide", 1)]))
            run.until("1_wide_1: attempt 1 started on GPU 0")  # which the other is not to wait for
            run.until("1_wide_1: completed")
            fake_nvml.set(1, processes={})
            runs.wait_until_ready()
            fake_nvml.set(1, processes={thief.pid: 3 * GIB})
            run.until("GPU 1: others came to the device")
            runs.open_gate()
            code, output = run.end()
        finally:
            thief.kill()
    assert code == 0, output
    [attempt] = checkpoint(runs, "stolen", "0_waits_2")["attempts"]
    assert attempt["foreign"][0]["pid"] == thief.pid


def test_losing_one_of_its_gpus_costs_a_task_nothing(runs: Runs, fake_nvml: FakeNvml) -> None:  # noqa: F811
    fake_nvml.gpus(3)
    run = runs.start(sweep(runs, "lost", [("waits", 2)]))
    runs.wait_until_ready()
    fake_nvml.set(1, lost=True)
    run.until(r"stopping attempt 1.*lost")
    run.until("attempt 2 started on GPU 0")
    runs.open_gate()
    code, output = run.end()
    assert code == 0, output
    devices = checkpoint(runs, "lost", "0_waits_2")["devices"]
    assert devices == [fake_nvml.devices[0].uuid, fake_nvml.devices[2].uuid]


@pytest.mark.parametrize("mig", [False, True])
def test_more_gpus_than_there_are_is_refused(
    runs: Runs,  # noqa: F811
    fake_nvml: FakeNvml,
    mig: bool,
) -> None:
    fake_nvml.gpus(2)
    if mig:
        fake_nvml.mig(0, 4)
    path = sweep(runs, "many", [("wide", 1), ("wide", 2 if mig else 3)])
    code, output = runs.start(path).end()
    most, needed = (1, 2) if mig else (2, 3)
    lone = "; no task can have several MIG instances" if mig else ""
    assert code == 2
    assert output == (
        f"devices.per_task: 1_wide_{needed} has {needed} devices at once, and {most} is the most "
        f"here{lone}; 1 task(s) would wait for ever: lower it, or go where there are {needed}, or --only "
        "for the other tasks\n"
    )
    assert not runs.event_log.exists()
