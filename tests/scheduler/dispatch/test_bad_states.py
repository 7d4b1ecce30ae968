"""Files cut off or overwritten at every byte, or that hold any value: no traceback, no proof made up.

What is damaged here was written by a real sweep; what reads it is what dispatcher and `status` read it with.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scheduler.cli.main import main
from scheduler.cli.status import as_json
from scheduler.config.loader import read_sweep
from scheduler.config.sweep import Sweep, Task
from scheduler.core.states import State
from scheduler.core.verdict import Kind
from scheduler.dispatch.clock import Clock
from scheduler.dispatch.judgement import Judgement, checkpoint_content, judge_attempt
from scheduler.dispatch.recovery import recover
from scheduler.dispatch.repairs import set_right
from scheduler.dispatch.standings import Done, Recovered, Waiting
from scheduler.executors.local.handles import AdoptedSupervisor
from scheduler.storage.atomic import Draft, as_lines
from scheduler.storage.attempts_file import read_attempts
from scheduler.storage.logs import last_summary
from scheduler.storage.paths import SweepPaths
from scheduler.views.from_files import progress_from_files
from scheduler.views.screen.picture import Picture
from scheduler.views.tables import closing
from tests.helpers.sweep_runner import PATIENCE, SweepRunner
from tests.helpers.waiting import readable

OVERWRITES = b'0e-"{}[\n\\\0\xff '  # what turns JSON into other JSON, or into none


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SweepRunner:
    """A sweep with a completed and a failed task, and one that is completed but has no checkpoint yet."""
    folder = tmp_path_factory.mktemp("sample")
    (folder / "libnvidia-ml.so.1").touch()
    runner = SweepRunner(folder, {"LD_LIBRARY_PATH": str(folder)})
    summary = json.dumps({"summary": {"speedup": 2.5, "loss": 0.01}})
    script = {
        "a": f'results {{"role": "baseline"}}; results {summary}; ok',
        "b": ["exit 1", "exit 2"],
        "c": ["exit 1", "gate; ok"],
    }
    runner.write(script, devices={"cpu_slots": 1})
    running = runner.start()
    gate = runner.reach_gate("c")
    running.wait_for("b: failed for good")  # the one at the gate is started before b is judged
    running.kill()
    supervisor = os.pidfd_open(runner.attempt("c")["supervisor"])
    gate()
    assert readable(supervisor, PATIENCE)  # it ends a little after the attempt
    os.close(supervisor)
    return runner


# Values as text that nobody of us writes: too large for an int, a float or a time; none; too deep.
STRANGE = [
    *(
        "1" + "0" * 400,
        "-1" + "0" * 400,
        "9" * 5000,
        "1e400",
        "-1e308",
        "1e99",
        "31556889864403199",
        "-1",
    ),
    *(
        "NaN",
        "-Infinity",
        "true",
        "null",
        "[]",
        "{}",
        '""',
        '"\\ud800"',
        '"inf"',
        '"1e308"',
        '"x\\u001b[2Jy"',
    ),
    *(
        "[" * 90 + "]" * 90,
        "[" * 5000 + "]" * 5000,
        '{"a":' * 900 + "1" + "}" * 900,
        '"' + "x" * 70_000 + '"',
    ),
    *(
        '{"speedup": 1, "speedup": 1' + "0" * 400 + "}",
        '[{"pid": 1e999}]',
        '{"sha256": 1, "size": true}',
    ),
]
assert len(STRANGE) == len(set(STRANGE))


def strict(data: bytes) -> Any:
    """Return what JSON's text stands for, of which NaN and Infinity are no part."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(data, parse_constant=refuse)


def places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each value in JSON, its own first."""
    yield path
    if isinstance(content, dict | list):
        pairs = content.items() if isinstance(content, dict) else enumerate(content)
        for key, value in pairs:
            yield from places(value, (*path, key))


def with_strange(content: Any, path: tuple[Any, ...], strange: str) -> str:
    """Return JSON's text of which the value at a path is another."""
    mark = "the value that is not ours"
    copy = json.loads(json.dumps(content))
    if not path:
        return strange
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = mark
    return json.dumps(copy).replace(json.dumps(mark), strange)


class Case:
    """A copy of the sample's files, of which one is damaged again and again."""

    def __init__(self, sample: SweepRunner, folder: Path) -> None:
        shutil.copytree(sample.root, folder / "root")
        self.file = sample.file
        self.sweep: Sweep = read_sweep(sample.file)
        self.paths = SweepPaths(folder / "root", "runner")
        self.clock = Clock()
        self.shown = 0

    def say(self, *words: str) -> bytes:
        """Run a command in this process; return what it prints."""
        out = io.TextIOWrapper(io.BytesIO(), "utf-8")
        place = [str(self.file), "--root", str(self.paths.checkpoints.parents[1])]
        with contextlib.redirect_stdout(out):
            code = main([*words[:1], place[0], *words[1:], *place[1:]])
        assert code == 0, words
        out.flush()
        return out.buffer.getvalue()  # type: ignore[attr-defined]

    def task(self, name: str) -> Task:
        return next(task for task in self.sweep.tasks if task.id == name)

    def damages(self, path: Path) -> Iterator[bytes]:
        """Cut the file off at every byte, then overwrite every byte; yield what it holds each time."""
        whole = path.read_bytes()
        assert len(whole) > 20
        descriptor = os.open(path, os.O_WRONLY)  # opened once: truncation by open() waits for disks
        for offset in range(len(whole)):
            byte = OVERWRITES[offset % len(OVERWRITES)]
            damaged = [whole[:offset], whole[:offset] + bytes([byte]) + whole[offset + 1 :]]
            if offset % 16 == 0:  # as some file systems end after a power cut
                damaged.append(whole[:offset] + b"\0" * (len(whole) - offset))
            for content in damaged:
                os.pwrite(descriptor, content, 0)
                os.ftruncate(descriptor, len(content))
                yield content
        os.pwrite(descriptor, whole, 0)
        os.close(descriptor)

    def recover(self) -> Recovered:
        found = recover(self.sweep, self.paths, self.clock)
        assert list(found.standings) == ["a", "b", "c"]
        return found

    def checkpoint(self, judgement: Judgement, path: Path) -> None:
        """Write the checkpoint of the task "c"."""
        task = self.sweep.tasks[2]
        content = checkpoint_content(task, self.sweep, self.paths, judgement, "why")
        draft = Draft(path, as_lines(content))
        draft.sync()
        draft.publish()

    def states(self) -> dict[str, State]:
        return {
            task.task: task.state for task in self.recover().initial_tasks(self.clock, self.sweep)
        }

    def set_right(self) -> Recovered:
        return set_right(recover(self.sweep, self.paths, self.clock), self.sweep, self.paths)

    def state(self, task: str) -> State:
        return self.states()[task]

    def show(self, every: int = 1) -> dict[str, str]:
        """Draw all that `status` draws, each so many times; return what it says of each task."""
        self.shown += 1
        if self.shown % every:
            return {}
        progress = progress_from_files(self.sweep, self.paths)
        picture = Picture(self.sweep, self.paths)
        picture.draw(progress, 2e9, 80, 24)
        list(closing(progress, self.paths, 2e9))
        status = as_json("runner", self.paths, progress, 2e9, picture)
        json.dumps(status, allow_nan=False)
        return {task["task"]: task["state"] for task in status["tasks"]}


@pytest.fixture
def case(sample: SweepRunner, tmp_path: Path) -> Case:
    return Case(sample, tmp_path)


def test_the_sample(case: Case) -> None:
    assert case.states() == {"a": State.DONE, "b": State.FAILED, "c": State.RUNNING}
    assert judge_attempt(case.task("c"), case.paths, case.sweep).verdict.completed


def test_a_damaged_done_counts_only_if_it_still_says_what_it_must(case: Case) -> None:
    whole = json.loads(case.paths.done("a").read_bytes())
    for content in case.damages(case.paths.done("a")):
        if case.state("a") is State.DONE:
            read = json.loads(content)
            assert read["digest"] == whole["digest"]
            assert isinstance(read["log"], dict)
        case.show(every=8)


def test_a_damaged_done_is_proved_again_by_journal_and_log(case: Case) -> None:
    """The damage is mended where it is noticed, so every byte begins with the whole file."""
    path = case.paths.done("a")
    whole = path.read_bytes()
    for offset in range(0, len(whole), 7):
        for content in (whole[:offset], whole[:offset] + b"#" + whole[offset + 1 :]):
            path.write_bytes(content)
            found = case.set_right()
            assert found.standings["a"] == Done(), content
            assert not found.rejected
    path.write_bytes(whole[:100])
    log = case.paths.log("a")
    log.write_bytes(log.read_bytes() + b"one line more\n")
    standing = case.set_right().standings["a"]
    assert isinstance(standing, Waiting), "a changed log proves nothing"
    assert [rejected.path.name for rejected in standing.rejected] == ["a.done"]


def test_a_damaged_done_loses_nothing_while_the_attempt_s_own_record_is_there(
    case: Case, sample: SweepRunner
) -> None:
    """As after a crash between checkpoint and tidying up: log and record prove the completion again."""
    judgement = judge_attempt(case.task("c"), case.paths, case.sweep)
    case.checkpoint(judgement, case.paths.done("c"))
    assert case.state("c") is State.DONE
    for _ in case.damages(case.paths.done("c")):
        state = case.state("c")
        assert state in (State.DONE, State.RUNNING)
        if state is State.RUNNING:  # to be judged, not to be run
            assert judge_attempt(case.task("c"), case.paths, case.sweep).verdict.completed


def test_a_damaged_failed(case: Case) -> None:
    for _ in case.damages(case.paths.failed("b")):
        assert case.state("b") in (State.FAILED, State.WAITING)
        case.show(every=8)


def test_a_damaged_attempts_file(case: Case) -> None:
    turn = 0
    whole = [attempt.ended for attempt in read_attempts(case.paths.attempts("c"))]
    for _ in case.damages(case.paths.attempts("c")):
        found = case.recover()
        assert case.state("c") in (State.WAITING, State.RUNNING)
        for record in found.open_attempts.values():
            supervisor = AdoptedSupervisor.find(record)
            assert supervisor is None
            judgement = judge_attempt(case.task("c"), case.paths, case.sweep)
            if judgement.verdict.completed:  # never without a record of the exit
                ended = judgement.attempts[-1].ended
                assert ended is not None
                assert ended.code == 0
            elif judgement.attempts and judgement.attempts[-1].ended is None:
                assert judgement.verdict.kind in (Kind.LOST, Kind.FAILED)
            turn += 1
            if turn % 16 == 0:  # it waits for the disk
                case.checkpoint(judgement, case.paths.failed("c"))
                case.paths.failed("c").unlink()
    assert [a.ended for a in read_attempts(case.paths.attempts("c"))] == whole


def test_a_damaged_journal_changes_nothing_that_counts(case: Case) -> None:
    journal = case.paths.journal
    lines = journal.read_bytes().splitlines(keepends=True)
    kinds: dict[str, bytes] = {}
    for line in lines:
        kinds.setdefault(json.loads(line)["event"], line)
    journal.write_bytes(b"".join(kinds.values()))  # one of each kind
    for _ in case.damages(journal):
        said = case.show()
        assert (said["a"], said["b"]) == ("completed", "failed")
        assert said["c"] in ("waiting", "being judged")


def test_a_damaged_results_file(case: Case) -> None:
    for content in case.damages(case.paths.results("a")):
        summary = last_summary(case.paths.results("a"))
        assert summary == json.loads(content.splitlines()[-1])["summary"] if summary else True
        assert case.state("a") is State.DONE


@pytest.mark.parametrize("time", ["1e48", "-1e48", "1e999", "null", '"noon"', "[]", "true", "NaN"])
def test_times_that_are_none(case: Case, time: str) -> None:
    """What an overwritten digit can make of a time, and worse."""
    start = f'{{"attempt": 1, "device": "cpu:0", "digest": "x", "started": {time}, "start_ticks": {time}'
    start += f', "supervisor": {time}, "boot": {time}, "monotonic": {time}, "halvings": {time}}}\n'
    end = f'{{"ended": {time}, "code": 0}}\n'
    for lines in (start, start + end):
        case.paths.attempts("c").write_text(lines)
        assert case.state("c") is State.RUNNING
        judgement = judge_attempt(case.task("c"), case.paths, case.sweep)
        case.checkpoint(judgement, case.paths.failed("c"))
        case.show()
        case.paths.failed("c").unlink()
    lines = case.paths.journal.read_text().splitlines()
    whens = ("at", "started", "ended", "seconds", "not_before", "until", "attempt")
    strange = [
        json.dumps({**json.loads(line), **dict.fromkeys(whens, "TIME")}).replace('"TIME"', time)
        for line in lines
    ]
    case.paths.journal.write_text("\n".join(lines + strange + lines))
    case.show()


@pytest.mark.parametrize("suffix", ["done", "failed", "attempts"])
def test_a_folder_or_a_loop_where_a_file_should_be(case: Case, suffix: str) -> None:
    path: Path = getattr(case.paths, suffix)("a")
    for make in (path.mkdir, lambda: path.symlink_to(path.name)):
        path.unlink(missing_ok=True)
        make()
        case.recover()
        case.show()
        if path.is_dir():
            path.rmdir()


def test_a_damaged_checkpoint_is_set_aside_when_its_task_starts(runner: SweepRunner) -> None:
    runner.write({"a": "ok"})
    runner.run()
    for _ in range(2):
        runner.paths.journal.unlink()  # or it would prove the completion again
        runner.paths.done("a").write_text("damaged")
        assert (
            "a: its checkpoint does not hold: it is damaged; kept as a.done.aside"
            in runner.run().out
        )
    kept = sorted(path.name for path in runner.paths.checkpoints.glob("a.done*"))
    assert kept == ["a.done", "a.done.aside", "a.done.aside.2"]


def everything_is_said(case: Case) -> None:
    """Look at the sweep in every way there is, and judge what there is to judge."""
    status = strict(case.say("status", "--json"))
    assert [task["task"] for task in status["tasks"]] == ["a", "b", "c"]
    times = [task["seconds"] for task in status["tasks"] if task["seconds"] is not None]
    assert all(math.isfinite(seconds) for seconds in times)
    assert b"c" in case.say("status")
    assert b"nothing was started" in case.say("run", "--dry-run")
    found = case.recover()
    found.initial_tasks(case.clock, case.sweep)
    for task, record in found.open_attempts.items():
        assert AdoptedSupervisor.find(record) is None
        judgement = judge_attempt(case.task(task), case.paths, case.sweep)
        strict(
            json.dumps(
                checkpoint_content(case.task(task), case.sweep, case.paths, judgement, "")
            ).encode()
        )


FILES = ("done", "failed", "attempts", "journal", "results")


@pytest.mark.parametrize("name", FILES)
@settings(
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_no_value_of_any_kind_or_size_ends_a_command(
    case: Case, name: str, data: st.DataObject
) -> None:
    files = {
        "done": case.paths.done("a"),
        "failed": case.paths.failed("b"),
        "attempts": case.paths.attempts("c"),
        "journal": case.paths.journal,
        "results": case.paths.results("a"),
    }
    path = files[name]
    whole = path.read_bytes()
    lines = [json.loads(line) for line in whole.splitlines()]
    number = data.draw(st.integers(0, len(lines) - 1), label="line")
    where = data.draw(st.sampled_from(list(places(lines[number]))), label="where")
    strange = data.draw(st.sampled_from(STRANGE), label="value")
    texts = [json.dumps(line) for line in lines]
    texts[number] = with_strange(lines[number], where, strange)
    path.write_text("\n".join(texts) + "\n")
    try:
        everything_is_said(case)
    finally:
        path.write_bytes(whole)
        for file in case.paths.checkpoints.glob("c.attempts"):
            file.write_bytes(whole if name == "attempts" else file.read_bytes())


def test_a_summary_of_any_value_completes_its_task(runner: SweepRunner) -> None:
    """Nor does it end the dispatcher, which prints the figures, or a later look."""
    script = {
        f"t{number}-{key}": f'results {{"summary": {{"{key}": {value}, "passed": true}}}}; ok'
        for number, value in enumerate(STRANGE)
        for key in ("speedup", "achievement")
        if len(value) < 60_000
    }
    runner.write(script)
    for _ in range(2):
        ended = runner.run()
        assert ended.code == 0, ended.out + ended.err
    assert set(runner.states().values()) == {"completed"}
    assert strict(runner.run("status", runner.file, "--json").out.encode())
    for task in script:
        strict(runner.paths.done(task).read_bytes())


def test_an_attempts_file_of_any_value_does_not_end_the_dispatcher(runner: SweepRunner) -> None:
    """Each task was tried before, says a file in which all but what makes it count is strange."""
    values = [value for value in STRANGE if len(value) < 60_000]
    runner.write(
        {f"t{number}": "ok" for number, _ in enumerate(values)}, retries={"max_attempts": 9}
    )
    sweep = read_sweep(runner.file)
    runner.paths.make_folders()
    fields = ("token", "halvings", "overrides", "free_memory", "supervisor", "start_ticks", "boot")
    times = ("monotonic", "started")
    for task, value in zip(sweep.tasks, values, strict=True):
        known = {"attempt": 1, "device": "cpu:0", "digest": sweep.digest(task)}
        start = json.dumps(known | dict.fromkeys((*fields, *times), "STRANGE"))
        end = json.dumps(
            dict.fromkeys(("ended", "code", "signal", "leftovers", "errno"), "STRANGE")
        )
        verdict = json.dumps({"verdict": "failed", "attempt": 1, "cause": "STRANGE"})
        others = json.dumps(dict.fromkeys(("foreign", "hidden_memory"), "STRANGE"))
        stop = json.dumps(dict.fromkeys(("stop", "cause"), "STRANGE"))
        lines = [start, others, end, verdict, start.replace(": 1,", ": 2,", 1), stop, end]
        text = "\n".join(lines).replace('"STRANGE"', value) + "\n"
        runner.paths.attempts(task.id).write_text(text)
    ended = runner.run()
    assert ended.code == 0, ended.out + ended.err
    assert set(runner.states().values()) == {"completed"}
