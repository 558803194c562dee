"""Which message is a duplicate, compared with a count of the filters that match it."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cascade.connectors.mqtt._reader import DuplicateFilter, Reader
from cascade.interfaces import ReplyTo
from cascade.interfaces.filters import overlap
from cascade.interfaces.topics import matches
from cascade.transport.incoming.message import DeliveryCounts, IncomingMessage

FILTERS = ("a/b", "a/+", "+/b", "c")
TOPICS = ("a/b", "a/x", "c")
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "remove", "refuse", "grant", "forget", "look"]),
        st.sampled_from(FILTERS),
    ),
    max_size=16,
)


class Model:
    """The filters of a client; a broker sends a message once for each granted one that matches."""

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.refused: set[str] = set()
        self.overlapping = False

    def do(self, step: str, topic_filter: str) -> bool:
        """Follow a step; return False for one that no link does."""
        if step == "add":
            if topic_filter in self.known:
                return False
            self.overlapping |= self.overlaps(topic_filter)
            self.known.add(topic_filter)
        elif step == "remove":
            self.known.discard(topic_filter)
            self.refused.discard(topic_filter)
        elif step == "refuse":
            self.refused |= self.known & {topic_filter}
        elif step == "grant":
            self.refused.discard(topic_filter)
        else:
            self.refused.clear()
        return True

    def overlaps(self, topic_filter: str) -> bool:
        return any(overlap(topic_filter, other) for other in self.known - {topic_filter})

    def passes(self, topic: str) -> list[bool]:
        """Return which of two equal messages, each with its copies, are duplicates."""
        count = sum(matches(each, topic) for each in self.known - self.refused)
        return ([False] + [True] * (max(count, 1) - 1)) * 2


def check(duplicates: DuplicateFilter, model: Model, payload: bytes) -> None:
    for topic in TOPICS:
        expected = model.passes(topic)
        assert [duplicates.is_duplicate(topic, payload) for _ in expected] == expected
    assert duplicates.overlapping == model.overlapping
    for topic_filter in FILTERS:
        known = topic_filter in model.known
        assert duplicates.overlap(["z", topic_filter, "z"]) == (known and model.overlaps(topic_filter))


ALL = [("add", each) for each in FILTERS]


@settings(max_examples=100, deadline=None)
@given(steps=STEPS)
@example(steps=ALL)
@example(steps=[("add", "a/+"), ("remove", "a/+"), ("add", "a/b")])
@example(steps=[*ALL, ("look", ""), ("refuse", "a/+"), ("remove", "a/+"), ("add", "a/+")])
@example(steps=[*ALL, ("refuse", "a/b"), ("refuse", "a/b"), ("look", ""), ("refuse", "a/+"), ("forget", "")])
@example(steps=[*ALL, ("look", ""), ("refuse", "a/+"), ("refuse", "a/+"), ("look", ""), ("grant", "a/+")])
def test_a_message_passes_once_for_all_the_filters_that_brought_it(steps: list[tuple[str, str]]) -> None:
    """Whatever was subscribed, refused, granted and ended before it, on this link or on one before."""
    duplicates, model = DuplicateFilter(lambda: 0.0), Model()
    duplicates.sent = True
    for number, (step, topic_filter) in enumerate(steps):
        if step == "look":
            check(duplicates, model, b"%d" % number)
        elif model.do(step, topic_filter):
            way = getattr(duplicates, step)
            way() if step == "forget" else way(topic_filter)
    check(duplicates, model, b"last")


@pytest.mark.parametrize(("late", "expected"), [(0.0, True), (2.0, True), (2.5, False)])
def test_a_copy_is_expected_for_a_short_time_from_the_first_message(late: float, expected: bool) -> None:
    """A copy before it does not prolong that; an older message of which copies are due is not forgotten for a newer one."""
    now = [0.0]
    duplicates = DuplicateFilter(lambda: now[0])
    duplicates.sent = True
    for topic_filter in ("a", "+", "#"):
        duplicates.add(topic_filter)
    assert not duplicates.is_duplicate("a", b"1")
    now[0] = min(late, 1.0)
    assert duplicates.is_duplicate("a", b"1")
    assert not duplicates.is_duplicate("a", b"2")
    now[0] = late
    assert duplicates.is_duplicate("a", b"1") is expected


def test_equal_requests_of_two_clients_are_two_messages() -> None:
    """Who expects the answer tells them apart: else one would get two answers, and the other none."""
    duplicates = DuplicateFilter(lambda: 0.0)
    duplicates.sent = True
    for topic_filter in ("a", "+"):
        duplicates.add(topic_filter)
    asked = [ReplyTo("answers", b"1"), ReplyTo("answers", b"2"), None]
    came = [IncomingMessage("a", b"{}", reply_to=each) for each in asked * 2]
    passed: list[IncomingMessage] = []
    client: Any = SimpleNamespace(arrived=lambda: iter(came))
    dispatcher: Any = SimpleNamespace(delivery=DeliveryCounts(logging.getLogger()), dispatch=passed.append)
    Reader(client, dispatcher, duplicates, fail=lambda _: None).read_rest()
    assert passed == came[:3]
