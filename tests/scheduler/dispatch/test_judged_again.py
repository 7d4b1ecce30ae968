"""A changed ``validate`` section judges what was judged before once more, by the kept log and exit."""

from __future__ import annotations

import json
import signal

import pytest

from tests.helpers.sweep_runner import SweepRunner

LINE = "print loss nan; print Done.; exit 0"
BY_DONE = {"success": "Done."}
BY_DONE_WITHOUT_NAN = {"success": "Done.", "failure": ["nan"]}


def test_failed_becomes_completed_and_failed_again(runner: SweepRunner) -> None:
    runner.write({"a": LINE})
    assert runner.run().code == 1
    assert runner.starts() == 3
    runner.write({"a": LINE}, validate=BY_DONE)
    changed = "a: judged again by the kept log, because .*validate.success: .* → Done.: completed"
    plan = runner.run(runner.file, "--dry-run").out
    assert "a [completed]" in plan
    assert runner.states() == {"a": "completed"}
    running = runner.start()
    running.wait_for(changed)
    ended = running.end()
    assert ended.code == 0
    assert "1 of 1 completed" in ended.out
    done = runner.done("a")
    assert (done["verdict"], done["exit_code"], len(done["attempts"])) == ("completed", 0, 3)
    assert "judged again" not in runner.run().out
    runner.write({"a": LINE}, validate=BY_DONE_WITHOUT_NAN)
    assert runner.states() == {"a": "failed"}  # out of attempts
    for said in (runner.run(runner.file, "--dry-run").out, runner.status()["tasks"][0]["cause"]):
        assert "validate has changed: validate.failure" in said
        assert "exit code 0, but the log holds 'nan': loss nan" in said
    assert runner.run().code == 1
    assert "exit code 0, but the log holds 'nan'" in runner.failed("a")["cause"]
    assert runner.starts() == 3


def test_completed_becomes_failed_and_is_tried_as_failures_are(runner: SweepRunner) -> None:
    script = {"a": [LINE, "print Done.; exit 0"]}
    runner.write(script, validate=BY_DONE)
    assert runner.run().code == 0
    runner.write(script, validate=BY_DONE_WITHOUT_NAN)
    assert runner.states() == {"a": "waiting"}
    assert (
        "holds 'nan': loss nan; tried again, as any failure"
        in runner.run("--dry-run", runner.file).out
    )
    ended = runner.run()
    assert "a: attempt 1 on cpu:0: failed: exit code 0, but the log holds 'nan'" in ended.out
    assert "a: attempt 2 started" in ended.out
    assert ended.code == 0
    assert [attempt["attempt"] for attempt in runner.done("a")["attempts"]] == [1, 2]
    # The first completion counts under the rules that made it.
    runner.write(script, validate=BY_DONE)
    assert runner.run().code == 0
    assert runner.starts() == 2


def test_a_task_between_two_attempts_is_judged_again(runner: SweepRunner) -> None:
    runner.write({"a": LINE}, retries={"backoff": "1h"})
    running = runner.start()
    running.wait_for("will be tried again")
    running.send(signal.SIGTERM)
    running.end()
    runner.write({"a": LINE}, validate=BY_DONE, retries={"backoff": "1h"})
    assert "a [completed]" in runner.run(runner.file, "--dry-run").out
    assert runner.states() == {"a": "completed"}
    assert runner.run().code == 0
    assert runner.starts() == 1


@pytest.mark.parametrize("became", ["gone", "another's"])
def test_without_the_log_the_verdict_stays_and_it_is_said(runner: SweepRunner, became: str) -> None:
    runner.write({"a": LINE})
    runner.run()
    log = runner.paths.log("a")
    log.unlink() if became == "gone" else log.write_text("Done.\n")
    runner.write({"a": LINE}, validate=BY_DONE)
    for said in (runner.run(runner.file, "--dry-run").out, runner.run().out):
        assert "the log is gone, so it stays failed" in said
    assert runner.states() == {"a": "failed"}
    assert runner.starts() == 3


def test_what_comes_to_the_same_is_only_recorded(runner: SweepRunner) -> None:
    runner.write({"a": "ok", "b": "exit 2"})
    runner.run()
    before = runner.done("a")
    runner.write({"a": "ok", "b": "exit 2"}, validate={"failure": ["nan"]})
    assert runner.states() == {"a": "completed", "b": "failed"}
    said = runner.run().out
    assert "a: judged again by the kept log" in said
    assert "still completed" in said
    assert "still failed" in said
    after = runner.done("a")
    assert after != before
    assert after | {"settings": before["settings"]} == before
    assert "judged again" not in runner.run().out
    assert runner.starts() == 2


def test_an_earlier_version_s_checkpoint_keeps_its_verdict(runner: SweepRunner) -> None:
    runner.write({"a": LINE}, validate=BY_DONE)
    runner.run()
    done = runner.done("a")
    del done["settings"]
    runner.paths.done("a").write_text(json.dumps(done))
    runner.write({"a": LINE}, validate=BY_DONE_WITHOUT_NAN)
    assert runner.run().code == 0
    assert runner.starts() == 1
