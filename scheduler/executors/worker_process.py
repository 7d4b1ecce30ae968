"""The worker as a program: where it is found, its environment, the question before a start."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from scheduler.devices.model import Device
from scheduler.storage.json_files import as_number, parse_object

# The program that `python -m worker` means.
OWN_WORKER = Path(__file__).resolve().parents[2] / "worker" / "__main__.py"
# OpenBLAS and numexpr go by the first, too, as long as their own are not set.
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_ANSWERS = ("python", "-m", "worker", "answers")
TOKEN = "SWEEP_ATTEMPT"  # noqa: S105  # an attempt's own mark in the environment of its processes


@functools.lru_cache
def find_program(word: str, path: str | None) -> str | None:
    """Return the program that a command's first word means, or None; ``python`` is this interpreter."""
    return sys.executable if word == "python" else shutil.which(word, path=path)


def words_to_start(command: Sequence[str], path: str | None) -> list[str] | None:
    """Return the words by which a command is started, or None if there is no such program.

    ``python -m worker`` is the worker beside this package, by its file: by its name, a worker.py in the
    current folder would be taken for it.
    """
    program = find_program(command[0], path)
    if program is None:
        return None
    if tuple(command[:3]) == ("python", "-m", "worker") and OWN_WORKER.is_file():
        return [program, str(OWN_WORKER), *command[3:]]
    return [program, *command[1:]]


def worker_environment(
    devices: Sequence[Device],
    threads: int | None,
    own: Mapping[str, str],
    inherited: Mapping[str, str],
) -> dict[str, str]:
    """Return a worker's environment: what was inherited, then the sweep's, then the devices.

    The number of threads (None: none is set) gives way to what the sweep says of it. What was inherited gives
    way on CPU slots, whose times depend on it; elsewhere it may be somebody's wish.
    """
    environment = {**inherited, "PYTHONUNBUFFERED": "1"}
    gpus = [device.id for device in devices if device.kind != "cpu"]
    wishes = {**inherited, **own} if gpus else own
    if threads is not None and wishes.keys().isdisjoint(_THREADS):
        environment |= dict.fromkeys(_THREADS, str(threads))
    environment |= own
    environment |= {
        "CUDA_VISIBLE_DEVICES": ",".join(gpus),
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }
    return environment


class WorkerAnswer(NamedTuple):
    """What the worker says of the tasks of a sweep."""

    # What is wrong with them, each ``key: sentence``.
    problems: list[str]
    # Those that measure speed; None: it does not say.
    timed: frozenset[str] | None = None
    # Of these, those that can be measured in two stages, the timed one first.
    staged: frozenset[str] = frozenset()


def ask_worker(
    check: Sequence[str], question: Mapping[str, Any], environment: Mapping[str, str]
) -> WorkerAnswer:
    """Ask the worker what is wrong with the tasks, and which of them measure speed.

    Raises:
        WorkerCheckError: it did not answer as docs/protocol.md says.
    """
    done = _ask(check, question, environment)
    try:
        answer = parse_object(done.stdout.encode()) or {}
        problems = [f"{problem['key']}: {problem['message']}" for problem in answer["problems"]]
    except (KeyError, TypeError):
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise WorkerCheckError(
            f"{' '.join(check)} did not answer the question what is wrong with the tasks "
            f"(exit code {done.returncode}; it said: {said})"
        ) from None
    tasks = frozenset(task["id"] for task in question["tasks"])
    found: dict[str, frozenset[str] | None] = {}
    for name, which in (("timed", "measure speed"), ("staged", "have two stages")):
        ids = answer.get(name)
        if ids is not None and not (
            isinstance(ids, list) and all(isinstance(t, str) and t in tasks for t in ids)
        ):
            raise WorkerCheckError(
                f"{' '.join(check)} did not say which tasks {which}: {name} is to be a list of "
                "ids of tasks"
            )
        found[name] = None if ids is None else frozenset(ids)
    return WorkerAnswer(problems, found["timed"], found["staged"] or frozenset())


def ask_what_is_kept(
    check: Sequence[str], question: Mapping[str, Any], environment: Mapping[str, str]
) -> dict[str, tuple[int, int]]:
    """Ask the worker how many measurements of tasks are kept, and of how many; those it tells of."""
    try:
        answer = parse_object(_ask(check, question, environment).stdout.encode()) or {}
    except WorkerCheckError:
        return {}
    kept = answer.get("kept")
    return {
        task: (counts[0], counts[1])
        for task, counts in (kept.items() if isinstance(kept, dict) else ())
        if isinstance(counts, list) and len(counts) == 2 and all(type(n) is int for n in counts)
    }


def ask_what_is_ahead(
    check: Sequence[str], question: Mapping[str, Any], environment: Mapping[str, str]
) -> dict[str, tuple[dict[str, int], float]]:
    """Ask the worker what tasks cost: counts by what is counted, and a number that the time goes with."""
    try:
        answer = parse_object(_ask(check, {**question, "ahead": True}, environment).stdout.encode())
    except WorkerCheckError:
        return {}
    ahead = (answer or {}).get("ahead")
    found = {}
    for task, one in ahead.items() if isinstance(ahead, dict) else ():
        told = one if isinstance(one, dict) else {}
        counts, work = told.get("counts"), as_number(told.get("work"))
        if isinstance(counts, dict) and work is not None and work > 0:
            found[task] = ({name: n for name, n in counts.items() if type(n) is int}, work)
    return found


def ask_about_results(
    question: Mapping[str, Any], environment: Mapping[str, str]
) -> dict[str, Any]:
    """Ask this project's worker what rows of results files come to, whoever wrote them.

    Raises:
        WorkerCheckError: it cannot say; the message is its sentence, or why it did not answer.
    """
    done = _ask(_ANSWERS, question, environment)
    answer = parse_object(done.stdout.encode()) if done.returncode == 0 else None
    if answer is not None and isinstance(answer.get("tasks"), dict):
        return answer
    said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
    if said.startswith("error: "):
        raise WorkerCheckError(said.removeprefix("error: "))
    raise WorkerCheckError(
        f"the results could not be read: {' '.join(_ANSWERS)} ended with {done.returncode}; it said: {said}"
    )


def _ask(
    check: Sequence[str], question: Mapping[str, Any], environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Ask the worker a question; return what it said.

    Raises:
        WorkerCheckError: it cannot be started.
    """
    words = words_to_start(check, environment.get("PATH"))
    if words is None:
        raise WorkerCheckError(f"there is no program {check[0]!r} (worker.check)")
    try:
        return subprocess.run(
            words,
            input=json.dumps(question),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=environment,
            check=False,
        )
    except OSError as error:
        raise WorkerCheckError(
            f"{check[0]} cannot be started (worker.check): {error.strerror}"
        ) from None


class WorkerCheckError(Exception):
    """The worker could not be asked about its tasks."""
