"""The executor contract (scheduler/executors/base.py), for every executor that setups.py has a setup for."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from scheduler.core.events import DeviceIdle
from scheduler.executors.base import (
    Ended,
    ExecutorEvent,
    Failed,
    Lost,
    Refusal,
    Refused,
    Started,
)
from scheduler.storage.attempts_file import is_locked
from tests.scheduler.executors.setups import SETUPS, Driver, LocalSetup, open_gate

REPOSITORY = Path(__file__).parents[3]
WAITS = 'read code < "{gate}"; exit $code'


@pytest.fixture(params=SETUPS)
def name(request: pytest.FixtureRequest) -> str:
    if (why := SETUPS[str(request.param)].why_not()) is not None:
        pytest.skip(why)
    return str(request.param)


@pytest.fixture
def setup(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalSetup]:
    monkeypatch.setenv("SCHEDULER_LEASES", "set by the setup")
    for variable in ("SLURM_CONF", "SLURM_JOB_ID"):
        monkeypatch.delenv(variable, raising=False)
    setup = SETUPS[name](tmp_path)
    yield setup
    setup.close()


@pytest.fixture
def new(setup: LocalSetup) -> Iterator[Callable[[], Driver]]:
    """What makes an executor, to be driven by the test and closed after it."""
    drivers: list[Driver] = []

    def make() -> Driver:
        drivers.append(Driver(setup.executor()))
        return drivers[-1]

    yield make
    for driver in drivers:
        driver.close()


@pytest.fixture
def driver(new: Callable[[], Driver]) -> Driver:
    driver = new()
    driver.executor.offer_devices()
    return driver


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "gate")
    return tmp_path / "gate"


@pytest.fixture
def left_running(name: str, setup: LocalSetup, gate: Path) -> None:
    """An attempt of the task a that waits at the gate; what started it was killed."""
    command = [sys.executable, "-m", "tests.scheduler.executors.setups"]
    child = subprocess.Popen(
        [*command, name, setup.folder, WAITS.format(gate=gate)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"started\n"
    child.kill()
    child.communicate()


def wait_for_end(setup: LocalSetup, task: str = "a") -> None:
    """Wait until nothing holds the task's attempts file any more."""
    with setup.paths.attempts(task).open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)


def look_around(setup: LocalSetup, driver: Driver) -> None:
    """Hear events until every device has been looked at anew, for those that are looked at."""
    before = setup.looks() or 0
    while (looks := setup.looks()) is not None and looks < before + 4:  # two devices, twice
        driver.turn()


def offers(device: str, events: Sequence[ExecutorEvent]) -> list[DeviceIdle]:
    """Return the events that offer a device."""
    return [e for e in events if isinstance(e, DeviceIdle) and e.device == device]


# --- devices -------------------------------------------------------------------------------------


def test_devices_are_told_of_when_they_are_offered(
    setup: LocalSetup, new: Callable[[], Driver]
) -> None:
    driver = new()
    assert [device.id for device in driver.executor.devices] == [d.id for d in setup.found().all]
    driver.turn()
    assert driver.seen == []
    driver.executor.offer_devices()
    for device in driver.executor.devices:
        driver.past = 0
        driver.until(DeviceIdle, device.id)


def test_a_device_is_not_offered_while_an_attempt_is_on_it(
    setup: LocalSetup, driver: Driver, gate: Path
) -> None:
    device = driver.executor.devices[0].id
    driver.until(DeviceIdle, device)
    driver.executor.start(setup.request(driver.executor, WAITS.format(gate=gate)))
    begin = len(driver.seen)
    driver.until(Started, "a")
    look_around(setup, driver)
    open_gate(gate, 0)
    driver.until(Ended, "a")
    assert not offers(device, driver.seen[begin : driver.past])
    driver.until(DeviceIdle, device)


def test_a_device_that_another_holds_is_refused_and_told_when_it_is_free(
    setup: LocalSetup, new: Callable[[], Driver], gate: Path
) -> None:
    if not setup.leases:
        pytest.skip("devices of this executor are each dispatcher's own")
    first, second = new(), new()
    first.executor.start(setup.request(first.executor, WAITS.format(gate=gate)))
    first.until(Started)
    second.executor.offer_devices()
    second.until(DeviceIdle, "GPU-0")
    second.executor.start(setup.request(second.executor, "exit 0", task="b"))
    assert second.until(Refused) == Refused("b", Refusal.DEVICE_HELD)
    look_around(setup, second)
    assert not offers("GPU-0", second.seen[second.past :])
    open_gate(gate, 0)
    first.until(Ended)
    first.executor.close()
    second.until(DeviceIdle, "GPU-0")
    second.executor.start(setup.request(second.executor, "exit 0", task="b"))
    assert second.until(Ended).end.code == 0


def test_an_attempt_has_all_its_devices_until_its_end(
    setup: LocalSetup, driver: Driver, gate: Path
) -> None:
    first, second = (device.id for device in driver.executor.devices)
    script = f'echo "$CUDA_VISIBLE_DEVICES"; {WAITS.format(gate=gate)}'
    driver.executor.start(setup.request(driver.executor, script, devices=[0, 1]))
    driver.until(Started, "a")
    begin = len(driver.seen)
    look_around(setup, driver)
    open_gate(gate, 0)
    driver.until(Ended, "a")
    told = driver.seen[begin : driver.past]
    assert not offers(first, told) and not offers(second, told)
    assert setup.record().started.devices == (first, second)
    assert setup.paths.log("a").read_text() == setup.visible(driver.executor.devices) + "\n"
    for device in (first, second):
        driver.past = begin + len(told)
        driver.until(DeviceIdle, device)
    # Each is had alone again.
    driver.executor.start(setup.request(driver.executor, "exit 3", number=2, devices=[1]))
    assert driver.until(Ended, "a").end.code == 3


def test_of_several_devices_an_attempt_has_all_or_none(
    setup: LocalSetup, new: Callable[[], Driver], gate: Path
) -> None:
    if not setup.leases:
        pytest.skip("devices of this executor are each dispatcher's own")
    first, second = new(), new()
    first.executor.start(setup.request(first.executor, WAITS.format(gate=gate), devices=[1]))
    first.until(Started)
    second.executor.offer_devices()
    second.until(DeviceIdle, "GPU-0")
    second.executor.start(setup.request(second.executor, "exit 0", task="b", devices=[0, 1]))
    assert second.until(Refused) == Refused("b", Refusal.DEVICE_HELD)
    second.until(DeviceIdle, "GPU-0")
    assert not offers("GPU-1", second.seen[second.past :])
    third = new()  # nobody has the one that was not refused
    third.executor.start(setup.request(third.executor, "exit 4", task="b"))
    assert third.until(Ended).end.code == 4
    third.executor.close()
    open_gate(gate, 0)
    first.until(Ended)
    first.executor.close()
    second.until(DeviceIdle, "GPU-1")
    request = setup.request(second.executor, "exit 5", task="b", number=2, devices=[0, 1])
    second.executor.start(request)
    assert second.until(Ended).end.code == 5


# --- an attempt's life ---------------------------------------------------------------------------


def test_an_attempt_starts_and_ends_with_its_exit_code(setup: LocalSetup, driver: Driver) -> None:
    before = time.time()
    driver.executor.start(setup.request(driver.executor, "exit 3"))
    ended = driver.until(Ended, "a")
    started = next(e for e in driver.seen if isinstance(e, Started))
    assert before <= started.at <= time.time()
    assert (ended.end.code, ended.end.signal, ended.end.stopped) == (3, None, False)
    record = setup.record()
    assert (record.started.attempt, record.started.task) == (1, "a")
    assert record.started.started == started.at
    assert record.ended == ended.end
    assert not is_locked(setup.paths.attempts("a"))


def test_a_signal_that_ends_the_worker_is_told(setup: LocalSetup, driver: Driver) -> None:
    driver.executor.start(setup.request(driver.executor, "kill -KILL $$"))
    end = driver.until(Ended, "a").end
    assert (end.code, end.signal, end.stopped) == (None, signal.SIGKILL, False)


def test_the_file_is_locked_while_the_attempt_runs(
    setup: LocalSetup, driver: Driver, gate: Path
) -> None:
    driver.executor.start(setup.request(driver.executor, WAITS.format(gate=gate)))
    driver.until(Started)
    assert is_locked(setup.paths.attempts("a"))
    assert setup.record().ended is None
    open_gate(gate, 0)
    driver.until(Ended)
    assert not is_locked(setup.paths.attempts("a"))


def test_the_log_has_both_streams_and_an_older_one_is_kept(
    setup: LocalSetup, driver: Driver
) -> None:
    for number in (1, 2):
        script = f"echo out {number}; echo err {number} >&2"
        driver.executor.start(setup.request(driver.executor, script, number=number))
        driver.until(Ended, "a")
    assert setup.paths.log("a").read_text() == "out 2\nerr 2\n"
    assert setup.paths.log("a").with_name("a.log.1").read_text() == "out 1\nerr 1\n"


def test_the_worker_has_the_environment_and_the_spec_of_its_request(
    setup: LocalSetup, driver: Driver
) -> None:
    script = 'echo "$SWEEP_TASK $OF_THE_SWEEP $CUDA_VISIBLE_DEVICES"; cat "$SWEEP_SPEC"'
    driver.executor.start(setup.request(driver.executor, script))
    driver.until(Ended, "a")
    first, spec = setup.paths.log("a").read_text().splitlines()
    device = driver.executor.devices[0]
    assert first.strip() == f"a yes {setup.visible([device])}".strip()
    assert '"matrix": {"letter": "a"}' in spec


def test_a_program_that_does_not_exist(setup: LocalSetup, driver: Driver) -> None:
    request = setup.request(driver.executor, "")
    driver.executor.start(replace(request, command=["/no/such/program"]))
    end = driver.until(Ended, "a").end
    assert end.not_started is not None
    assert end.not_started.startswith("cannot start /no/such/program: No such file")
    assert end.errno == errno.ENOENT
    assert not any(isinstance(event, Started) for event in driver.seen)
    assert setup.record().ended == end


@pytest.mark.parametrize("adopted", [False, True])
def test_a_stop_ends_the_whole_tree(
    setup: LocalSetup, new: Callable[[], Driver], tmp_path: Path, adopted: bool
) -> None:
    """Also what ignores SIGTERM in a session of its own."""
    driver, ready = new(), tmp_path / "ready"
    os.mkfifo(ready)
    deaf = f"trap '' TERM; echo $$ > \"{ready}\"; while :; do sleep 1000; done"
    (tmp_path / "deaf").write_text(deaf)
    driver.executor.start(
        setup.request(driver.executor, f'setsid sh "{tmp_path}/deaf" & sh "{tmp_path}/deaf"')
    )
    pids: list[int] = []
    while len(pids) < 2:
        pids += map(int, ready.read_text().split())
    driver.until(Started)
    if adopted:
        driver.executor.close()
        driver = new()
        assert driver.executor.adopt("a", (driver.executor.devices[0].id,), setup.record())
    driver.executor.stop("a")
    assert driver.until(Ended, "a").end.stopped
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_a_stop_that_comes_too_late_stops_nothing_else(setup: LocalSetup, driver: Driver) -> None:
    driver.executor.start(setup.request(driver.executor, "exit 0"))
    driver.until(Ended, "a")
    driver.executor.stop("a")
    driver.executor.start(setup.request(driver.executor, "exit 0", number=2))
    end = driver.until(Ended, "a").end
    assert (end.code, end.stopped) == (0, False)


def test_output_is_a_sign_of_life(setup: LocalSetup, driver: Driver, gate: Path) -> None:
    # Another gate: at the same one, the end of what opened it first could be taken for its second opening.
    last = gate.with_name("last gate")
    os.mkfifo(last)
    script = f'read x < "{gate}"; echo more; read x < "{last}"; exit 0'
    driver.executor.start(setup.request(driver.executor, script))
    driver.until(Started)
    first = driver.executor.last_sign_of_life("a")
    before = time.monotonic()
    open_gate(gate, 0)
    while not setup.paths.log("a").read_text():
        driver.turn()
    assert first <= before <= driver.executor.last_sign_of_life("a") <= time.monotonic()
    open_gate(last, 0)
    driver.until(Ended)


# --- what is not started -------------------------------------------------------------------------


def test_files_that_cannot_be_written_are_no_attempt(setup: LocalSetup, driver: Driver) -> None:
    device = driver.executor.devices[0].id
    driver.until(DeviceIdle, device)
    for folder in (setup.paths.log("a").parent, setup.paths.attempts("a").parent):
        request = setup.request(driver.executor, "exit 0")
        folder.rename(folder.with_name("away"))
        driver.executor.start(request)
        failed = driver.until(Failed, "a")
        assert failed.error.errno == errno.ENOENT
        folder.with_name("away").rename(folder)
        driver.until(DeviceIdle, device)
    driver.executor.start(setup.request(driver.executor, "exit 0"))
    assert driver.until(Ended, "a").end.code == 0


def test_a_task_that_others_run_ran_or_completed_is_refused(
    setup: LocalSetup, new: Callable[[], Driver], gate: Path
) -> None:
    first, second = new(), new()
    early = setup.request(second.executor, "exit 0", devices=[1])
    first.executor.start(setup.request(first.executor, WAITS.format(gate=gate)))
    first.until(Started)
    second.executor.start(early)
    assert second.until(Refused) == Refused("a", Refusal.RUNNING)
    open_gate(gate, 1)
    first.until(Ended)
    first.close()  # of two at a time one would cancel what the other's attempts wait for
    second.executor.start(early)
    assert second.until(Refused) == Refused("a", Refusal.CHANGED)
    setup.paths.done("a").write_text("{}")
    second.executor.start(setup.request(second.executor, "exit 0", number=2, devices=[1]))
    assert second.until(Refused) == Refused("a", Refusal.COMPLETED)
    assert setup.record().started.attempt == 1


def test_two_executors_at_once(setup: LocalSetup, new: Callable[[], Driver]) -> None:
    drivers = {"a": new(), "b": new()}
    for index, (task, driver) in enumerate(drivers.items()):
        request = setup.request(driver.executor, f"exit {index}", task=task, devices=[index])
        driver.executor.start(request)
    for index, (task, driver) in enumerate(drivers.items()):
        assert driver.until(Ended, task).end.code == index
        other = "b" if task == "a" else "a"
        assert not any(getattr(event, "task", None) == other for event in driver.seen)


# --- what a dispatcher that died has left --------------------------------------------------------


@pytest.mark.usefixtures("left_running")
def test_an_attempt_is_found_again_and_its_end_seen(
    setup: LocalSetup, driver: Driver, gate: Path
) -> None:
    device = driver.executor.devices[0].id
    assert driver.executor.adopt("a", (device,), setup.record())
    driver.turn()
    begin = len(driver.seen)
    look_around(setup, driver)
    assert not offers(device, driver.seen[begin:])
    open_gate(gate, 5)
    assert driver.until(Ended, "a").end.code == 5


@pytest.mark.usefixtures("left_running")
def test_an_exit_status_that_nobody_waited_for_is_told_to_the_next(
    setup: LocalSetup, driver: Driver, gate: Path
) -> None:
    open_gate(gate, 5)
    wait_for_end(setup)
    assert not driver.executor.adopt("a", (driver.executor.devices[0].id,), setup.record())
    assert driver.until(Ended, "a").end == setup.record().ended
    assert setup.record().ended.code == 5  # type: ignore[union-attr]


@pytest.mark.usefixtures("left_running")
def test_an_attempt_whose_watcher_was_killed_too_is_ended_and_lost(
    setup: LocalSetup, driver: Driver
) -> None:
    record = setup.record()
    setup.kill_watcher(record)
    if setup.orphans_live:
        assert is_locked(
            setup.paths.attempts("a")
        )  # the worker waits at the gate, and will for ever
    driver.executor.adopt("a", (driver.executor.devices[0].id,), record)
    driver.until(Lost, "a")
    assert not is_locked(setup.paths.attempts("a"))
    assert setup.record().ended is None


def test_an_attempt_of_its_own_whose_watcher_is_killed_is_ended_and_lost(
    setup: LocalSetup, driver: Driver, gate: Path
) -> None:
    driver.executor.start(setup.request(driver.executor, WAITS.format(gate=gate)))
    pid = driver.until(Started).pid
    setup.kill_watcher(setup.record())
    driver.until(Lost, "a")
    assert not is_locked(setup.paths.attempts("a"))
    assert not Path(f"/proc/{pid}/exe").exists()
    driver.executor.start(setup.request(driver.executor, "exit 0", number=2))
    assert driver.until(Ended, "a").end.code == 0  # the device is of use again


def test_a_closed_executor_leaves_its_attempt_to_the_next(
    setup: LocalSetup, new: Callable[[], Driver], gate: Path
) -> None:
    first, second = new(), new()
    first.executor.start(setup.request(first.executor, WAITS.format(gate=gate)))
    first.until(Started)
    first.executor.close()
    assert is_locked(setup.paths.attempts("a"))
    assert second.executor.adopt("a", (second.executor.devices[0].id,), setup.record())
    open_gate(gate, 7)
    assert second.until(Ended, "a").end.code == 7


@pytest.mark.usefixtures("left_running")
def test_a_device_stays_with_the_attempt_that_is_adopted_in_its_place(
    setup: LocalSetup, driver: Driver, gate: Path
) -> None:
    """A refused start, answered by adopting what runs: the device is not offered in between."""
    device = driver.executor.devices[1].id
    driver.until(DeviceIdle, device)
    adopted: list[bool] = []

    def handle(event: ExecutorEvent) -> None:
        if isinstance(event, Refused):
            adopted.append(driver.executor.adopt("a", (device,), setup.record()))

    begin = len(driver.seen)
    driver.executor.start(setup.request(driver.executor, "exit 0", number=2, devices=[1]))
    driver.until(Refused, "a", handle)
    driver.turn()
    assert adopted == [True]
    assert not offers(device, driver.seen[begin:])
    open_gate(gate, 0)
    driver.until(Ended, "a")
    driver.until(DeviceIdle, device)
