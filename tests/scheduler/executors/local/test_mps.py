"""One daemon for all who compute by it: started, shared, found again, ended by the last."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler.executors.local.mps import Mps, MpsUnavailable
from tests.helpers.fake_mps import NAME, install

forking = multiprocessing.get_context("fork")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"PATH": f"{install(tmp_path / 'bin')}:{os.environ['PATH']}"}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "mps"
    yield folder
    if (pid := daemon(folder)) is not None:
        os.killpg(pid, signal.SIGKILL)


def daemon(folder: Path) -> int | None:
    """Return the process id of the daemon that lives, or None."""
    try:
        pid = int((folder / "pipe" / f"{NAME}.pid").read_text())
        os.kill(pid, 0)
    except (FileNotFoundError, ProcessLookupError):
        return None
    return pid


def starts(folder: Path) -> int:
    return len((folder / "pipe" / "starts").read_text().splitlines())


def test_the_last_of_its_users_ends_it(folder: Path, environment: dict[str, str]) -> None:
    first, second = (Mps.acquire(folder, environment) for _ in range(2))
    assert starts(folder) == 1
    assert first.processes == second.processes == [daemon(folder)]
    assert first.environment == {
        "CUDA_MPS_PIPE_DIRECTORY": str(folder / "pipe"),
        "CUDA_MPS_LOG_DIRECTORY": str(folder / "log"),
    }
    first.release()
    first.release()
    assert daemon(folder) is not None
    second.release()
    assert daemon(folder) is None


def test_an_attempt_keeps_it_beyond_its_dispatcher(
    folder: Path, environment: dict[str, str]
) -> None:
    mps = Mps.acquire(folder, environment)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=mps.heirloom) as attempt:
        mps.release()
        assert daemon(folder) is not None
        Mps.end_left_over(folder, environment)
        assert daemon(folder) is not None
        attempt.communicate()
    Mps.end_left_over(folder, environment)
    assert daemon(folder) is None


def use_and_be_killed(folder: Path, environment: dict[str, str]) -> None:
    Mps.acquire(folder, environment)
    os.kill(os.getpid(), signal.SIGKILL)


def killed_user(folder: Path, environment: dict[str, str]) -> None:
    process = forking.Process(target=use_and_be_killed, args=(folder, environment))
    process.start()
    process.join()


def test_one_that_a_killed_dispatcher_left_is_found_again(
    folder: Path, environment: dict[str, str]
) -> None:
    killed_user(folder, environment)
    left = daemon(folder)
    mps = Mps.acquire(folder, environment)
    assert daemon(folder) == left is not None
    mps.release()
    assert daemon(folder) is None


def test_one_that_a_killed_dispatcher_left_is_ended_by_who_has_no_use_for_it(
    folder: Path, environment: dict[str, str]
) -> None:
    Mps.end_left_over(folder, environment)
    assert not folder.exists()
    killed_user(folder, environment)
    Mps.end_left_over(folder, environment)
    assert daemon(folder) is None


def test_a_daemon_that_was_killed_is_started_anew(
    folder: Path, environment: dict[str, str]
) -> None:
    first = Mps.acquire(folder, environment)
    os.killpg(first.processes[0], signal.SIGKILL)
    second = Mps.acquire(folder, environment)
    assert starts(folder) == 2
    first.release()
    assert daemon(folder) is not None
    second.release()


def refusal(folder: Path, environment: dict[str, str]) -> str:
    with pytest.raises(MpsUnavailable) as error:
        Mps.acquire(folder, environment)
    return str(error.value)


def test_what_is_said_where_it_cannot_be(
    folder: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    nothing = {"PATH": str(tmp_path)}
    assert refusal(folder, nothing) == (
        f"there is no program {NAME} on the PATH; it comes with NVIDIA's driver"
    )
    install(tmp_path / "bin", refuses="An instance needs root")
    assert refusal(folder, environment).endswith("does not start it: An instance needs root")
    (folder / "pipe").rmdir()
    folder.chmod(0o777)
    assert refusal(folder, environment).startswith(f"others may write to {folder}")


def test_a_folder_of_somebody_else_is_not_used(
    folder: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "theirs").mkdir()
    folder.symlink_to(tmp_path / "theirs")
    assert refusal(folder, environment) == f"{folder} is not a folder of this user; remove it"
    assert not list((tmp_path / "theirs").iterdir())
    folder.unlink()
    folder.write_text("")
    assert "File exists" in refusal(folder, environment)
    folder.unlink()
