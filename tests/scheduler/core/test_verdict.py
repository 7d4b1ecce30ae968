"""What an exit and a log say of an attempt."""

from __future__ import annotations

from pathlib import Path

import pytest

from scheduler.config.sweep import Rules
from scheduler.core.verdict import (
    STAGE_DONE_LINE,
    SWEEP_CHANGED,
    Evidence,
    Exit,
    Kind,
    LogScan,
    NotStarted,
    Verdict,
    decide,
    judge,
)
from scheduler.storage.logs import read_log

SUCCESS = "Successfully completed"
TRACEBACK = 'Traceback (most recent call last):\n  File "x.py", line 1, in <module>\n    f()\n'
CUDA_OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."


def verdict(log: str, code: int | None = 0, signal: int | None = None, **more: bool) -> Verdict:
    return judge(Exit(code, signal, **more), LogScan(Rules()).feed(log.split("\n")))


@pytest.mark.parametrize(
    ("log", "code", "kind", "cause"),
    [
        # completed needs all three: exit code 0, the success line, no failure pattern
        (f"hello\n{SUCCESS}", 0, Kind.COMPLETED, "exit code 0, success line found"),
        (f"{SUCCESS}\nsome words at exit", 0, Kind.COMPLETED, ""),
        (f"[12:00] {SUCCESS}!", 0, Kind.COMPLETED, ""),
        ("hello", 0, Kind.NO_SUCCESS_LINE, "no success line; last line: hello"),
        ("", 0, Kind.NO_SUCCESS_LINE, "no success line; the log is empty"),
        ("successfully completed", 0, Kind.NO_SUCCESS_LINE, ""),
        (SUCCESS, 1, Kind.FAILED, "exit code 1: Successfully completed"),
        (f"RuntimeError: x\n{SUCCESS}", 0, Kind.FAILED, "holds 'RuntimeError': RuntimeError: x"),
        (f"{CUDA_OOM}\n{SUCCESS}", 0, Kind.OUT_OF_MEMORY, CUDA_OOM),
        # out of memory in its many words, whatever the exit code
        (CUDA_OOM, 0, Kind.OUT_OF_MEMORY, CUDA_OOM),
        (f"{TRACEBACK}{CUDA_OOM}", 1, Kind.OUT_OF_MEMORY, CUDA_OOM),
        ("RuntimeError: CUDA error: out of memory", 1, Kind.OUT_OF_MEMORY, ""),
        ("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate", 1, Kind.OUT_OF_MEMORY, ""),
        (f"{TRACEBACK}MemoryError", 1, Kind.OUT_OF_MEMORY, ""),
        ("DefaultCPUAllocator: can't allocate memory: you tried", 1, Kind.OUT_OF_MEMORY, ""),
        # wrong code: a retry cannot help
        (f"{TRACEBACK}ModuleNotFoundError: No module named 'x'", 1, Kind.WRONG_CODE, "ModuleNot"),
        (f"{TRACEBACK}ImportError: cannot import name", 1, Kind.WRONG_CODE, "ImportError: cannot"),
        ('  File "x.py", line 1\n    x x\nSyntaxError: invalid syntax', 1, Kind.WRONG_CODE, ""),
        ("usage: x\nx: error: no such option", 2, Kind.WRONG_CODE, "exit code 2: x: error: no such"),
        ("", 2, Kind.WRONG_CODE, "exit code 2: no output"),
        ("python: can't open file 'x.py'", 2, Kind.WRONG_CODE, ""),
        # try again later
        ("busy", 75, Kind.TRY_LATER, "exit code 75: busy"),
        (f"{TRACEBACK}requests.exceptions.ConnectionError: no route", 1, Kind.TRY_LATER, ""),
        (f"{TRACEBACK}httpx.ConnectTimeout: timed out", 1, Kind.TRY_LATER, ""),
        ("Temporary failure in name resolution", 1, Kind.TRY_LATER, ""),
        # disk and device
        (f"{TRACEBACK}OSError: [Errno 28] No space left on device", 1, Kind.DISK_FULL, "OSError:"),
        ("cp: error: Disk quota exceeded", 1, Kind.DISK_FULL, ""),
        ("RuntimeError: CUDA error: uncorrectable ECC error", 1, Kind.DEVICE_ERROR, ""),
        ("NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus", 1, Kind.DEVICE_ERROR, ""),
        # what the program got over does not explain its end
        (f"ConnectionError: retrying\n{TRACEBACK}ValueError: y", 1, Kind.FAILED, "ValueError: y"),
        (f"ImportError: no xformers\n{TRACEBACK}ValueError: y", 1, Kind.FAILED, "ValueError: y"),
        ("ConnectionError: retrying\nhello", 0, Kind.NO_SUCCESS_LINE, "hello"),
        (f"No space left on device\n{SUCCESS}", 0, Kind.COMPLETED, ""),
        # the exception that ended it knows best; the last traceback counts
        (f"{TRACEBACK}KeyError: 'a'\n\nDuring\n\n{TRACEBACK}x.MyError: b", 1, Kind.FAILED, "x.MyError: b"),
        (f"{TRACEBACK}ConnectionError: b\nbye", 1, Kind.TRY_LATER, "ConnectionError: b"),
        (f"{TRACEBACK}torch.cuda.Trouble", 1, Kind.FAILED, "exit code 1: torch.cuda.Trouble"),
        (f"{TRACEBACK}AssertionError", 1, Kind.FAILED, "exit code 1: AssertionError"),
    ],
)  # fmt: skip
def test_exit_and_log(log: str, code: int, kind: Kind, cause: str) -> None:
    found = verdict(log, code)
    assert found.kind is kind
    assert cause in found.cause


@pytest.mark.parametrize(
    ("log", "signal", "oom_killed", "kind", "cause"),
    [
        (SUCCESS, 9, False, Kind.SIGNALLED, "killed by SIGKILL"),
        ("", 11, False, Kind.SIGNALLED, "killed by SIGSEGV"),
        ("", 35, False, Kind.SIGNALLED, "killed by signal 35"),
        ("", 9, True, Kind.KILLED_BY_KERNEL, "the machine ran out of memory"),
        ("", 15, True, Kind.SIGNALLED, "killed by SIGTERM"),
        (CUDA_OOM, 6, False, Kind.OUT_OF_MEMORY, "(then SIGABRT)"),
        ("No space left on device", 7, False, Kind.DISK_FULL, "(then SIGBUS)"),
        ("ConnectionError: x", 9, False, Kind.SIGNALLED, "killed by SIGKILL"),
    ],
)
def test_signals(log: str, signal: int, oom_killed: bool, kind: Kind, cause: str) -> None:
    found = verdict(log, None, signal, oom_killed=oom_killed)
    assert found.kind is kind
    assert cause in found.cause


@pytest.mark.parametrize(
    ("log", "code", "kind", "cause"),
    [
        ("sh: line 1: 4711 Killed  python x.py", 137, Kind.SIGNALLED, "killed by SIGKILL"),
        (CUDA_OOM, 134, Kind.OUT_OF_MEMORY, "(then SIGABRT)"),
        (f"{TRACEBACK}ValueError: y", 129 + 64, Kind.FAILED, "ValueError: y"),
    ],
)
def test_signals_told_by_a_shell(log: str, code: int, kind: Kind, cause: str) -> None:
    found = verdict(log, code)
    assert found.kind is kind
    assert cause in found.cause
    assert verdict(log, 137, oom_killed=True).kind is Kind.KILLED_BY_KERNEL


def test_an_end_that_nobody_saw_is_lost_whatever_the_log_says() -> None:
    assert verdict(SUCCESS, None).kind is Kind.LOST


def test_an_attempt_that_was_stopped_keeps_the_reason_unless_it_completed() -> None:
    stop = Verdict(Kind.TIMEOUT, "too long")
    scan = LogScan(Rules()).feed([CUDA_OOM])
    assert judge(Exit(signal=15), scan, stop) == stop
    assert judge(Exit(code=3), scan, stop) == stop
    assert judge(Exit(), scan, stop) == stop
    assert judge(Exit(code=0), LogScan(Rules()).feed([SUCCESS]), stop).completed


def test_rules_of_one_s_own() -> None:
    rules = Rules("all (really) done.", ("oops", "a.b"))
    assert judge(Exit(0), LogScan(rules).feed(["RuntimeError", "all (really) done."])).completed
    assert not judge(Exit(0), LogScan(rules).feed(["all really done."])).completed
    assert judge(Exit(0), LogScan(rules).feed(["axb", "all (really) done."])).completed
    found = judge(Exit(0), LogScan(rules).feed(["whoops", "all (really) done."]))
    assert found == Verdict(Kind.FAILED, "exit code 0, but the log holds 'oops': whoops")


def test_a_pattern_counts_in_the_success_line_too() -> None:
    assert verdict(f"{SUCCESS} with RuntimeError").kind is Kind.FAILED


def test_a_cause_is_one_short_line() -> None:
    assert len(verdict(f"{TRACEBACK}ValueError: {'x' * 10_000}", 1).cause) <= 240
    assert "\n" not in verdict(f"{TRACEBACK}ValueError: a\nb", 1).cause


# --- logs as they are ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (f"1%|█\r50%|██\r100%|███\r{SUCCESS}\r\n".encode(), Kind.COMPLETED),
        (b"1%\r2%\r" + CUDA_OOM.encode() + b"\r3%\n", Kind.OUT_OF_MEMORY),
        (b"\xff\xfe\x00garbage\n" + SUCCESS.encode(), Kind.COMPLETED),
        (bytes(range(256)) * 100, Kind.NO_SUCCESS_LINE),
        (b"x" * 5_000_000 + SUCCESS.encode(), Kind.COMPLETED),
        (b"x" * (2**20 - 9) + SUCCESS.encode() + b"x" * 2**20, Kind.COMPLETED),
        (b"\n\n\n", Kind.NO_SUCCESS_LINE),
        (b"\x1b[32m" + SUCCESS.encode() + b"\x1b[0m\n", Kind.COMPLETED),
    ],
)  # fmt: skip
def test_logs_that_are_no_tidy_text(tmp_path: Path, content: bytes, kind: Kind) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(content)
    scan, facts = read_log(log, Rules())
    assert judge(Exit(0), scan).kind is kind
    assert facts is not None
    assert facts.size == len(content)


def test_a_cause_can_be_shown_on_a_terminal(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"\x1b[2J\x07evil\x00 \xff")
    scan, _ = read_log(log, Rules())
    assert judge(Exit(1), scan).cause.isprintable()


def test_a_log_that_is_not_there(tmp_path: Path) -> None:
    scan, facts = read_log(tmp_path / "none.log", Rules())
    assert facts is None
    assert judge(Exit(0), scan).kind is Kind.NO_SUCCESS_LINE


# --- the decision, from all that speaks for and against an attempt -------------------------------

GOOD, BAD = LogScan(Rules()).feed([SUCCESS]), LogScan(Rules()).feed(["ValueError: y"])
TIMEOUT, LOST = Verdict(Kind.TIMEOUT, "too long"), Verdict(Kind.LOST, "nobody saw it")
FULL = "/logs: No space left on device"


@pytest.mark.parametrize(
    ("evidence", "kind", "cause"),
    [
        (Evidence(Exit(0), GOOD), Kind.COMPLETED, "exit code 0"),
        # what was judged before stays, whatever the files say now
        (Evidence(Exit(0), GOOD, earlier=LOST), Kind.LOST, "nobody saw it"),
        (Evidence(Exit(0), GOOD, earlier=LOST, of_today=False), Kind.LOST, "nobody saw it"),
        # another sweep file's attempt is worth nothing, completed or not
        (Evidence(Exit(0), GOOD, of_today=False), Kind.STOPPED, SWEEP_CHANGED),
        (Evidence(NotStarted("no"), BAD, of_today=False), Kind.STOPPED, SWEEP_CHANGED),
        (Evidence(NotStarted("cannot start"), GOOD), Kind.NOT_STARTED, "cannot start"),
        (Evidence(NotStarted("cannot start", True), GOOD), Kind.WRONG_CODE, "cannot start"),
        # a stop gives its reason, unless the attempt completed before the signal came
        (Evidence(Exit(signal=15), GOOD, stop=TIMEOUT), Kind.TIMEOUT, "too long"),
        (Evidence(Exit(0), GOOD, stop=TIMEOUT), Kind.COMPLETED, "exit code 0"),
        # a full disk explains an end that is not explained otherwise
        (Evidence(Exit(1), BAD, disk_trouble=FULL), Kind.DISK_FULL, FULL),
        (Evidence(Exit(signal=7), BAD, disk_trouble=FULL), Kind.DISK_FULL, FULL),
        (Evidence(Exit(0), BAD, disk_trouble=FULL), Kind.DISK_FULL, FULL),
        (Evidence(Exit(0), GOOD, disk_trouble=FULL), Kind.COMPLETED, "exit code 0"),
        (Evidence(Exit(1), BAD, disk_trouble=FULL, took_room="its own"), Kind.TOO_MUCH_OUTPUT, "its own"),
        (Evidence(Exit(1), BAD, took_room="its own"), Kind.FAILED, "exit code 1"),
        (Evidence(Exit(1), BAD, stop=TIMEOUT, disk_trouble=FULL), Kind.TIMEOUT, "too long"),
        # without a log nothing is proved, and nothing disproved
        (Evidence(Exit(0), LogScan(Rules()), has_log=False), Kind.LOST, "its log"),
        (Evidence(Exit(3), LogScan(Rules()), has_log=False), Kind.FAILED, "exit code 3"),
    ],
)  # fmt: skip
def test_the_decision(evidence: Evidence, kind: Kind, cause: str) -> None:
    found = decide(evidence)
    assert found.kind is kind
    assert cause in found.cause


@pytest.mark.parametrize(
    ("code", "lines", "kind"),
    [
        (0, ["…", STAGE_DONE_LINE], Kind.STAGE_DONE),
        (0, ["…", STAGE_DONE_LINE, ""], Kind.STAGE_DONE),
        (0, [STAGE_DONE_LINE, "and more"], Kind.NO_SUCCESS_LINE),
        (0, [f"not {STAGE_DONE_LINE}"], Kind.NO_SUCCESS_LINE),
        (0, ["RuntimeError: one image", STAGE_DONE_LINE], Kind.FAILED),
        (1, [STAGE_DONE_LINE], Kind.FAILED),
        (0, ["Successfully completed", STAGE_DONE_LINE], Kind.COMPLETED),
    ],
)
def test_a_timed_stage_is_done_by_its_last_line(code: int, lines: list[str], kind: Kind) -> None:
    assert judge(Exit(code), LogScan(Rules()).feed(lines)).kind is kind
