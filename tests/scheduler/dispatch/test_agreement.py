"""What `status` and `--dry-run` say is what the next run does, over random edits of the file between runs."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scheduler.cli.main import main

STEPS = 10
SAY = "echo {m} >> ran; echo loss $SAY; echo Done.; exit $CODE"


class Editor:
    """A user who edits a sweep file, and does worse; every choice follows from the seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.content: dict[str, Any] = {
            "matrix": {"m": [1, 2, 3]},
            "worker": {
                "command": ["sh", "-c", SAY],
                "args": {"lr": 1},
                "env": {"SAY": "good", "CODE": "0"},
            },
            "validate": {"success": "Done.", "failure": []},
            "retries": {"max_attempts": 2, "backoff": "1ms"},
            "devices": {"cpu_slots": 3},
        }

    def edit(self) -> list[str]:
        """Do one or two things; return a command to be run then, if there is one."""
        command: list[str] = []
        for _ in range(self._random.choice((1, 1, 2))):
            command = self._random.choice(self._EDITS)(self) or command
        Path("s.yaml").write_text(json.dumps(self.content))
        return command

    def _values(self) -> None:
        some = self._random.sample([1, 2, 3, 4], self._random.randint(1, 4))
        self.content["matrix"] = {"m": sorted(some)}

    def _args(self) -> None:
        self.content["worker"]["args"] = {"lr": self._random.choice((1, 2))}

    def _env(self) -> None:
        self.content["worker"]["env"]["SAY"] = self._random.choice(("good", "nan"))

    def _code(self) -> None:
        self.content["worker"]["env"]["CODE"] = self._random.choice("012")

    def _search(self) -> None:
        self.content["search"] = {"max_loss": self._random.choice((1, 2))}

    def _validate(self) -> None:
        success = self._random.choice(("Done.", "Done.", "loss g"))
        failure = self._random.choice(([], ["nan"]))
        self.content["validate"] = {"success": success, "failure": failure}

    def _attempts(self) -> None:
        self.content["retries"]["max_attempts"] = self._random.choice((1, 2, 3))

    def _delete(self) -> None:
        done = sorted(Path("checkpoints/s").glob("*.done"))
        if done:
            self._random.choice(done).unlink()

    def _retry(self) -> list[str]:
        return ["retry", "s.yaml"]

    def _retry_by_force(self) -> list[str]:
        return ["retry", "s.yaml", "--force"]

    _EDITS: tuple[Callable[[Editor], list[str] | None], ...] = (
        *(_values, _args, _args, _env, _code, _search, _validate, _validate),
        *(_attempts, _delete, _retry, _retry_by_force),
    )


def said_by_status(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    capsys.readouterr()
    assert main(["status", "s.yaml", "--json"]) == 0
    return {task["task"]: task["state"] for task in json.loads(capsys.readouterr().out)["tasks"]}


def said_by_dry_run(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    capsys.readouterr()
    assert main(["run", "s.yaml", "--dry-run"]) == 0
    found = re.findall(r"^  (\d) \[([a-z ]+)\]", capsys.readouterr().out, re.MULTILINE)
    return dict(found)


@pytest.mark.parametrize("seed", range(8))
def test_what_is_said_is_what_a_run_then_does(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    editor = Editor(seed)
    for step in range(STEPS):
        if command := editor.edit():
            main(command)
        expected = said_by_status(capsys)
        assert said_by_dry_run(capsys) == expected, (step, editor.content)
        Path("ran").write_text("")
        main(["run", "s.yaml", "--plain"])
        ran = set(Path("ran").read_text().split())
        waited = {task for task, state in expected.items() if state == "waiting"}
        assert ran == waited, (step, editor.content, expected)
        for task, state in said_by_status(capsys).items():
            assert state in ("completed", "failed")
            assert expected[task] in (state, "waiting"), (step, task, editor.content)
