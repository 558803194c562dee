"""The topics of a watch from one check to the next."""

import pytest

from cascade.transport.retained_proof.known_topics import MAX_TOPICS, KnownTopics


@pytest.fixture
def known() -> KnownTopics:
    """Topics that a first check has found."""
    topics = KnownTopics()
    for topic in ("a", "b"):
        topics.note(topic, empty=False, retain=True)
    return topics


def test_with_more_topics_than_are_remembered_none_is_complete(known: KnownTopics) -> None:
    """Until the next check, which may find fewer."""
    for number in range(MAX_TOPICS - 2):
        known.note(f"t/{number}", empty=False, retain=True)
    assert len(known.complete() or ()) == MAX_TOPICS
    known.note("a", empty=False, retain=True)
    assert not known.overflow
    known.note("one more", empty=False, retain=True)
    assert known.complete() is None
    known.begin_check()
    assert len(known.complete() or ()) == MAX_TOPICS


def test_a_live_message_is_newer_than_the_retained_ones_of_its_own_check_only(known: KnownTopics) -> None:
    """Also one that clears the topic: the retained message behind it is the one that it has cleared."""
    known.note("a", empty=False, retain=False)
    known.note("b", empty=True, retain=False)
    known.note("c", empty=False, retain=True)
    assert [known.has_newer(topic) for topic in "abcd"] == [True, True, False, False]
    known.begin_check()
    assert not any(known.has_newer(topic) for topic in "abcd")
