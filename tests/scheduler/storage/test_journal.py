"""The journal: what is written is read back as what it was; what cannot be read is counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest

from scheduler.core import journal_events as je
from scheduler.core.retry import RetryCode, RetryReason
from scheduler.core.snapshot import WAITING, Holder, Snapshot, TaskView
from scheduler.storage.journal import Journal, JournalReader, parse_entry
from tests.helpers.journal_samples import HALVES, SAMPLES


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def write(path: Path, *events: je.JournalEvent) -> list[je.Entry]:
    journal = Journal(path)
    entries = [journal.add(event) for event in events]
    journal.close()
    return entries


def test_every_kind_of_event_is_read_back_as_it_was_written(path: Path) -> None:
    assert {type(event) for event in SAMPLES} == set(get_args(je.JournalEvent))
    entries = write(path, *SAMPLES)
    journal = JournalReader(path)
    assert list(journal) == entries
    assert journal.unread == 0


@pytest.mark.parametrize(
    ("devices", "keys"),
    [
        ((), {"device": None}),
        (("GPU-a",), {"device": "GPU-a"}),
        (("GPU-a", "GPU-b"), {"device": "GPU-a", "devices": ["GPU-a", "GPU-b"]}),
    ],
)
def test_devices_stand_beside_the_first_where_there_are_several(
    path: Path, devices: tuple[str, ...], keys: dict[str, object]
) -> None:
    entries = write(path, je.TaskFailed("a", devices, 3, 1.5, "why"))
    line = json.loads(path.read_text())
    assert {key: line[key] for key in ("device", "devices") if key in line} == keys
    assert list(JournalReader(path)) == entries


def test_the_device_of_a_task_in_an_old_snapshot_is_read(path: Path) -> None:
    (entry,) = write(path, SAMPLES[-1])
    line = json.loads(path.read_text())
    line["tasks"]["a"]["device"] = line["tasks"]["a"].pop("devices")[0]
    del line["tasks"]["b"]["devices"]
    path.write_text(json.dumps(line) + "\n")
    assert list(JournalReader(path)) == [entry]


def test_people_can_read_why_a_task_waits(path: Path) -> None:
    write(path, je.TaskWaits("a", 40.0, HALVES))
    line = json.loads(path.read_text())
    assert line["why"] == "out of memory: halves batch"
    assert line["reason"] == {"code": "halves arguments", "arguments": ["batch"]}


def test_what_cannot_be_read_is_counted(path: Path) -> None:
    (entry,) = write(path, je.SweepResumed())
    strange = [
        *('{"at": 1, "event": "resu', "\0\0\0", "[]", '{"event": "resumed"}'),
        *('{"at": 1, "event": "invented later"}', '{"at": 1, "event": ["resumed"]}'),
        *('{"at": NaN, "event": "resumed"}', '{"at": 1e999, "event": "resumed"}'),
        *('{"at": true, "event": "resumed"}', '{"at": 1, "event": "paused"}'),
        '{"at": 1, "event": "set_aside", "device": "x", "until": Infinity, "why": ""}',
        '{"at": 1, "event": "attempt_started", "task": "a", "attempt": "x", "device": "y", "started": 1}',
    ]
    with path.open("a") as file:
        file.write("".join(f"{line}\n" for line in strange))
        file.write('{"at": 1, "event": "resu')  # not yet written whole
    journal = JournalReader(path)
    assert list(journal) == [entry]
    assert journal.unread == len(strange)


def test_a_snapshot_is_where_reading_begins(path: Path) -> None:
    write(path, je.SweepPaused("no room"))
    with path.open("a") as file:
        file.write("damaged, long ago\n")
    entries = write(path, SAMPLES[-1], je.SweepResumed())
    journal = JournalReader(path, recent=True)
    assert (list(journal), journal.unread) == (entries, 0)
    assert len(list(JournalReader(path))) == 3


@pytest.mark.parametrize("recent", [True, False])
def test_a_journal_that_is_none_has_no_entries(path: Path, *, recent: bool) -> None:
    assert list(JournalReader(path, recent=recent)) == []
    path.touch()
    assert list(JournalReader(path, recent=recent)) == []
    path.unlink()
    path.mkdir()
    assert list(JournalReader(path, recent=recent)) == []


def test_what_version_0_1_0_called_otherwise_is_read() -> None:
    stranger = parse_entry(b'{"at": 1.5, "event": "stranger", "task": "z"}')
    assert stranger == je.Entry(1.5, je.UnlistedTask("z"))
    holder = {"at": 1.0, "event": "dispatcher_started", "pid": 7, "birth": 8, "tasks": 2}
    view = {"state": "waiting", "attempts": 1, "waits": "device error", "not_before": 3.0}
    figures = {"idle_seconds": 0.0, "lost_seconds": 0.0, "gaps": [], "durations": []}
    line = {"at": 2.0, "event": "snapshot", "holder": holder, "trouble": None, "draining": False}
    entry = parse_entry(
        json.dumps({**line, **figures, "devices": {}, "tasks": {"a": view}}).encode()
    )
    assert entry is not None
    assert isinstance(entry.event, Snapshot)
    assert entry.event.holder == Holder(7, 8, 1.0)
    reason = RetryReason(RetryCode.DEVICE_ERROR, words="device error")
    assert entry.event.tasks == {"a": TaskView(WAITING, 1, waits=reason, not_before=3.0)}
