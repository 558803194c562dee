"""Topics as subjects: every topic has its own, and filters match the same."""

from __future__ import annotations

import logging
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.connectors.nats._subjects import WILL, arrived_topic, cover, is_hidden, reply_of
from cascade.interfaces import ReplyTo
from cascade.interfaces.filters import first_match
from cascade.interfaces.subjects import subject_of, subjects_of, topic_of
from cascade.interfaces.topics import matches
from cascade.transport.incoming.message import DeliveryCounts

LEVELS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/+#\0"), max_size=6)
TOPICS = st.lists(LEVELS, min_size=1, max_size=5).map("/".join).filter(bool)
SMALL = st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=4).map("/".join)
FILTERS = st.builds(
    lambda levels, rest: "/".join([*levels, "#"] if rest else levels),
    st.lists(st.sampled_from(["a", "b", "+"]), min_size=1, max_size=3),
    st.booleans(),
)


@pytest.mark.parametrize(
    "subject", ["cascade.constraints.=67lobal", "cascade.constraints.global.=40pause=", "a.=zz"]
)
def test_another_spelling_of_a_subject_has_no_topic(subject: str) -> None:
    """Row 53: a server's permissions compare subjects as text: a message that passes them so is discarded and counted."""
    delivery = DeliveryCounts(logging.getLogger("test"))
    assert arrived_topic(subject, delivery) is None
    assert dict(delivery.discarded) == {"undecodable": 1}
    assert (
        arrived_topic("cascade.constraints.global.=40pause", delivery) == "cascade/constraints/global/@pause"
    )


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ("_INBOX.VcjHtyZ0p4TlUPqVQXiOZf.1", ReplyTo("_INBOX/VcjHtyZ0p4TlUPqVQXiOZf/1", is_inbox=True)),
        ("_INBOX_alice.a.1", ReplyTo("_INBOX_alice/a/1", is_inbox=True)),
        ("cascade.responses.line=203.b7", ReplyTo("cascade/responses/line 3/b7")),
        ("cascade.constraints.global.=40pause", ReplyTo("cascade/constraints/global/@pause")),
        ("$JS.API.STREAM.PURGE.KV_cascade", None),
        ("$KV.cascade.cascade.status.a", None),
        ("cascade.responses.*", None),
        ("cascade.constraints.=67lobal", None),
        ("a.=FF", None),
        ("a.=00", None),
        ("", None),
    ],
)
def test_a_reply_subject_is_a_topic_or_nothing(reply: str, found: ReplyTo | None) -> None:
    """Row 57: by all others a service could be made to answer where the server obeys; only inboxes are for answers alone."""
    assert reply_of(reply) == found


def nats_matches(pattern: str, subject: str) -> bool:
    """Match as a server does: ``*`` is one token, ``>`` at least one."""
    tokens = (
        ".+" if each == ">" else r"[^.]+" if each == "*" else re.escape(each) for each in pattern.split(".")
    )
    return re.fullmatch(r"\.".join(tokens), subject) is not None


@given(TOPICS)
def test_a_subject_has_the_way_back(topic: str) -> None:
    """Whatever a topic holds: spaces, wildcards of NATS, dots, empty levels, text of any language."""
    subject = subject_of(topic)
    assert topic_of(subject) == topic
    assert all(re.fullmatch(r"[A-Za-z0-9_=-]+", token) for token in subject.split("."))
    assert is_hidden(subject) is topic.startswith(("$", "_INBOX/"))


@pytest.mark.parametrize(
    ("topic", "subject"),
    [
        ("cascade/status/line 3", "cascade.status.line=203"),
        ("a.b/*/>", "a=2Eb.=2A.=3E"),
        ("$SYS/x", "=24SYS.x"),
        ("a//b/", "a.=.b.="),
        ("ä=", "=C3=A4=3D"),
    ],
)
def test_subjects_are_as_the_contract_writes_them(topic: str, subject: str) -> None:
    """Section 8: ``/`` is ``.``, every other byte is ``=XX``."""
    assert subject_of(topic) == subject


@given(FILTERS, SMALL)
def test_a_filter_matches_through_exactly_one_of_its_subjects(topic_filter: str, topic: str) -> None:
    """``a/#`` is ``a`` and ``a.>``."""
    found = [each for each in subjects_of(topic_filter) if nats_matches(each, subject_of(topic))]
    assert len(found) == matches(topic_filter, topic)


@given(st.lists(FILTERS, min_size=1, max_size=6), SMALL)
def test_a_cover_matches_what_its_filters_match_and_nothing_twice(filters: list[str], topic: str) -> None:
    """A server refuses a consumer whose subjects overlap, and sends a message once for each subscription."""
    found = [each for each in cover(filters) if nats_matches(each, subject_of(topic))]
    assert len(found) <= 1
    if first_match(filters, topic) is not None:
        assert found


@pytest.mark.parametrize(
    "topic_filter", ["cascade/status/a", "cascade/status/+", "+/status/a", "cascade/#", "#"]
)
def test_who_watches_a_status_also_follows_the_keys_of_unnamed_processes(topic_filter: str) -> None:
    """Each once, whatever else the watch has."""
    key = subject_of("cascade/status/a") + WILL
    for filters in ([topic_filter], [topic_filter, "cascade/status/a/b", "cascade/status/+/c"]):
        assert sum(nats_matches(each, key) for each in cover(filters)) == 1


def test_who_watches_anything_else_follows_nothing_more() -> None:
    """Not one key."""
    assert cover(["cascade/state/a/+", "a/b"]) == ["a.b", "cascade.state.a.*"]
    assert cover(["cascade/status/a"]) == ["cascade.status.a", "cascade.status.a.>"]
