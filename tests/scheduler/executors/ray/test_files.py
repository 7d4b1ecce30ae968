"""An attempt's files, from its node to its dispatcher; without a Ray."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from scheduler.executors.local.attempt_files import Refused
from scheduler.executors.ray.driver.home import Home
from scheduler.executors.ray.node_check import differences, installed_here
from scheduler.executors.ray.node_files import PIECE, NodeFiles

START = {"attempt": 2, "device": "ray:0", "task": "a", "token": "t"}
END = {"ended": 1.0, "code": 0, "signal": None}


class Both:
    """The files of an attempt at both ends."""

    def __init__(self, folder: Path) -> None:
        home = folder / "home"
        home.mkdir()
        self.paths = {name: home / f"a.{name}" for name in ("attempts", "log", "results", "done")}
        self.order: dict[str, Any] = {
            "token": "t",
            "attempt": 2,
            "home": {name: str(path) for name, path in self.paths.items()},
        }
        self.home = Home(self.order)
        self.node = NodeFiles(folder / "node", "a.jsonl")
        self.heard = 0

    def begin(self) -> None:
        self.home.lock(0)
        self.node.make(self.home.results_so_far())
        self.node.attempts.write_text(json.dumps(START) + "\n")
        self.node.answers.write_text('{"type": "started"}\n')

    def bring(self, *, over: bool = False) -> bytes:
        """Bring home what is new; return the answers."""
        answers = b""
        while True:
            news = self.node.news(self.home.offsets(self.heard), over=over)
            self.home.take(news)
            self.heard += len(news.answers)
            answers += news.answers
            if not over or news.over:
                break
        if over:
            self.home.complete(news, self.node.piece)
        return answers

    def text(self, name: str) -> str:
        return self.paths[name].read_text()


@pytest.fixture
def both(tmp_path: Path) -> Both:
    return Both(tmp_path)


def test_what_is_new_comes_home_and_nothing_twice(both: Both) -> None:
    both.paths["results"].write_text("kept\n")
    both.paths["log"].write_text("of an earlier attempt\n")
    both.begin()
    assert both.node.results.read_text() == "kept\n"
    with both.node.log.open("a") as log, both.node.results.open("a") as results:
        for number in range(3):
            print(number, file=log, flush=True)
            print(number, file=results, flush=True)
            both.bring()
    assert both.text("log") == "0\n1\n2\n"
    assert both.text("results") == "kept\n0\n1\n2\n"
    assert both.paths["log"].with_name("a.log.1").read_text() == "of an earlier attempt\n"
    assert [json.loads(line) for line in both.text("attempts").splitlines()] == [START]


def test_the_end_comes_after_everything_else(both: Both) -> None:
    """Also of a log that takes several pieces."""
    both.begin()
    both.node.log.write_bytes(b"x" * (2 * PIECE + 5))
    with both.node.attempts.open("a") as record, both.node.answers.open("a") as answers:
        print(json.dumps(END), file=record)
        print('{"type": "ended"}', file=answers)
    both.home.take(both.node.news(both.home.offsets(0), over=False))
    assert "ended" not in both.text("attempts")
    assert b'"ended"' in both.bring(over=True)
    assert both.paths["log"].stat().st_size == 2 * PIECE + 5
    assert json.loads(both.text("attempts").splitlines()[-1]) == END


def test_who_takes_over_goes_on_where_the_other_was(both: Both) -> None:
    both.begin()
    both.node.log.write_text("one\n")
    both.bring()
    both.home.close()
    both.home = Home(both.order)
    assert both.home.lock_again(lambda: None)
    both.node.log.write_text("one\ntwo\n")
    both.bring()
    assert both.text("log") == "one\ntwo\n"
    assert both.text("attempts").count("token") == 1


def test_a_lock_that_another_holds_is_waited_for(both: Both) -> None:
    both.begin()
    asked: list[bool] = []

    def ask_to_leave() -> None:
        asked.append(True)
        both.home.close()

    assert Home(both.order).lock_again(ask_to_leave)
    assert asked == [True]


@pytest.mark.parametrize(("there", "why"), [("attempts", "changed"), ("done", "completed")])
def test_what_others_have_run_is_refused(both: Both, there: str, why: str) -> None:
    both.paths[there].write_text("{}")
    with pytest.raises(Refused, match=why):
        both.home.lock(0)


def test_results_that_were_changed_and_pictures_come_at_the_end(both: Both) -> None:
    both.paths["results"].write_text("one\ntwo\n")
    both.begin()
    both.node.results.write_text("ONE\n")
    both.node.pictures.mkdir()
    (both.node.pictures / "p.webp").write_bytes(b"picture")
    both.bring()
    assert both.text("results") == "one\ntwo\n"
    both.bring(over=True)
    assert both.text("results") == "ONE\n"
    assert (both.paths["results"].with_suffix(".images") / "p.webp").read_bytes() == b"picture"


def test_how_a_node_differs_is_said(tmp_path: Path) -> None:
    here = installed_here(str(tmp_path))
    assert list(differences(here, here, str(tmp_path))) == []
    there = installed_here(str(tmp_path / "none"))
    there["versions"] = {**there["versions"], "torch": "0.1", "tomesd": None}
    assert list(differences(here, there, "/none")) == [
        "has no folder /none, in which attempts start",
        "has other versions than this machine: "
        f"torch 0.1, not {version('torch')}, no tomesd ({version('tomesd')})",
    ]
    assert list(differences(here, {"error": "No module"}, "/none")) == [
        "cannot start this program: No module"
    ]
