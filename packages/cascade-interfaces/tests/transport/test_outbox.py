"""The outbox keeps its promises whatever happens to it: bounds, order, true counts."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cascade.transport.outbox import Outbox, Outgoing

CONTROL = ["cascade/state/s/runs", "cascade/status/s"]
PLAIN = ["a", "b"]
MAX_MESSAGES, MAX_BYTES = 5, 60


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


def test_the_lane_overtakes_and_keeps_the_latest() -> None:
    """A report that was replaced before it left is counted as superseded."""
    outbox = filled(2)
    for text in ("old", "new"):
        outbox.accept(CONTROL[0], text, 1, True)
    assert [item.payload for item in taken(outbox)] == ["new", "0", "1"]
    assert outbox.dropped == {"superseded": 1}


@pytest.mark.parametrize("poison", ["0", "77", "159"])
def test_the_message_that_breaks_links_is_found_in_halves(poison: str) -> None:
    """Among 160 messages in flight, eight more lost links isolate it and two convict it; all others arrive."""
    outbox, arrived, losses = filled(160), list[str](), 0
    while batch := taken(outbox):
        if poison in [item.payload for item in batch]:
            losses += 1
            outbox.restore(blame=True)
            continue
        arrived += [item.payload for item in batch]
        for item in batch:
            outbox.land(item)
    assert arrived == [str(number) for number in range(160) if str(number) != poison]
    assert outbox.dropped == {"broke the link twice": 1}
    assert losses <= 10


@pytest.mark.parametrize(
    ("end", "delivery"),
    [
        (lambda outbox, item: outbox.land(item), "taken"),
        (lambda outbox, item: outbox.give_up(item, "refused by the broker"), "refused"),
        (lambda outbox, item: outbox.clear("unsent at disconnect"), "returned"),
    ],
)
def test_what_became_of_a_message_is_reported_once(end: Callable[..., object], delivery: str) -> None:
    """Each end of a message has its report, and a second end has none."""
    outbox = filled(0)
    reports: list[str] = []
    outbox.accept("a", "x", 1, False, reports.append)
    (item,) = taken(outbox)
    end(outbox, item)
    end(outbox, item)
    assert reports == [delivery]


def test_a_lost_link_reports_nothing_and_poison_is_reported() -> None:
    """The message that broke two links alone is the only one with a report."""
    outbox = filled(0)
    reports: list[str] = []
    outbox.accept("a", "x", 1, False, reports.append)
    for expected in ([], ["poison"]):
        taken(outbox)
        outbox.restore(blame=True)
        assert reports == expected


def test_what_is_dropped_for_others_is_returned_and_what_is_too_large_refused() -> None:
    """A later try can send the first kind only."""
    outbox = filled(0, max_messages=1, max_bytes=10)
    reports: list[tuple[str, str]] = []
    for text in ("first", "second", "x" * 11):
        outbox.accept("a", text, 1, False, lambda delivery, text=text: reports.append((text[:6], delivery)))  # type: ignore[misc]
    assert reports == [("first", "returned"), ("xxxxxx", "refused")]


def test_the_end_of_a_session_returns_every_message_wherever_it_is() -> None:
    """In flight, given back by a link, in the control lane and in the queue; only one, which wants no report, is lost."""
    outbox = filled(0)
    reports: list[tuple[str, str]] = []

    def accept(text: str, topic: str = "a") -> None:
        outbox.accept(topic, text, 1, False, lambda delivery: reports.append((text, delivery)))

    for text in ("0", "1", "2"):
        accept(text)
    taken(outbox)
    outbox.restore(blame=False)
    outbox.take()
    outbox.accept("a", "without", 1, False)
    accept("queued")
    for topic in CONTROL:
        accept(topic, topic)
    assert outbox.clear("unsent") == 7
    assert sorted(reports) == sorted((text, "returned") for text in ("0", "1", "2", "queued", *CONTROL))
    assert outbox.clear("unsent") == 0
    assert +outbox.dropped == {"unsent": 1, "given back at disconnect": 6}
    accept("next")
    outbox.land(taken(outbox)[0])
    assert reports[6:] == [("next", "taken")]


def test_a_report_that_a_newer_one_replaces_is_refused_and_one_without_room_returned() -> None:
    """The oldest goes for lack of room; the overflow is told once for each link, as for telemetry."""
    outbox = filled(0)
    reports: list[tuple[str, str]] = []

    def accept(topic: str) -> str:
        return outbox.accept(topic, "", 0, False, lambda delivery: reports.append((topic, delivery)))

    topics = [f"cascade/sync/s/{number}" for number in range(4_100)]
    assert [reason for topic in topics if (reason := accept(topic))] == ["outbox full"]
    assert reports == [(topic, "returned") for topic in topics[:4]]
    assert accept(topics[50]) == ""
    assert reports[4:] == [(topics[50], "refused")]
    assert outbox.dropped == {"outbox full": 4, "superseded": 1}
    assert [item.topic for item in taken(outbox)] == topics[4:]
    outbox.restore(blame=False)
    assert accept("cascade/sync/s/new") == "outbox full"


def waiting(outbox: Outbox, flying: list[Outgoing]) -> list[int]:
    """Return the bytes of each message that waits outside the control lane, oldest first."""
    copy, found = deepcopy(outbox), list[int]()
    for item in flying:
        copy.land(item)
    while group := taken(copy):
        for item in group:
            copy.land(item)
        found += [item.size for item in group if item.topic in PLAIN]
    return found


class Life(RuleBasedStateMachine):
    """Any sequence of calls leaves the counts true, the bounds kept and the order whole."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox(max_messages=MAX_MESSAGES, max_bytes=MAX_BYTES)
        self.flying: list[Outgoing] = []
        self.first_seen: list[int] = []

    @rule(topic=st.sampled_from(CONTROL + PLAIN), size=st.integers(0, 80))
    def accept(self, topic: str, size: int) -> None:
        before, full = waiting(self.outbox, self.flying), self.outbox.dropped["outbox full"]
        self.outbox.accept(topic, "x" * size, 1, False)
        if topic in CONTROL or size + len(topic) > MAX_BYTES:
            assert waiting(self.outbox, self.flying) == before
            return
        before.append(size + len(topic))
        while len(before) > MAX_MESSAGES or sum(before) > MAX_BYTES:
            before.pop(0)
            full += 1
        assert (waiting(self.outbox, self.flying), self.outbox.dropped["outbox full"]) == (before, full)

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


def test_an_outbox_is_half_full_by_messages_or_by_bytes() -> None:
    """The senders then do all they can; messages that a link gave back count, too."""
    outbox = filled(5, max_messages=10)
    seen = [outbox.half_full]
    outbox.accept("a", "5", 1, False)
    seen.append(outbox.half_full)
    outbox.take()
    seen.append(outbox.half_full)
    outbox.restore(blame=False)
    seen.append(outbox.half_full)
    assert seen == [False, True, False, True]
    assert filled(6, max_bytes=23).half_full
    assert not filled(6, max_bytes=24).half_full


def test_correlation_data_counts_as_bytes_that_wait() -> None:
    """A client that asks with much of it must not fill the memory of who answers."""
    outbox = filled(0, max_bytes=100)
    assert outbox.accept("a", "{}", 1, False, correlation=b"x" * 97) == ""
    assert outbox.accept("a", "{}", 1, False, correlation=b"x" * 98) == "too large"
    (item,) = taken(outbox)
    assert (item.correlation, item.size) == (b"x" * 97, 100)
