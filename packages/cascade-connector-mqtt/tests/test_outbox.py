"""The outbox keeps its promises whatever happens to it: bounds, order, true counts."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cascade.connectors.mqtt._content import Copier
from cascade.connectors.mqtt._outbox import Outbox, Outgoing

CONTROL = ["cascade/state/s/runs", "cascade/status/s"]
PLAIN = ["a", "b"]


def filled(count: int, **bounds: int) -> Outbox:
    outbox = Outbox(**{"max_messages": 1_000, "max_bytes": 1_000_000, **bounds})
    for number in range(count):
        outbox.accept("a", str(number), 1, False)
    return outbox


def taken(outbox: Outbox) -> list[Outgoing]:
    found = []
    while (item := outbox.take()) is not None:
        found.append(item)
    return found


def test_messages_leave_in_order() -> None:
    """First in, first out."""
    assert [item.payload for item in taken(filled(5))] == ["0", "1", "2", "3", "4"]


def test_the_oldest_is_dropped_when_there_are_too_many() -> None:
    """The newest tell most of the present; what is gone is counted."""
    outbox = filled(5, max_messages=3)
    assert [item.payload for item in taken(outbox)] == ["2", "3", "4"]
    assert outbox.dropped == {"outbox full": 2}


def test_an_overflow_is_told_once_for_each_link() -> None:
    """Not for each message, nor for each burst."""
    outbox = Outbox(max_messages=4, max_bytes=1_000)
    told = [outbox.accept("a", "x", 0, False) for _ in range(10)]
    assert told == ["", "", "", "", "outbox full", "", "", "", "", ""]
    while (item := outbox.take()) is not None:
        outbox.land(item)
    assert [outbox.accept("a", "x", 0, False) for _ in range(6)] == [""] * 6
    outbox.restore(blame=False)
    assert [outbox.accept("a", "x", 0, False) for _ in range(2)] == ["outbox full", ""]


def test_the_oldest_is_dropped_when_they_are_too_large() -> None:
    """Bytes of topic and payload count."""
    outbox = filled(0, max_bytes=25)
    for text in ("0123456789", "abcdefghij", "ABCDEFGHIJ"):
        outbox.accept("a", text, 0, False)
    assert [item.payload for item in taken(outbox)] == ["abcdefghij", "ABCDEFGHIJ"]


def test_one_message_that_is_too_large_costs_no_other() -> None:
    """It is dropped alone."""
    outbox = filled(3, max_bytes=100)
    assert outbox.accept("a", "x" * 101, 0, False) == "too large"
    assert len(taken(outbox)) == 3


def test_a_copy_is_too_large_only_if_its_json_is() -> None:
    """A message gets there whenever it would, had its JSON been made at once."""
    outbox = filled(0, max_bytes=600)
    for count, said in ((100, ""), (200, "too large")):
        copy = Copier().copy({"n": [0.5] * count})
        assert copy is not None
        assert len(copy) > 600
        assert outbox.accept("a", copy, 0, False) == said
    assert [item.payload for item in taken(outbox)] == [json.dumps({"n": [0.5] * 100})]


def test_the_lane_overtakes_and_keeps_the_latest() -> None:
    """A report that was replaced before it left is counted as superseded."""
    outbox = filled(2)
    for text in ("old", "new"):
        outbox.accept(CONTROL[0], text, 1, True)
    assert [item.payload for item in taken(outbox)] == ["new", "0", "1"]
    assert outbox.dropped == {"superseded": 1}


def test_the_lane_is_not_dropped_for_telemetry() -> None:
    """However many messages of telemetry push."""
    outbox = filled(0, max_messages=2)
    outbox.accept(CONTROL[0], "report", 1, True)
    for number in range(100):
        outbox.accept("a", str(number), 1, False)
    assert next(iter(taken(outbox))).payload == "report"


def test_the_lane_is_bounded_too() -> None:
    """A tool that reports on ever new topics fills no memory."""
    outbox = filled(0)
    for number in range(10_000):
        outbox.accept(f"cascade/sync/s/{number}", "", 0, False)
    assert outbox.pending == 4_096


def test_what_was_in_flight_goes_first_again_in_order() -> None:
    """Whatever has landed in between."""
    outbox = filled(6)
    flying = [outbox.take() for _ in range(4)]
    assert flying[1] is not None
    outbox.land(flying[1])
    assert outbox.restore(blame=False) == []
    assert [item.payload for item in taken(outbox)] == ["0", "2", "3", "4", "5"]


def test_a_report_in_flight_gives_way_to_a_newer_one() -> None:
    """After a lost link only the latest value goes out."""
    outbox = filled(0)
    outbox.accept(CONTROL[0], "old", 1, True)
    assert outbox.take() is not None
    outbox.accept(CONTROL[0], "new", 1, True)
    outbox.restore(blame=True)
    assert [item.payload for item in taken(outbox)] == ["new"]


def test_suspects_go_alone_until_they_have_landed() -> None:
    """After the broker closed a link, each message that was in flight is tried on its own."""
    outbox = filled(3)
    assert [outbox.take(), outbox.take()]
    outbox.restore(blame=True)
    order = []
    for _ in range(3):
        item = outbox.take()
        assert item is not None
        assert outbox.take() is None
        order.append(item.payload)
        outbox.land(item)
    assert order == ["0", "1", "2"]


def test_poison_is_given_up_after_two_links_that_only_it_can_have_broken() -> None:
    """An innocent one that flew beside it is not."""
    outbox = filled(2)
    assert [outbox.take(), outbox.take()]
    assert outbox.restore(blame=True) == []
    outbox.take()
    assert outbox.restore(blame=True) == []
    poison = outbox.take()
    assert outbox.restore(blame=True) == [poison]
    assert [item.payload for item in taken(outbox)] == ["1"]
    assert outbox.dropped == {"broke the link twice": 1}


def test_a_link_that_merely_fell_silent_blames_nobody() -> None:
    """A message may be in flight at any number of such losses."""
    outbox = filled(1)
    for _ in range(5):
        assert outbox.take() is not None
        assert outbox.restore(blame=False) == []
    assert outbox.pending == 1


class Life(RuleBasedStateMachine):
    """Any sequence of calls leaves the counts true, the bounds kept and the order whole."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox(max_messages=5, max_bytes=60)
        self.flying: list[Outgoing] = []
        self.first_seen: list[int] = []

    @rule(topic=st.sampled_from(CONTROL + PLAIN), size=st.integers(0, 80))
    def accept(self, topic: str, size: int) -> None:
        self.outbox.accept(topic, "x" * size, 1, False)

    @rule()
    def take(self) -> None:
        if (item := self.outbox.take()) is not None:
            self.flying.append(item)
            if item.topic in PLAIN and item.seq not in self.first_seen:
                self.first_seen.append(item.seq)

    @rule(settle=st.sampled_from(["land", "give up"]), which=st.integers(0, 20))
    def settle(self, settle: str, which: int) -> None:
        if self.flying:
            item = self.flying.pop(which % len(self.flying))
            end: Callable[[Outgoing], None] = (
                self.outbox.land if settle == "land" else lambda each: self.outbox.give_up(each, "refused")
            )
            end(item)

    @rule(blame=st.booleans())
    def lose_link(self, blame: bool) -> None:
        self.outbox.restore(blame=blame)
        self.flying.clear()

    @rule()
    def end(self) -> None:
        self.outbox.clear("unsent")
        self.flying.clear()
        assert self.outbox.pending == 0

    @invariant()
    def counts_are_true(self) -> None:
        box = self.outbox
        assert box.accepted == box.sent + box.pending + sum(box.dropped.values())

    @invariant()
    def memory_is_bounded(self) -> None:
        assert self.outbox.pending <= 5 + len(CONTROL) + 2 * len(self.flying) + 20

    @invariant()
    def first_copies_are_in_order(self) -> None:
        assert self.first_seen == sorted(self.first_seen)

    @invariant()
    def the_oldest_is_pending(self) -> None:
        oldest = self.outbox.oldest()
        assert (oldest is None) == (self.outbox.pending == 0)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("count", [0, 3])
def test_clear_says_how_many_were_left(count: int) -> None:
    """So that the end can be told in one line."""
    outbox = filled(count)
    assert outbox.clear("unsent") == count
    assert outbox.pending == 0


def test_what_broke_a_link_all_alone_waits_for_one_that_holds() -> None:
    """A link that is cut before it has held for a while says nothing of the message; one that has, does."""
    outbox = filled(2)
    first = outbox.take()
    assert outbox.restore(blame=True) == []
    for _ in range(5):
        assert outbox.take(steady=False) is None
        assert outbox.restore(blame=True) == []
    assert outbox.take(steady=True) is first
    assert outbox.restore(blame=True) == [first]
    assert [item.payload for item in taken(outbox)] == ["1"]
