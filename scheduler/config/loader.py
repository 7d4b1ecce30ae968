"""Reads a sweep file, and says everything that is wrong with it at once."""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from scheduler.config import strict_yaml
from scheduler.config import sweep as plain
from scheduler.config.hours import Hours
from scheduler.config.matrix.expansion import Expansion, check_file_name
from scheduler.config.matrix.values import value_text
from scheduler.config.placeholders import as_text, names_in, unexpanded
from scheduler.config.schema.faults import hides_the_worker, sentences, without_faults
from scheduler.config.schema.sections import SweepSection
from scheduler.config.spelling import Spelling
from scheduler.config.suggest import nearest
from scheduler.config.sweep import Rules

_LARGEST = 64 * 2**20  # bytes of a sweep file; a million paths in an axis take about so many
# Which YAML takes for false and true.
_WORDS = (
    ("devices.cores", "off"),
    ("worker.preload", "off"),
    ("notify", "on"),
    ("search.timing", "off"),
)


class SweepError(Exception):
    """A sweep file cannot be used; ``problems`` lists every reason, one sentence each.

    ``partial`` is what could be read all the same, for those who can find more that is wrong.
    """

    def __init__(
        self, path: Path, problems: Sequence[str], partial: plain.Sweep | None = None
    ) -> None:
        self.path = path
        self.problems = list(problems)
        self.partial = partial
        super().__init__("\n".join(f"{path}: {problem}" for problem in self.problems))


def read_sweep(path: Path) -> plain.Sweep:
    """Read and validate the sweep file at ``path``.

    Raises:
        SweepError: with all the mistakes of the file.
    """
    content, problems = _load(path)
    worker_known = True
    try:
        model = SweepSection.model_validate(content)
    except ValidationError as error:
        problems += sentences(content, error)
        worker_known = not hides_the_worker(content, error)
        try:  # look on at what is left without the faulty entries, to report all mistakes at once
            model = SweepSection.model_validate(without_faults(content, error))
        except ValidationError:
            raise SweepError(path, problems) from None
    reader = _Reader(path, model, worker_known=worker_known)
    sweep = reader.sweep()
    if problems or reader.problems:
        raise SweepError(path, problems + reader.problems, sweep)
    return sweep


def _load(path: Path) -> tuple[dict[str, Any], list[str]]:
    try:
        content, problems = strict_yaml.load(_data(path), _WORDS)
    except FileNotFoundError:
        near = difflib.get_close_matches(
            path.name, [p.name for p in path.parent.glob("*.y*ml")], n=1
        )
        hint = f"; did you mean {path.parent / near[0]}?" if near else ""
        raise SweepError(path, [f"there is no such file{hint}"]) from None
    except OSError as error:
        raise SweepError(path, [f"cannot be read: {error.strerror}"]) from None
    except strict_yaml.YamlError as error:
        raise SweepError(path, [str(error)]) from None
    if isinstance(content, strict_yaml.Unusable):
        raise SweepError(path, problems)
    if content is None:
        raise SweepError(path, ["is empty; a sweep needs at least a matrix (see sweeps/tiny.yaml)"])
    if not isinstance(content, dict):
        what = "a list" if isinstance(content, list) else "a single value"
        raise SweepError(path, [f"holds {what}; a sweep is a mapping with at least the key matrix"])
    # Keys for what others refer to with YAML's anchors.
    rest = {k: v for k, v in content.items() if k != "shared" and not k.startswith("x-")}
    return rest, problems


def _data(path: Path) -> bytes:
    """Return what stands in a regular file; nothing is waited for, be it a FIFO by now.

    Raises:
        SweepError: it is something else, or too large.
        OSError: it cannot be read.
    """
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise SweepError(path, ["is a folder; a sweep is a YAML file"])
    if not stat.S_ISREG(mode):
        raise SweepError(path, ["is a FIFO, a socket or a device; a sweep is a YAML file"])
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise SweepError(path, [f"is larger than {_LARGEST // 2**20} MiB; no sweep is"])
    return data


def _has_unusable(content: object) -> bool:
    """Say whether something in the data could not be read; the reader has said what."""
    if isinstance(content, dict | list):
        parts = content.values() if isinstance(content, dict) else content
        return any(_has_unusable(part) for part in parts)
    return isinstance(content, strict_yaml.Unusable)


class _Reader:
    """Makes a sweep of the file's sections and checks what types do not say, collecting every problem."""

    def __init__(self, path: Path, model: SweepSection, *, worker_known: bool) -> None:
        self.problems: list[str] = []
        self._model = model
        self._name = model.name.sweep if model.name.sweep is not None else path.stem
        self._axes = tuple(model.matrix)
        self._worker_known = worker_known  # else the default stands in, and must not be judged by

    def sweep(self) -> plain.Sweep:
        model = self._model
        check_file_name("name", self._name, self.problems)
        matrix = Expansion(model, self.problems)
        tasks = matrix.tasks()
        self._check_placeholders()
        self._check_environment()
        self._check_halved()
        self._check_preload()
        self._check_per_task(tasks)
        self._check_zone()
        command = tuple(model.worker.command)
        check = tuple(model.worker.check) if model.worker.check else None
        if command == plain.DEFAULT_COMMAND and check is None:
            check = plain.DEFAULT_CHECK
        # of a search section with a hole the worker would say what is not so
        if not self._worker_known or _has_unusable(model.search):
            check = None
        sweep = plain.Sweep(
            name=self._name,
            axes=self._axes,
            tasks=tuple(tasks),
            command=command,
            check=check,
            args=model.worker.args,
            env=model.worker.env,
            reuses_results=_reuses_results(model.worker.reuses_results, command),
            timed=model.worker.timed,
            preload=model.worker.preload,
            devices=plain.DeviceSettings(
                **{
                    **model.devices.model_dump(exclude={"zone"}),
                    "only": tuple(model.devices.only),
                    "exclude": tuple(model.devices.exclude),
                    "at_most": model.devices.limit,
                    "demands": model.devices.demands,
                    "share": model.devices.share
                    and plain.ShareSettings(**dict(model.devices.share)),
                }
            ),
            retries=plain.RetrySettings(
                model.retries.max_attempts,
                model.retries.backoff,
                tuple(model.retries.on_oom),
                model.retries.stop_after,
            ),
            runs_on="GPU" if model.devices.demands and model.devices.cpu_slots is None else None,
            limits=plain.Limits(model.limits.timeout, model.limits.stall, model.limits.log),
            rules=Rules(model.validation.success, tuple(model.validation.failure)),
            notify=None if model.notify is None else model.notify.settings(),
            track=None if model.track is None else model.track.settings(self._name),
            search=model.search,
            executor=None if model.executor is None else model.executor.settings(),
            order=model.order,
            priority=model.priority,
            globbed=matrix.globbed,
            spelling=model.worker.spelling.parsed() if model.worker.spelling else None,
            is_named=model.name.sweep is not None,
        )
        self._check_flags(sweep)
        return sweep

    def _check_placeholders(self) -> None:
        args = self._model.worker.args
        known = [*self._axes, *plain.OWN_PLACEHOLDERS]
        self._check_texts(
            [(f"worker.command[{i}]", word) for i, word in enumerate(self._model.worker.command)],
            [*known, *args],
        )
        texts = []
        for key, value in args.items():
            if isinstance(value, list):
                texts += [(f"worker.args.{key}[{i}]", str(part)) for i, part in enumerate(value)]
            else:
                texts.append((f"worker.args.{key}", str(value)))
        self._check_texts(texts, known)

    def _check_texts(self, texts: Sequence[tuple[str, str]], known: Sequence[str]) -> None:
        for key, text in texts:
            for name in names_in(text):
                if name not in known:
                    self.problems.append(
                        f"{key}: no axis fills {{{name}}}{nearest(name, known)}; "
                        f"{_as_it_is(name, text)}"
                    )

    def _check_environment(self) -> None:
        for name, value in self._model.worker.env.items():
            shells = unexpanded(as_text(value))
            if shells is not None:
                self.problems.append(
                    f"worker.env.{name}: {shells!r} is for a shell to expand, and there is none; "
                    "$NAME and ${NAME} are filled in, and $$ stands for a dollar"
                )

    def _check_flags(self, sweep: plain.Sweep) -> None:
        """Refuse a flag that would stand twice: the task would run with another value than its id says."""
        spelling = sweep.spelling or Spelling()
        axes = sweep.spelt_axes if self._worker_known else ()
        givers: dict[str, str] = {}
        for key, name in [
            *((f"matrix.{axis}", axis) for axis in axes),
            *((f"worker.args.{name}", name) for name in sweep.spelt_args),
        ]:
            option = spelling.option_of(name)
            giver = givers.setdefault(option, key) if option else key
            if giver != key:
                self.problems.append(f"{key}: {giver} gives {option} already; remove one of them")

    def _check_preload(self) -> None:
        """Refuse a module of one's own where attempts are not started as Python programs."""
        first, *rest = self._model.worker.command
        if self._model.worker.preload in ("auto", "off") or not self._worker_known:
            return
        if not rest or (rest[0].startswith("-") and (rest[0] != "-m" or len(rest) == 1)):
            self.problems.append(
                f"worker.preload: worker.command is to be a Python program, as in [python, script.py] or "
                f"[python, -m, module], and begins with {' '.join([first, *rest[:1]])}"
            )

    def _check_halved(self) -> None:
        for name in self._model.retries.on_oom:
            value = self._model.worker.args.get(name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                self.problems.append(
                    f"retries.on_oom.{name}: worker.args has no whole number of that name to halve"
                )

    def _check_per_task(self, tasks: Sequence[plain.Task]) -> None:
        """Refuse numbers of devices that are none, or that no task could ever have."""
        devices = self._model.devices
        per_task = devices.per_task
        counts: list[Any] = [per_task]
        if isinstance(per_task, str):
            if per_task not in self._axes:
                self.problems.append(
                    f"devices.per_task: the matrix has no axis {per_task!r}{nearest(per_task, self._axes)}"
                )
                return
            counts = [task.values[self._axes.index(per_task)] for task in tasks]
        for value in counts:
            if not plain.is_device_count(value):
                self.problems.append(
                    f"matrix.{per_task}: {value_text(value)!r} is no number of devices, which "
                    "devices.per_task takes the values of this axis for; use whole numbers from 1"
                )
                return
        most = devices.limit.most if isinstance(devices.limit, Hours) else devices.limit
        if most is not None and max(counts, default=0) > most:
            self.problems.append(
                f"devices.at_most: {most} is less than what a task has at once "
                f"({max(counts)}, devices.per_task), so it could never start"
            )
        if devices.share is not None and min(counts, default=1) > 1:
            self.problems.append(
                "devices.share: each task has several devices (devices.per_task), and such a task has "
                "them alone; remove one of the two"
            )

    def _check_zone(self) -> None:
        devices = self._model.devices
        if devices.zone is not None and not isinstance(devices.limit, Hours):
            self.problems.append(
                "devices.zone: says in which zone the hours of at_most are, and there are none; remove it"
            )


def _as_it_is(name: str, text: str) -> str:
    """Return how a brace that is no placeholder is written."""
    if f"${{{name}}}" in text:
        return f"for a shell's variable write ${name} or ${{{{{name}}}}}"
    return f"for the braces themselves write {{{{{name}}}}}"


def _reuses_results(given: bool | None, command: tuple[str, ...]) -> bool:
    """Say whether the worker tells rows of other arguments apart by itself: ours does."""
    return plain.is_own_worker(command) if given is None else given
