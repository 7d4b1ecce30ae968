"""One dispatcher among others: what it asks of them, and what it leaves to them."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from scheduler.core.journal_events import ShareAsked
from scheduler.core.tables.matching import Wanted
from scheduler.devices.fairness.claims import Demand
from scheduler.devices.fairness.share import BEFORE_ASKING, FairShare
from scheduler.devices.processes import user_name
from tests.scheduler.devices.conftest import OTHER_USER, Dispatcher
from tests.scheduler.devices.fairness.test_notes import CLAIM, ask, read


def wants(*devices: str, priority: int = 5) -> Demand:
    return Demand(priority, Wanted(len(devices), devices))


@pytest.fixture
def share(folder: Path) -> FairShare:
    """Of a sweep that uses gpu1 and gpu2, and wants nothing yet."""
    return FairShare(folder, 3.0, lambda: (["gpu1", "gpu2"], 0.0))


def test_what_we_want_is_left_to_a_better_claim(
    share: FairShare, folder: Path, other: Dispatcher
) -> None:
    now = time.monotonic()
    other.do(ask, folder, replace(CLAIM, since=now))
    assert share.why_left("gpu0", now) is None
    share.demand = lambda: wants("gpu0")
    reason = share.why_left("gpu0", now)
    assert reason is not None
    user = user_name(OTHER_USER if os.geteuid() == 0 else os.geteuid())
    who = f"process 7, user {user}"
    assert reason.text == (
        f"left to another sweep ({who}: it uses 1 device(s), we 2 beside this one)"
    )
    assert share.is_left("gpu0")
    share.demand = lambda: wants("gpu0", priority=6)
    assert share.why_left("gpu0", now) is None
    assert not share.is_left("gpu0")


def test_what_is_left_is_not_when_its_claim_is_gone(
    share: FairShare, folder: Path, other: Dispatcher
) -> None:
    now = time.monotonic()
    other.do(ask, folder, replace(CLAIM, since=now))
    share.demand = lambda: wants("gpu0")
    assert share.why_left("gpu0", now) is not None
    other.kill()
    while share.why_left("gpu0", now) is not None:
        assert time.monotonic() < now + 5.0
    assert not share.is_left("gpu0")


def test_of_those_in_use_that_are_left_none_counts_as_ours(
    share: FairShare, folder: Path, other: Dispatcher
) -> None:
    theirs = replace(CLAIM, in_use=0, more=2, since=0.0, devices=frozenset({"gpu1", "gpu2"}))
    other.do(ask, folder, theirs)
    share.demand = lambda: wants(priority=5)
    assert share.why_left("gpu1", None) is not None
    assert share.why_left("gpu2", None) is None  # each has one then
    assert share.why_left("gpu1", None) is not None


def test_others_are_asked_once_devices_were_wanted_for_a_while(
    share: FairShare, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    share.demand = lambda: wants("gpu0", "gpu3")
    assert list(share.tell()) == []
    now += BEFORE_ASKING
    assert list(share.tell()) == [ShareAsked(on=True)]
    assert list(share.tell()) == []
    [claim] = read(folder)
    assert (claim.priority, claim.in_use, claim.more, claim.since) == (5, 2, 2, 100.0)
    share.demand = Demand
    assert list(share.tell()) == [ShareAsked(on=False)]
    assert read(folder) == []
