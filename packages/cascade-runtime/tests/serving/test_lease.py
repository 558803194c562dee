"""The lease: never two holders, whatever is frozen, cut or late, and a new one soon."""

from __future__ import annotations

from random import Random

import pytest
from serving.lease_fleet import STEP, TTL, Box, Fleet

from cascade.runtime.serving._lease import Stage
from cascade.wire.leases import parse_lease


@pytest.mark.parametrize("keeps_store", [True, False], ids=["the broker keeps its store", "it loses it"])
@pytest.mark.parametrize(
    "seeds", [4, pytest.param(400, marks=[pytest.mark.nightly, pytest.mark.timeout(600)])]
)
def test_there_are_never_two_holders(seeded_random: Random, seeds: int, keeps_store: bool) -> None:
    """While boxes are frozen and links are cut or stand still; afterwards there is one."""
    for _ in range(seeds):
        fleet = Fleet(4, seeded_random.getrandbits(32))
        fleet.play(seeded_random, 1_500, keeps_store=keeps_store)
        fleet.check_terms()
        for box in fleet.boxes:
            box.frozen = False
            fleet.link(box)
        fleet.calm(3 * TTL)
        assert len(fleet.holders()) == 1


def fleet_of(number: int, *, held: bool = True) -> tuple[Fleet, list[Box]]:
    """Return linked boxes, the first of which holds the lease."""
    fleet = Fleet(number)
    for box in fleet.boxes:
        fleet.link(box)
        fleet.calm(0.0 if not held else 1.5 * TTL if box is fleet.boxes[0] else STEP)
    return fleet, fleet.boxes


def read_all(fleet: Fleet) -> None:
    """Let everybody read what has come, and send nothing."""
    for box in fleet.boxes:
        while box.inbox:
            fleet.deliver(box)


def test_of_two_claims_at_one_moment_the_first_wins() -> None:
    """Also for a box that links between them and hears only the second one; nobody has to claim again."""
    fleet, (first, second, late) = fleet_of(3, held=False)
    fleet.cut(late)
    read_all(fleet)
    fleet.pass_time(1.1 * TTL)
    for box in (first, second):
        box.rules.draw = lambda: 0.0
        box.rules._next = fleet.now
        fleet.act(box)
    assert [box.rules.stage for box in fleet.boxes] == [Stage.CLAIMS, Stage.CLAIMS, Stage.FOLLOWS]
    fleet.carry(first)
    fleet.link(late)
    fleet.carry(second)
    fleet.calm(5 * TTL)
    assert fleet.holders() == [first]
    assert {term for _, term, _ in fleet.works} == {1}
    assert all(box.rules.holder == first.rules.holder for box in fleet.boxes)


def test_a_term_that_was_claimed_and_never_renewed_is_free() -> None:
    """A box that has linked behind the claim takes the term; the one that claimed it reads its own claim two ttl later."""
    fleet, (first, late) = fleet_of(2, held=False)
    fleet.cut(late)
    read_all(fleet)
    first.rules._next = fleet.now
    fleet.act(first)
    fleet.carry(first)
    first.frozen = True
    fleet.link(late)
    fleet.calm(2 * TTL)
    assert fleet.holders() == [late]
    assert late.rules.term == 1
    first.frozen = False
    fleet.calm(2 * TTL)
    assert {session for _, _, session in fleet.works} == {late.rules.session}


def test_boxes_that_link_take_nothing_from_a_living_holder() -> None:
    """However often they do, and although they hear its retained renewal again and again."""
    fleet, (holder, *others) = fleet_of(4)
    began = fleet.now
    for n in range(40):
        fleet.link(others[n % 3])
        fleet.calm(TTL / 3)
        assert fleet.holders() == [holder]
    assert {term for _, term, _ in fleet.works} == {1}
    assert fleet.now - began > 13 * TTL


def test_a_holder_that_was_frozen_for_two_ttl_works_no_more() -> None:
    """Another one has taken over within 1.5 ttl; the renewal that the old one had sent before stays retained no longer."""
    fleet, (holder, *others) = fleet_of(3)
    fleet.pass_time(TTL / 3)
    fleet.act(holder)
    assert holder.outbox
    holder.frozen, late = True, holder.outbox.popleft()
    fleet.calm(1.5 * TTL)
    (new,) = fleet.holders()
    assert new in others
    holder.outbox.append(late)
    holder.frozen = False
    fleet.calm(STEP)
    assert fleet.retained is not None
    assert (fleet.retained.session, fleet.retained.term) == (new.rules.session, 2)
    fleet.calm(5 * TTL)
    assert fleet.holders() == [new]
    fleet.check_terms()


@pytest.mark.parametrize("late", [0.3, 0.4])
def test_a_renewal_counts_from_before_it_was_sent(late: float) -> None:
    """A holder that reads late that it came back, and is cut then, works no longer than others wait."""
    fleet, (holder, *others) = fleet_of(3)
    for box in others:
        box.rules.draw = lambda: 0.0
    fleet.calm(TTL / 3)
    holder.rules._next = fleet.now
    fleet.act(holder)
    fleet.carry(holder)
    for box in fleet.boxes[1:]:
        fleet.deliver(box)
    fleet.pass_time(late * TTL)
    fleet.deliver(holder)
    fleet.cut(holder)
    fleet.calm(2 * TTL)
    assert {term for _, term, _ in fleet.works} == {1, 2}


def test_a_retained_renewal_that_comes_again_is_no_sign_of_life() -> None:
    """A connector reads the retained set from time to time: the others take over all the same."""
    fleet, (holder, *others) = fleet_of(3)
    holder.frozen = True
    for _ in range(5):
        fleet.calm(0.3 * TTL)
        for box in others:
            box.inbox.append(fleet.retained)  # type: ignore[arg-type]
    assert fleet.holders()[0] in others


def test_a_holder_whose_renewals_do_not_come_back_gives_way() -> None:
    """It cannot know whether the broker has them: its time ends, and it listens again before it claims."""
    fleet, (holder, _, _) = fleet_of(3)
    for _ in range(20):
        fleet.pass_time(STEP)
        fleet.act(holder)
    assert fleet.holders() == []
    assert holder.rules.stage is Stage.FOLLOWS


def test_the_last_tick_that_began_is_known_to_the_next_holder() -> None:
    """A tick begins when its renewal has come back."""
    fleet, (holder, other, _) = fleet_of(3)
    number = holder.rules.begin_tick("audit", "2026-11-25T02:00:00Z", fleet.now)
    assert holder.rules.confirmed < number
    fleet.act(holder)
    fleet.calm(STEP)
    assert holder.rules.confirmed == number
    assert other.rules.ticks == {"audit": "2026-11-25T02:00:00Z"}


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"{}",
        b'{"v": "1.0", "term": 0, "session": "s", "source": "a", "n": 1, "ttl": 30}',
        b'{"v": "1.0", "term": 9007199254740993, "session": "s", "source": "a", "n": 1, "ttl": 30}',
        b'{"v": "1.0", "term": 1, "session": "s", "source": "a", "n": 0, "ttl": 30}',
        b'{"v": "1.0", "claim": true, "term": 1, "session": "s", "source": "a", "n": 1, "ttl": 30}',
        b'{"v": "1.0", "term": 1, "session": "s", "source": "a", "n": 1, "ttl": 1e9}',
        b'{"v": "1.0", "term": 1, "session": "s", "source": "a", "n": 1, "ttl": 30, "tick": {"a": "soon"}}',
    ],
)
def test_what_is_no_message_of_a_lease_is_ignored(payload: bytes) -> None:
    """Nothing that anybody sends may stop the one who reads it."""
    assert parse_lease(payload) is None
