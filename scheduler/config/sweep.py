"""A sweep as plain data: its tasks, their digests, their command lines. Pure (read by loader.py)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

from scheduler.config.cluster.settings import ClusterSettings
from scheduler.config.differences import without_logins, without_secrets
from scheduler.config.hours import Hours
from scheduler.config.matrix.values import Scalar, Value
from scheduler.config.placeholders import (
    as_text,
    expand_home,
    expand_variables,
    fill,
    filled,
    names_in,
    texts_in,
)
from scheduler.config.spelling import Spelling
from scheduler.config.strict_yaml import with_numbers


@dataclass(frozen=True, slots=True)
class Rules:
    """The sweep's ``validate`` section."""

    success: str = "Successfully completed"
    failure: tuple[str, ...] = ("CUDA out of memory", "RuntimeError")


DEFAULT_COMMAND = ("python", "-m", "worker", "search")
DEFAULT_CHECK = ("python", "-m", "worker", "check")


def is_own_worker(command: Sequence[str]) -> bool:
    """Say whether a command runs the worker of this project, by whatever Python."""
    return ("-m", "worker") in pairwise(command)


OWN_PLACEHOLDERS = ("task", "results", "spec")

# How cores are shared out; a number: so many for each attempt.
CoreSetting = Literal["auto", "off"] | int


@dataclass(frozen=True, slots=True)
class Task:
    """One point of the sweep's matrix."""

    id: str
    values: tuple[Value, ...]  # in the order of the sweep's axes


def is_device_count(value: object) -> bool:
    """Say whether a value is a number of devices that a task can have at once."""
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 4096


MOST_PRIORITY = 100
# Attempts on one device: more contexts than a driver with MPS takes (48 clients).
MOST_SHARERS = 48


@dataclass(frozen=True, slots=True)
class ShareSettings:
    """How attempts that measure no speed share a device."""

    # Bytes that one attempt needs.
    memory: int
    # On one device; None: as many as fit.
    at_most: int | None = None
    # Through NVIDIA's MPS, by which their kernels run side by side.
    mps: bool = False


@dataclass(frozen=True, slots=True)
class DeviceSettings:
    """The sweep's ``devices`` section: which devices it may use, and when one counts as idle."""

    max_utilization: int = 5  # percent
    min_free_memory: int = 2**30  # bytes
    idle_for: float = 3.0  # seconds
    # None: not given; then a CPU is used only if nothing is demanded of GPUs, and there is no driver.
    cpu_slots: int | None = None
    only: tuple[int | str, ...] = ()
    exclude: tuple[int | str, ...] = ()
    cores: CoreSetting = "auto"
    # None: each attempt has its device alone.
    share: ShareSettings | None = None
    # That each task has at once; a text: the axis whose values say so.
    per_task: int | str = 1
    # In use at once; None: all that are idle.
    at_most: int | Hours | None = None
    # The keys of the section that demand something of a GPU: all but cpu_slots, cores, at_most, zone.
    demands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """The sweep's ``retries`` section; ``on_oom`` names the arguments that are halved."""

    max_attempts: int = 3
    backoff: float = 30.0  # seconds before the second attempt; doubles with each further one
    on_oom: tuple[str, ...] = ()
    # So many tasks, the first ones, must fail alike for the sweep to stop; None: no number is enough.
    stop_after: int | None = 10


@dataclass(frozen=True, slots=True)
class Order:
    """In which order tasks are started, where it is not that of the axes."""

    kind: Literal["longest first", "random"]
    # Of a random order; None: drawn at the first run, and recorded.
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """The sweep's ``limits`` section; None is no limit."""

    # Seconds.
    timeout: float | None = None
    stall: float | None = None
    # Bytes of an attempt's log, and of its task's results file.
    log: int | None = 2**30


# Of what a notification is run: the sweep is over, a task failed for good, nothing can be started.
Occasion = Literal["finished", "failed", "paused"]


@dataclass(frozen=True, slots=True)
class NotifySettings:
    """The sweep's ``notify`` section: a command that tells somebody, and of what it is run."""

    command: tuple[str, ...]
    on: tuple[Occasion, ...]
    timeout: float  # seconds


@dataclass(frozen=True, slots=True)
class TrackSettings:
    """The sweep's ``track`` section: where its measurements go as well."""

    to: Literal["mlflow", "wandb", "trackio"]
    project: str
    timeout: float  # seconds of one run of the command that sends them


# Tasks count by their ids and digests, which globbed values are part of.
NOT_OF_THE_FILE = (
    "tasks",
    "runs_on",
    "is_named",
    "globbed",
    "left_out",
    "untimed",
    "staged",
    "on_cluster",
    "on_parts",
)
# Sweeps that leave them at their defaults have the fingerprint that they had before there were any.
_LATER = ("spelling", "notify", "order", "timed", "priority", "executor", "track", "preload")


@dataclass(frozen=True)
class Sweep:
    """A validated sweep."""

    name: str
    axes: tuple[str, ...]
    tasks: tuple[Task, ...]
    command: tuple[str, ...] = DEFAULT_COMMAND
    check: tuple[str, ...] | None = None
    args: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, Scalar] = field(default_factory=dict)
    # The worker tells results of other arguments apart by itself; else they are kept in files of their own.
    reuses_results: bool = False
    # Whether the worker measures speed, by the file; None: it does not say.
    timed: bool | None = None
    # What is loaded once for all attempts, a module's name; auto: what this project's worker needs.
    preload: str = "auto"
    # Among the sweeps that wait for devices of the same machine, at most MOST_PRIORITY either way.
    priority: int = 0
    devices: DeviceSettings = field(default_factory=DeviceSettings)
    retries: RetrySettings = field(default_factory=RetrySettings)
    limits: Limits = field(default_factory=Limits)
    rules: Rules = field(default_factory=Rules)
    notify: NotifySettings | None = None
    track: TrackSettings | None = None
    search: Any = None
    # The kind of device that it runs on, as far as that is known: completions answer for no other.
    runs_on: Literal["GPU", "CPU"] | None = None
    # Its attempts are jobs of a cluster's scheduler; none shares a device.
    on_cluster: bool = False
    # What it runs on gives each attempt a part of a GPU: none may measure speed.
    on_parts: bool = False
    # The file gives the name; else it is the file's own, without its ending.
    is_named: bool = True
    # How axes and args become words; None: as by default, and axes only for the default command.
    spelling: Spelling | None = None
    # None: that of the axes.
    order: Order | None = None
    # For each axis: its values are paths that a glob found.
    globbed: tuple[bool, ...] = ()
    # Tasks of the file that are none of this sweep's: a run takes only some.
    left_out: frozenset[str] = frozenset()
    # None: this machine.
    executor: ClusterSettings | None = None
    # Tasks that measure no speed, and so may share a device, by their ids.
    untimed: frozenset[str] = frozenset()
    # Of the others, those that measure speed first, and the rest in an attempt that may share its device.
    staged: frozenset[str] = frozenset()

    @property
    def program(self) -> str:
        """Return the command's first word, a home folder filled in; ``{axis}`` may stand in it."""
        return expand_home(self.command[0])

    def limited_to(self, tasks: Sequence[Task]) -> Sweep:
        """Return the sweep with some of its tasks alone."""
        kept = {task.id for task in tasks}
        others = frozenset(task.id for task in self.tasks if task.id not in kept)
        return replace(self, tasks=tuple(tasks), left_out=self.left_out | others)

    def may_share(self, task: str) -> bool:
        """Say whether a task could have a device beside others, if it is not timed."""
        if self.devices.share is None or self.runs_on == "CPU":
            return False
        return not self.on_cluster and self.devices_of(task) == 1

    def with_timed(
        self, told: Collection[str] | None, staged: Collection[str] | None = None
    ) -> Sweep:
        """Return the sweep with its untimed tasks: those that may share a device, if it shares any.

        Args:
            told: the tasks of which the worker says that they measure speed; None: it does not say.
                Then the file's word holds, and without one this project's worker measures speed,
                and any other does not: its user had it share.
            staged: those that can be measured in two parts, the timed one first; None: none.
        """
        if told is None:
            told = self._ids if is_own_worker(self.command) and self.timed is None else ()
        if self.timed:
            told = self._ids
        timed = frozenset(told)
        parts = frozenset() if self.timed else timed.intersection(staged or ())
        return replace(self, untimed=frozenset(self._ids) - timed, staged=parts)

    def devices_of(self, task: str) -> int:
        """Return how many devices a task, of that id, has at once."""
        return self.device_counts.get(task, 1)

    @cached_property
    def device_counts(self) -> Mapping[str, int]:
        """How many devices each task has at once that has several, by its id."""
        per_task = self.devices.per_task
        if isinstance(per_task, int):
            return dict.fromkeys(self._ids, per_task) if per_task > 1 else {}
        place = self.axes.index(per_task)
        values = ((task.id, task.values[place]) for task in self.tasks)
        return {task: n for task, n in values if isinstance(n, int) and n > 1}

    @property
    def longest_first(self) -> bool:
        """Whether its order follows from what tasks are expected to take."""
        return self.order is not None and self.order.kind == "longest first"

    @property
    def most_devices(self) -> int:
        """How many devices a task of it has at once, at most."""
        return max(self.device_counts.values(), default=1)

    @property
    def _ids(self) -> list[str]:
        return [task.id for task in self.tasks]

    def own_environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """Return the sweep's variables; each may name what is inherited and those before it.

        Raises:
            UnsetVariable: one names a variable that is not set.
        """
        own: dict[str, str] = {}
        for name, value in self.env.items():
            own[name] = expand_variables(as_text(value), {**inherited, **own})
        return own

    def matrix(self, task: Task) -> dict[str, Value]:
        """Return the task's matrix values by axis."""
        return dict(zip(self.axes, task.values, strict=True))

    def digest(self, task: Task) -> str:
        """Return the SHA-256 of what running ``task`` means.

        It covers command, matrix values, args, env and search as the sweep file gives them; not
        devices, retries or limits, nor a batch size halved for one attempt.
        """
        if (known := self._digests.get(task.id)) is None:
            state = self._common_digest.copy()
            state.update(_canonical(task.values))
            known = self._digests[task.id] = state.hexdigest()
        return known

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of all that the sweep file says: its tasks, and every setting that is no default."""
        state = hashlib.sha256(
            _canonical(
                {
                    f.name: _given(getattr(self, f.name))
                    for f in fields(self)
                    if f.name not in NOT_OF_THE_FILE
                    and not (f.name in _LATER and getattr(self, f.name) == f.default)
                }
            )
        )
        state.update("".join(f"{task.id} {self.digest(task)}\n" for task in self.tasks).encode())
        return state.hexdigest()

    @cached_property
    def _digests(self) -> dict[str, str]:
        return {}

    @cached_property
    def _common_digest(self) -> hashlib._Hash:
        # As text in Python's words, which earlier versions took: completions must go on to hold.
        env = {name: str(value) for name, value in self.env.items()}
        common = (self.axes, self.command, dict(self.args), env, self.search)
        state = hashlib.sha256(_canonical(common))
        if self.spelling is not None:
            state.update(_canonical(asdict(self.spelling)))
        return state

    @cached_property
    def settings_digest(self) -> str:
        """A short digest of all that checkpoints answer for beside matrix values; of ``validate`` too."""
        state = self._common_digest.copy()
        state.update(_canonical((self.rules.success, self.rules.failure)))
        return state.hexdigest()[:16]

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What `settings_digest` is of, as it is kept on disk and compared: plain data, without secrets."""
        settings = {
            "command": without_logins(list(self.command)),
            "args": without_secrets(self.args),
            "env": without_secrets(self.env, environment=True),
            "search": without_secrets({"": self.search})[""],
            "validate": {"success": self.rules.success, "failure": list(self.rules.failure)},
        }
        if self.spelling is not None:
            settings["spelling"] = asdict(self.spelling)
        return settings

    def argv(self, task: Task, overrides: Mapping[str, Any], results: str, spec: str) -> list[str]:
        """Return the worker's command line for one attempt; ``overrides`` replace args."""
        values = self._values(task, results, spec)
        args = self._filled_args(overrides, values)
        words = [fill(expand_home(word), {**args, **values}) for word in self.command]
        spelling, matrix = self.spelling or Spelling(), self.matrix(task)
        for axis in self.spelt_axes:
            words += spelling.words(axis, matrix[axis])
        for name in self.spelt_args:
            words += spelling.words(name, args[name])
        return words

    @cached_property
    def spelt_axes(self) -> tuple[str, ...]:
        """The axes that become words behind the command.

        For the default command all; for another one, if a spelling is given, those that it does not name.
        """
        if self.command == DEFAULT_COMMAND:
            return self.axes
        if self.spelling is None:
            return ()
        texts = (part for value in self.args.values() for part in texts_in(value))
        named = self._named_in_command.union(*map(names_in, texts))
        return tuple(axis for axis in self.axes if axis not in named)

    @cached_property
    def spelt_args(self) -> tuple[str, ...]:
        """The arguments that become words behind the command: all that it does not name itself."""
        filled = self._named_in_command - {*self.axes, *OWN_PLACEHOLDERS}
        return tuple(name for name in self.args if name not in filled)

    @cached_property
    def _named_in_command(self) -> frozenset[str]:
        return frozenset(name for word in self.command for name in names_in(word))

    def _filled_args(
        self, overrides: Mapping[str, Any], values: Mapping[str, Any]
    ) -> dict[str, Any]:
        return {name: filled(value, values) for name, value in {**self.args, **overrides}.items()}

    def spec(
        self, task: Task, overrides: Mapping[str, Any], results: str, spec: str
    ) -> dict[str, Any]:
        """Return what the worker finds in the file that SWEEP_SPEC names: args as in `argv`."""
        values = self._values(task, results, spec)
        content = {
            "task": task.id,
            "matrix": self.matrix(task),
            "args": self._filled_args(overrides, values),
            "search": self.search,
        }
        return {key: with_numbers(value) for key, value in content.items()}

    def question(self) -> dict[str, Any]:
        """Return what the worker is asked about before anything starts: all tasks, args, search."""
        tasks = [{"id": task.id, "matrix": with_numbers(self.matrix(task))} for task in self.tasks]
        return {
            "tasks": tasks,
            "args": with_numbers(dict(self.args)),
            "search": with_numbers(self.search),
        }

    def _values(self, task: Task, results: str, spec: str) -> dict[str, Value]:
        return {**self.matrix(task), "task": task.id, "results": results, "spec": spec}


def _given(section: Any) -> Any:
    """Return what a section sets; no setting of a later version changes a fingerprint by being there."""
    if not is_dataclass(section):
        return section
    return {
        f.name: value for f in fields(section) if (value := getattr(section, f.name)) != f.default
    }


_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=str).encode


def _canonical(value: Any) -> bytes:
    return _encode(value).encode()
