"""The main job with the worker that ships: started, killed, left alone, taken over, completed."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from tests.helpers.sweep_runner import SweepRunner

SWEEP = """\
name: runner
matrix: {pipe: [TINY_SD15], sched: [DDIM], steps: [3, 4]}
worker: {args: {num_samples: 2, batch_size: 2}}
devices: {cpu_slots: 2}
retries: {backoff: 1ms}
search:
  configurations: [{deepcache: {cache_interval: 2}}]
  controls: {fewer_steps: [], guidance_off: [], null_arm: false}
  timing: {repeats: 1}
"""


def test_the_main_job(runner: SweepRunner, tmp_path: Path) -> None:
    runner.environment["DIFFUSION_SWEEPS_CACHE"] = str(tmp_path / "models")
    runner.write_text(SWEEP)
    first = runner.start()
    first.wait_for("TINY_SD15_DDIM_3: attempt 1 started")
    supervisor = runner.attempt("TINY_SD15_DDIM_3")["supervisor"]
    (worker,) = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    os.kill(int(worker), signal.SIGKILL)
    first.wait_for("TINY_SD15_DDIM_3: attempt 1 on cpu:.: killed by a signal: killed by SIGKILL")
    first.wait_for("TINY_SD15_DDIM_3: attempt 2 started")
    first.kill()
    assert [task["state"] for task in runner.status()["tasks"]] == ["running", "running"]
    second = runner.start()
    second.wait_for("TINY_SD15_DDIM_3: attempt 2 still runs on cpu:.; taken over")
    ended = second.end()
    assert ended.code == 0, ended.out
    assert "2 of 2 completed" in ended.out
    for task, attempts in (("TINY_SD15_DDIM_3", 2), ("TINY_SD15_DDIM_4", 1)):
        done = runner.done(task)
        assert [attempt["attempt"] for attempt in done["attempts"]] == list(range(1, attempts + 1))
        assert done["images_generated"] > 0
        assert "Successfully completed" in runner.log(task)
        rows = [json.loads(line) for line in runner.paths.results(task).read_text().splitlines()]
        assert [row.get("role") for row in rows] == ["baseline", "candidate", None]
        assert done["speedup"] == rows[-1]["summary"]["speedup"]
        assert f"{done['speedup']:.2f}×" in ended.out
