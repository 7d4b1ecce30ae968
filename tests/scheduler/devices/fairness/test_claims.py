"""Who gets a device that falls free, and for how long it is kept; what follows from that for all."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.devices.fairness.claims import LONGEST_KEPT, NOT_OFFERED, TO_TAKE, Claim, Leaving

US, THEM = 1000, 1001
GPUS = frozenset({"gpu0", "gpu1", "gpu2", "gpu3"})
OWN = Claim("own", US, 1, priority=0, in_use=1, more=1, devices=GPUS, since=50.0, idle_for=3.0)
THEIRS = replace(OWN, name="theirs", uid=THEM)


def left(
    leaving: Leaving, device: str, *others: Claim, own: Claim = OWN, now: float = 100.0
) -> str:
    claim = leaving.decide(device, own, others, now, free_since=100.0)
    return "" if claim is None else claim.name


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"priority": 1, "in_use": 9, "since": 99.0}, "its priority is 1, ours 0"),
        ({"in_use": 0, "since": 99.0}, "it uses 0 device(s), we 1 beside this one"),
        ({"since": 49.0}, "it has waited longer"),
    ],
)
def test_a_better_claim_goes_first_and_says_why(changes, why):
    theirs = replace(THEIRS, **changes)
    assert left(Leaving(US), "gpu0", theirs) == "theirs"
    assert theirs.why_before(OWN) == why
    back = replace(OWN, name="theirs", uid=THEM), replace(theirs, name="own", uid=US)
    assert not left(Leaving(THEM), "gpu0", back[0], own=back[1])


@pytest.mark.parametrize(
    "changes",
    [{"priority": -1, "in_use": 0}, {"in_use": 2}, {"since": 51.0}, {"devices": frozenset()}],
)
def test_no_other_claim_takes_a_device(changes):
    assert not left(Leaving(US), "gpu0", replace(THEIRS, **{"since": 1.0} | changes))


def test_what_is_left_already_counts_as_theirs_until_their_note_says_so():
    leaving, own = Leaving(US), replace(OWN, in_use=3, since=0.0)
    theirs = replace(THEIRS, in_use=0, more=4)
    assert [left(leaving, gpu, theirs, own=own) for gpu in ("gpu0", "gpu1", "gpu2")] == [
        "theirs"
    ] * 3
    assert not left(leaving, "gpu3", theirs, own=own)
    theirs = replace(theirs, in_use=1, more=3)  # it has taken one, which is not seen here yet
    assert not left(leaving, "gpu3", theirs, own=own)
    leaving.in_use("gpu0", 101.0)  # now it is
    assert not left(leaving, "gpu3", theirs, own=own)
    assert left(Leaving(US), "gpu3", theirs, own=own) == "theirs"


def test_no_more_is_left_than_is_wanted():
    leaving, own, theirs = Leaving(US), replace(OWN, in_use=3), replace(THEIRS, in_use=0, more=1)
    assert left(leaving, "gpu0", theirs, own=own) == "theirs"
    assert not left(leaving, "gpu1", theirs, own=own)


@pytest.mark.parametrize(("idle_for", "kept"), [(3.0, 3.0 + TO_TAKE), (1e9, LONGEST_KEPT)])
def test_a_device_is_kept_so_long_and_then_for_ten_minutes_none_is(idle_for, kept):
    leaving, theirs = Leaving(US), replace(THEIRS, in_use=0, idle_for=idle_for)
    assert left(leaving, "gpu0", theirs) == "theirs"
    assert left(leaving, "gpu0", theirs, now=100 + kept - 0.1) == "theirs"
    over = 100 + kept
    assert not left(leaving, "gpu0", theirs, now=over)
    assert not left(leaving, "gpu1", theirs, now=over)
    again = replace(theirs, name="under another name", since=over)
    assert not left(leaving, "gpu1", again, now=over + NOT_OFFERED - 0.1)
    again = replace(again, since=over + NOT_OFFERED)
    assert left(leaving, "gpu1", again, now=over + NOT_OFFERED) == "under another name"


def test_of_our_own_user_only_who_did_not_take_it_is_passed_over():
    leaving = Leaving(US)
    slow, quick = (replace(THEIRS, name=name, uid=US, in_use=0) for name in ("slow", "quick"))
    assert left(leaving, "gpu0", slow) == "slow"
    assert not left(leaving, "gpu0", slow, now=106.0)
    quick = replace(quick, since=106.0)
    assert left(leaving, "gpu1", slow, quick, now=106.0) == "quick"


def test_who_begins_to_wait_later_has_as_much_time():
    leaving, theirs = Leaving(US), replace(THEIRS, in_use=0, since=104.0)
    assert left(leaving, "gpu0", theirs, now=104.0) == "theirs"
    assert left(leaving, "gpu0", theirs, now=109.9) == "theirs"
    assert not left(leaving, "gpu0", theirs, now=110.0)


@pytest.mark.parametrize(("users", "kept"), [(1, 6.0), (100, LONGEST_KEPT)])
def test_claims_that_change_all_the_time_keep_a_device_no_longer(users, kept):
    leaving, now = Leaving(US), 100.0
    for number in range(100):
        uid, name = 2000 + number % users, f"number {number}"
        theirs = replace(THEIRS, name=name, uid=uid, in_use=0, since=now)
        if not left(leaving, "gpu0", theirs, now=now):
            break
        now += 1
    assert now == 100 + kept


PAIR = replace(THEIRS, in_use=0, more=2, at_once=2)


def test_who_must_have_several_has_time_from_when_they_are_all_there():
    leaving, alone = Leaving(US), replace(OWN, in_use=0, since=99.0)
    assert left(leaving, "gpu0", PAIR, now=100.0) == "theirs"
    assert left(leaving, "gpu0", PAIR, now=109.0) == "theirs"  # it could not take it alone
    # One that it cannot use yet does not count as in its use.
    second = leaving.decide("gpu1", alone, [PAIR], 110.0, 110.0)
    assert second is not None
    for now, kept in ((115.9, True), (116.0, False)):
        assert (leaving.decide("gpu1", alone, [PAIR], now, 110.0) is not None) == kept
    assert not left(leaving, "gpu0", PAIR, now=117.0)  # it had both, and did not take them
    assert not left(leaving, "gpu2", PAIR, now=117.0)


def test_what_comes_late_is_not_too_late_for_who_must_have_several():
    leaving = Leaving(US)
    assert left(leaving, "gpu0", PAIR, now=100.0) == "theirs"
    assert leaving.decide("gpu1", OWN, [PAIR], 129.0, 129.0) is not None
    assert left(leaving, "gpu0", PAIR, now=131.0) == "theirs"
    leaving.in_use("gpu0", 132.0)
    leaving.in_use("gpu1", 132.0)
    assert leaving.decide("gpu2", OWN, [PAIR], 133.0, 133.0) == PAIR  # it took them in time


def test_no_device_waits_long_for_others_beside_it():
    leaving = Leaving(US)
    assert left(leaving, "gpu0", PAIR, now=100.0) == "theirs"
    assert not left(leaving, "gpu0", PAIR, now=100 + LONGEST_KEPT)
    assert not left(leaving, "gpu1", PAIR, now=100 + LONGEST_KEPT)
    again = 100 + LONGEST_KEPT + NOT_OFFERED
    assert leaving.decide("gpu2", OWN, [PAIR], again - 0.1, again - 0.1) is None
    assert leaving.decide("gpu2", OWN, [PAIR], again, again) == PAIR


def test_while_ours_run_on_it_a_device_is_not_kept_in_vain():
    leaving, theirs = Leaving(US), replace(THEIRS, in_use=0)
    for now in (0.0, 1000.0):
        assert leaving.decide("gpu0", OWN, [theirs], now, None) is not None
    assert leaving.decide("gpu0", OWN, [theirs], 1001.0, 1001.0) is not None
    assert leaving.decide("gpu0", OWN, [theirs], 1006.9, 1001.0) is not None
    assert leaving.decide("gpu0", OWN, [theirs], 1007.0, 1001.0) is None


def test_who_may_have_left_it_to_another_is_excused_once():
    leaving, ghost = Leaving(US), replace(THEIRS, name="ghost", uid=666, in_use=0, since=1.0)
    theirs, now = replace(THEIRS, in_use=0), 100.0
    assert left(leaving, "gpu0", ghost, theirs) == "ghost"
    assert not left(leaving, "gpu0", ghost, theirs, now=106.0)
    for device, again in (("gpu1", True), ("gpu2", False)):
        leaving.in_use(device, now)
        now += 100
        assert leaving.decide(device, OWN, [ghost, theirs], now, now) == theirs
        assert leaving.decide(device, OWN, [ghost, theirs], now + 6, now) is None
        offered = leaving.decide("gpu3", OWN, [ghost, theirs], now + 7, now + 7)
        assert (offered is not None) == again
        leaving.withdraw("gpu3")


def test_who_did_not_take_it_before_another_did_is_passed_over_too():
    leaving, theirs = Leaving(US), replace(THEIRS, in_use=0)
    assert left(leaving, "gpu0", theirs) == "theirs"
    leaving.in_use("gpu0", 105.9)
    assert left(leaving, "gpu0", theirs) == "theirs"
    leaving.in_use("gpu0", 106.0)
    assert not left(leaving, "gpu0", theirs)


# --- many dispatchers, each with work without end --------------------------------------------------

LOOK = 1.0  # seconds between two looks
LONGEST_TASK = 30.0


@dataclass
class Dispatcher:
    """One that decides by the code under test alone; a ghost asks for devices and takes none."""

    priority: int
    idle_for: float
    begins: float
    ghost: bool = False
    number: int = 0
    since: float = 0.0
    running: dict[str, float] = field(default_factory=dict)
    takes: list[float] = field(default_factory=list)

    def enter(self, number: int) -> None:
        self.number, self.since, self.leaving = number, self.begins, Leaving(number)

    def claim(self, devices: list[str]) -> Claim:
        others = frozenset(devices) - self.running.keys()
        return Claim(
            f"note {self.number}", self.number, 1, self.priority, len(self.running), len(others),
            others, self.since, self.idle_for,
        )  # fmt: skip

    def takes_it(self, device: str, claims: list[Claim], now: float, free_since: float) -> bool:
        own, *others = sorted(claims, key=lambda claim: claim.uid != self.number)
        return self.leaving.decide(device, own, others, now, free_since) is None


one = st.builds(
    Dispatcher, st.integers(0, 1), st.sampled_from([0.0, 3.0]), st.sampled_from([0.0, 99.0])
)
several = st.lists(one, min_size=1, max_size=3)
ghosts = st.lists(one.map(lambda dispatcher: replace(dispatcher, ghost=True)), max_size=2)


@settings(max_examples=50, deadline=None)
@given(several, ghosts, st.integers(1, 4), st.integers(0, 2**32))
def test_nobody_waits_for_ever_and_no_device_for_long(able, ghosts, count, seed):
    devices, random = [f"gpu{number}" for number in range(count)], Random(seed)
    everybody = random.sample(both := [*able, *ghosts], len(both))
    for number, dispatcher in enumerate(everybody):
        dispatcher.enter(number)
    free_since, last_user = dict.fromkeys(devices, 0.0), dict.fromkeys(devices)
    now, end = 0.0, 900.0
    while now < end:
        now += LOOK
        here = [dispatcher for dispatcher in everybody if dispatcher.begins <= now]
        for dispatcher in here:
            for device in [name for name, until in dispatcher.running.items() if until <= now]:
                del dispatcher.running[device]
                dispatcher.since = free_since[device] = now
                last_user[device] = dispatcher
        notes = [dispatcher.claim(devices) for dispatcher in here]  # as they stood before this look
        for dispatcher in random.sample(here, len(here)):
            for device in devices if not dispatcher.ghost else ():
                if any(device in other.running for other in here):
                    dispatcher.leaving.in_use(device, now)
                    continue
                own = [
                    n if n.uid != dispatcher.number else dispatcher.claim(devices) for n in notes
                ]
                idle_for = 0.0 if last_user[device] is dispatcher else dispatcher.idle_for
                since = max(free_since[device], dispatcher.begins)
                if now - since >= idle_for and dispatcher.takes_it(device, own, now, since):
                    dispatcher.running[device] = now + random.choice([1.0, 10.0, LONGEST_TASK])
                    dispatcher.since = now
                    dispatcher.takes.append(now)
                    dispatcher.leaving.in_use(device, now)
        if any(dispatcher.begins < now - 40 for dispatcher in able):
            unused = set(devices).difference(*(dispatcher.running for dispatcher in here))
            assert all(now - free_since[device] <= LONGEST_KEPT + 3 + 2 * LOOK for device in unused)
    for dispatcher in able:
        if dispatcher.priority == max(other.priority for other in able):
            gaps = [b - a for a, b in pairwise([dispatcher.begins, *dispatcher.takes, end])]
            assert max(gaps) <= len(everybody) * (LONGEST_TASK + LONGEST_KEPT)
