"""The main job with real processes: run, judge, retry, give up, resume; exits and checkpoints."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from pathlib import Path

import pytest
import yaml

from scheduler.cli.main import main
from scheduler.core.events import Activity
from scheduler.core.states import ImpossibleEventError
from scheduler.dispatch.dispatcher import Dispatcher
from scheduler.executors.local.executor import LocalExecutor
from tests.helpers.fake_nvml import GIB, FakeNvml
from tests.helpers.sweep_runner import SweepRunner


def test_every_task_completed(runner: SweepRunner) -> None:
    runner.write({"a": "ok", "b": "chatter; ok", "c": "ok"})
    ended = runner.run()
    assert ended.code == 0
    assert "3 of 3 completed" in ended.out
    assert runner.starts() == 3
    assert runner.states() == {"a": "completed", "b": "completed", "c": "completed"}
    assert not [name for name in runner.files() if ".attempts" in name or ".tmp" in name]


def test_a_done_file_says_what_proved_it(runner: SweepRunner) -> None:
    summary = {"summary": {"images_generated": 32, "speedup": 2.5, "loss": 0.01, "within": False}}
    runner.write({"a": ["kill 9", f"results {json.dumps(summary)}; print hello; ok"]})
    ended = runner.run()
    assert ended.code == 0
    done = runner.done("a")
    log = runner.paths.log("a").read_bytes()
    assert log == b"hello\nSuccessfully completed\n"
    assert done["task"] == "a"
    assert done["matrix"] == {"case": "a"}
    assert done["verdict"] == "completed"
    assert done["exit_code"] == 0
    assert done["log"]["sha256"] == hashlib.sha256(log).hexdigest()
    assert done["log"]["size"] == len(log)
    assert done["results"] == str(runner.paths.results("a"))
    assert done["images_generated"] == 32  # the worker's summary, at the top level
    assert [attempt["attempt"] for attempt in done["attempts"]] == [1, 2]
    assert done["attempts"][0]["signal"] == 9
    assert "2.50×?, loss +1.00%?" in ended.out  # whether that loss is allowed is open
    assert "2.50×?  +1.00%?" in ended.out


@pytest.mark.parametrize("conclusion", ["none surely, A may", 4815162342])
def test_what_a_summary_comes_to_is_shown_wherever_its_figures_are(
    runner: SweepRunner, conclusion: object
) -> None:
    summary = {"summary": {"speedup": 2.5, "conclusion": conclusion}}
    runner.write({"a": f"results {json.dumps(summary)}; ok"})
    shown = conclusion if isinstance(conclusion, str) else None
    ended = runner.run()
    assert ended.code == 0
    assert runner.done("a")["conclusion"] == conclusion
    assert (f"2.50×; {conclusion}" in ended.out) == (shown is not None)
    said = json.loads(runner.run("status", runner.file, "--json").out)
    assert said["tasks"][0]["conclusion"] == shown
    table = runner.run("status", runner.file).out
    assert (str(conclusion) in table) == (shown is not None)


def test_a_second_run_starts_nothing(runner: SweepRunner) -> None:
    runner.write({"a": "ok", "b": "exit 2"})
    assert runner.run().code == 1
    before = runner.paths.done("a").stat()
    ended = runner.run()
    assert ended.code == 1  # b stays failed until `retry`
    assert runner.starts() == 2
    assert runner.paths.done("a").stat() == before


def test_a_killed_worker_is_tried_again_and_its_log_kept(runner: SweepRunner) -> None:
    runner.write({"a": ["print first; kill 9", "print second; kill 11", "print third; ok"]})
    ended = runner.run()
    assert ended.code == 0
    assert runner.starts("a") == 3
    assert "killed by SIGKILL" in ended.out
    assert "killed by SIGSEGV" in ended.out
    logs = [runner.paths.old_log("a", 1), runner.paths.old_log("a", 2), runner.paths.log("a")]
    assert [log.read_text().split()[0] for log in logs] == ["first", "second", "third"]


def test_out_of_memory_halves_the_batch_even_if_the_worker_exits_with_0(
    runner: SweepRunner,
) -> None:
    runner.write(
        {"a": "fits 1; ok"},
        worker={"args": {"batch_size": 8, "num_samples": 32}},
        retries={"max_attempts": 1, "on_oom": {"batch_size": "halve"}},
    )
    ended = runner.run()
    assert ended.code == 0, ended.out
    assert [start["argv"] for start in runner.logged("start")] == [
        ["--batch-size", str(size), "--num-samples", "32"] for size in (8, 4, 2, 1)
    ]
    assert "out of memory: halves batch_size" in ended.out


def test_out_of_memory_at_batch_size_1_uses_up_the_attempts(runner: SweepRunner) -> None:
    runner.write(
        {"a": "fits 0; ok"},
        worker={"args": {"batch_size": 3}},
        retries={"max_attempts": 2, "on_oom": {"batch_size": "halve"}},
    )
    ended = runner.run()
    assert ended.code == 1
    sizes = [int(start["argv"][1]) for start in runner.logged("start")]
    assert sizes == [3, 1, 1]
    failed = runner.failed("a")
    assert failed["verdict"] == "out of memory"
    assert [attempt["verdict"] for attempt in failed["attempts"]] == ["out of memory"] * 3


@pytest.mark.parametrize(
    ("script", "verdict", "cause"),
    [
        ("print hello", "no success line", "exit code 0, but no success line; last line: hello"),
        ("exit 0", "no success line", "exit code 0, but no success line; the log is empty"),
        ("raise RuntimeError", "failed", "exit code 1: RuntimeError: as scripted"),
        ("print RuntimeError: met on the way; ok", "failed", "the log holds 'RuntimeError'"),
        ("print Successfully completed; exit 3", "failed", "exit code 3"),
        ("kill 15", "killed by a signal", "killed by SIGTERM"),
    ],
)
def test_what_may_pass_is_tried_again_until_the_attempts_are_used_up(
    runner: SweepRunner, script: str, verdict: str, cause: str
) -> None:
    runner.write({"a": script}, retries={"max_attempts": 2})
    ended = runner.run()
    assert ended.code == 1
    assert runner.starts("a") == 2
    assert not runner.paths.done("a").exists()
    failed = runner.failed("a")
    assert failed["verdict"] == verdict
    assert cause in failed["cause"]
    assert "attempt 2 of 2" in failed["cause"]
    assert cause in ended.out.replace("\n", "")


@pytest.mark.parametrize("script", ["exit 2", "raise ImportError"])
def test_what_cannot_pass_fails_at_once(runner: SweepRunner, script: str) -> None:
    runner.write({"a": script, "b": "ok"})
    ended = runner.run()
    assert ended.code == 1
    assert runner.starts("a") == 1
    assert runner.failed("a")["verdict"] == "wrong code"
    assert runner.paths.done("b").exists()


def test_exit_code_75_is_tried_again_with_growing_pauses(runner: SweepRunner) -> None:
    runner.write({"a": ["exit 75", "exit 75", "ok"]}, retries={"backoff": "40ms"})
    assert runner.run().code == 0
    first, second, third = (start["at"] for start in runner.logged("start"))
    assert second - first >= 0.04
    assert third - second >= 0.08
    assert [attempt.get("verdict") for attempt in runner.done("a")["attempts"]] == [
        "try later",
        "try later",
        None,
    ]


def test_a_timeout(runner: SweepRunner) -> None:
    runner.write({"a": "hang"}, limits={"timeout": "200ms"}, retries={"max_attempts": 1})
    ended = runner.run()
    assert ended.code == 1
    assert runner.failed("a")["verdict"] == "timeout"
    assert "limits.timeout" in runner.failed("a")["cause"]


def test_a_timeout_of_months(runner: SweepRunner) -> None:
    runner.write({"a": "ok"}, limits={"timeout": "90d"})
    assert runner.run().code == 0


def test_a_stall(runner: SweepRunner) -> None:
    runner.write({"a": "hang"}, limits={"stall": "200ms"}, retries={"max_attempts": 1})
    ended = runner.run()
    assert ended.code == 1
    assert runner.failed("a")["verdict"] == "stalled"
    assert "limits.stall" in runner.failed("a")["cause"]


def test_the_environment_of_a_worker(runner: SweepRunner) -> None:
    runner.write({"a": "ok"}, worker={"env": {"MY_NUMBER": 7}}, devices={"cpu_slots": 1})
    assert runner.run(CUDA_VISIBLE_DEVICES="0", MY_OWN="inherited").code == 0
    environment = runner.logged("start")[0]["environment"]
    assert environment["CUDA_VISIBLE_DEVICES"] == ""  # a CPU slot
    assert environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert environment["OMP_NUM_THREADS"] == str(len(os.sched_getaffinity(0)))
    assert environment["MY_NUMBER"] == "7"
    assert environment["MY_OWN"] == "inherited"
    assert environment["SWEEP_TASK"] == "a"
    assert environment["SWEEP_RESULTS"] == str(runner.paths.results("a"))
    assert runner.paths.checkpoints in Path(environment["SWEEP_SPEC"]).parents


def test_tasks_run_side_by_side_and_never_twice_on_a_slot(runner: SweepRunner) -> None:
    runner.write(dict.fromkeys("abcd", "gate; ok"))
    running = runner.start()
    gates = [runner.reach_gate("a"), runner.reach_gate("b")]
    assert runner.starts() == 2  # two slots
    for open_gate in gates:
        open_gate()
    runner.open_gate("c")
    runner.open_gate("d")
    assert running.end().code == 0


def test_a_second_dispatcher_is_kept_out(runner: SweepRunner) -> None:
    runner.write({"a": "gate; ok"})
    first = runner.start()
    open_gate = runner.reach_gate("a")
    second = runner.run()
    assert second.code == 3
    assert re.fullmatch(r"another dispatcher holds the sweep 'runner' .*\n", second.err, re.DOTALL)
    open_gate()
    assert first.end().code == 0
    assert runner.starts() == 1


# --- commands that cannot be started -------------------------------------------------------------


@pytest.mark.parametrize("program", ["no-such-program", "./notes.txt"])
def test_a_command_that_is_no_program_is_told_before_anything_starts(
    runner: SweepRunner, program: str
) -> None:
    (runner.folder / "notes.txt").write_text("not a program")
    runner.write({"a": "ok"}, worker={"command": [program]})
    ended = runner.run()
    assert ended.code == 2
    assert f"worker.command: there is no program {program!r}" in ended.err
    assert runner.files() == []


@pytest.mark.parametrize("command", [["./broken"], ["./{case}"]])
def test_a_command_that_turns_out_to_be_no_program_fails_at_once(
    runner: SweepRunner, command: list[str]
) -> None:
    (runner.folder / "broken").write_bytes(b"\0no program format")
    (runner.folder / "broken").chmod(0o755)
    runner.write({"a": "ok"}, worker={"command": command})
    ended = runner.run()
    assert ended.code == 1
    failed = runner.failed("a")
    assert "cannot start" in failed["cause"]
    assert len(failed["attempts"]) == 1


# --- checkpoints that do not hold ----------------------------------------------------------------


def test_another_sweep_file_makes_checkpoints_stale(runner: SweepRunner) -> None:
    runner.write({"a": "ok"}, worker={"args": {"num_samples": 1}})
    assert runner.run().code == 0
    runner.write({"a": "ok"}, worker={"args": {"num_samples": 2}})
    plan = runner.run(runner.file, "--dry-run")
    assert "a: its checkpoint does not hold: the sweep file has changed" in plan.out
    ended = runner.run()
    assert ended.code == 0
    assert "the sweep file has changed: args.num_samples: 1 → 2; kept as a.done.aside" in ended.out
    assert runner.starts() == 2


def test_devices_retries_and_limits_do_not_make_checkpoints_stale(runner: SweepRunner) -> None:
    runner.write({"a": "ok"})
    assert runner.run().code == 0
    runner.write(
        {"a": "ok", "b": "ok"},
        devices={"cpu_slots": 1},
        retries={"max_attempts": 9},
        limits={"timeout": "1h"},
    )
    assert runner.run().code == 0
    assert runner.starts("a") == 1


def test_a_log_that_was_changed_makes_its_checkpoint_stale(runner: SweepRunner) -> None:
    runner.write({"a": "ok"})
    assert runner.run().code == 0
    with runner.paths.log("a").open("a") as log:
        log.write("more\n")
    ended = runner.run()
    assert ended.code == 0
    assert "its log is not the one that proved it" in ended.out
    assert runner.starts() == 2


def test_a_log_that_was_only_touched_or_removed_does_not(runner: SweepRunner) -> None:
    runner.write({"a": "ok", "b": "ok"})
    assert runner.run().code == 0
    os.utime(runner.paths.log("a"))
    runner.paths.log("b").unlink()
    assert runner.run().code == 0
    assert runner.starts() == 2


def test_a_done_that_was_removed_means_run_it_again(runner: SweepRunner) -> None:
    runner.write({"a": "ok", "b": "ok"})
    assert runner.run().code == 0
    runner.paths.done("a").unlink()
    assert runner.states() == {"a": "waiting", "b": "completed"}
    assert runner.run().code == 0
    assert (runner.starts("a"), runner.starts("b")) == (2, 1)


# --- the plan ------------------------------------------------------------------------------------


def test_a_dry_run_prints_the_plan_and_writes_nothing(runner: SweepRunner) -> None:
    runner.write({"a": "ok", "b": "ok"}, worker={"args": {"num_samples": 5}})
    ended = runner.run(runner.file, "--dry-run")
    assert ended.code == 0
    assert ended.out.count("--num-samples 5") == 2
    assert "  a [waiting] " in ended.out
    assert list(runner.root.iterdir()) == []
    assert runner.starts() == 0


# --- what reaches a worker -----------------------------------------------------------------------

SHOW = """
import json, os, sys
spec = json.load(open(os.environ["SWEEP_SPEC"]))
json.loads(sys.argv[1])
print(json.dumps([sys.argv[1:], os.environ["CACHE"], os.environ["FAST"], os.environ["PATH"], spec]))
print("Successfully completed")
"""


def test_what_is_written_reaches_the_worker(runner: SweepRunner) -> None:
    (runner.folder / "show.py").write_text(SHOW)
    nested = '{"unet": {"dropout": {"rate": 0.1}}}'
    content = {
        "worker": {
            "command": ["python", "show.py", nested, "{{.State}}", "{lr}"],
            "args": {"out": "runs/{task}"},
            "env": {"CACHE": "~/cache", "FAST": True, "PATH": "/opt/cuda/bin:$PATH"},
        },
    }
    runner.write_text(f"matrix: {{lr: [-1e-4]}}\n{yaml.safe_dump(content)}")
    ended = runner.run(HOME="/home/of/another")
    assert ended.code == 0, ended.err
    words, cache, fast, path, spec = json.loads(runner.log("-1e-4").splitlines()[0])
    assert words == [nested, "{{.State}}", "-1e-4", "--out", "runs/-1e-4"]
    assert (cache, fast) == ("/home/of/another/cache", "true")
    assert path == f"/opt/cuda/bin:{runner.environment['PATH']}"
    assert spec["matrix"] == {"lr": -0.0001}
    assert spec["args"] == {"out": "runs/-1e-4"}
    assert runner.run("tail", runner.file, "-1e-4", "-n", "1").out == "Successfully completed\n"


def test_an_environment_variable_that_is_not_set(runner: SweepRunner) -> None:
    runner.write({"a": "ok"}, worker={"env": {"PATH": "$NOT_SET_HERE/bin:$PATH"}})
    ended = runner.run()
    assert ended.code == 2
    assert "worker.env: $NOT_SET_HERE is not set here; set it, or write $$NOT_SET_HERE" in ended.err
    assert runner.run("status", runner.file).code == 0


def test_a_program_that_the_sweep_s_own_path_does_not_have(runner: SweepRunner) -> None:
    runner.write_text("matrix: {x: [1]}\nworker: {command: [bash], env: {PATH: /nowhere}}\n")
    assert "no program 'bash' on the PATH of worker.env (/nowhere)" in runner.run().err


@pytest.mark.parametrize(("display", "kind"), [(140, "out of memory"), (20, "failed")])
def test_a_full_gpu_explains_what_its_libraries_do_not_say(
    runner: SweepRunner, fake_nvml: FakeNvml, display: int, kind: str
) -> None:
    fake_nvml.gpus(1, displays={os.getpid(): display * GIB})
    error = "RuntimeError: cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"
    runner.write(
        {"a": [f"print {error}; exit 1", "ok"]},
        devices={"idle_for": "0s", "min_free_memory": "1MiB"},
        worker={"args": {"batch_size": 8}},
        retries={"on_oom": {"batch_size": "halve"}},
    )
    ended = runner.run(**fake_nvml.environment({}), SCHEDULER_LEASES=str(runner.folder / "leases"))
    assert ended.code == 0, ended.out
    first = runner.done("a")["attempts"][0]
    assert (first["verdict"], error in first["cause"]) == (kind, True)
    sizes = [start["argv"][-1] for start in runner.logged("start")]
    assert sizes == (["8", "4"] if kind == "out of memory" else ["8", "8"])


# --- in this process -----------------------------------------------------------------------------


def test_where_no_thread_can_be_started_a_sentence_says_so(
    runner: SweepRunner, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    code = main([str(runner.write({"a": "ok"})), "--root", str(runner.root)])
    assert code == 2
    assert capsys.readouterr().err.startswith("no thread can be started: too many processes")


def test_a_defect_leaves_the_executor_closed(
    runner: SweepRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise ImpossibleEventError(Activity("a", 0.0), None)

    closed: list[bool] = []
    monkeypatch.setattr(Dispatcher, "_turn", fail)
    monkeypatch.setattr(LocalExecutor, "close", lambda _: closed.append(True))
    with pytest.raises(ImpossibleEventError):
        main([str(runner.write({"a": "ok"})), "--root", str(runner.root)])
    assert closed == [True]


def test_what_the_worker_keeps_of_tasks_that_start_anew_is_said(runner: SweepRunner) -> None:
    """By ours, and by any that answers the question; where it cannot, what has changed is named."""
    answers = runner.folder / "check.py"
    answers.write_text(
        "import json, sys\n"
        "asked = json.load(sys.stdin)\n"
        "kept = {task: [7, 9] for task in asked.get('results', {})}\n"
        "print(json.dumps({'problems': [], **({'kept': kept} if kept else {})}))\n"
    )
    worker = {"check": ["python", str(answers)], "reuses_results": True}
    runner.write({"a": 'results {"n": 1}; ok', "b": "ok"}, worker=worker, search={"max_loss": 0.05})
    runner.run()
    runner.write({"a": 'results {"n": 1}; ok', "b": "ok"}, worker=worker, search={"max_loss": 0.01})
    changed = "search.max_loss: 0.05 → 0.01"
    said = f"{changed}; 7 of 9 measurements are kept"
    waits = {task["task"]: task["waits"] for task in runner.status()["tasks"]}
    assert waits["a"].endswith(said)
    assert waits["b"].endswith(changed)  # it has no results
    assert (
        f"a: its checkpoint does not hold: the sweep file has changed: {said}"
        in runner.run(runner.file, "--dry-run").out
    )
    assert said in runner.run().out
