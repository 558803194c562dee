"""The topics of a watch from one look to the next."""

import pytest

from cascade.transport.known_topics import MAX_TOPICS, KnownTopics


@pytest.fixture
def known() -> KnownTopics:
    """Topics that a first look has found."""
    topics = KnownTopics()
    for topic in ("a", "b"):
        topics.note(topic, empty=False, retain=True)
    return topics


def test_a_set_is_the_same_object_until_a_topic_comes_or_goes(known: KnownTopics) -> None:
    """Its reader then knows without comparing thousands of topics that nothing has changed."""
    first = known.complete()
    assert first == frozenset({"a", "b"})
    known.begin_look()
    known.note("a", empty=False, retain=True)
    known.note("c", empty=True, retain=False)
    assert known.complete() is first
    known.note("c", empty=False, retain=False)
    assert known.complete() == frozenset({"a", "b", "c"})
    known.note("c", empty=True, retain=False)
    assert known.complete() == frozenset({"a", "b"})
    known.remove(["b"])
    assert known.complete() == frozenset({"a"})
    known.remove([])
    assert known.complete() is known.complete()


def test_with_more_topics_than_are_remembered_none_is_complete(known: KnownTopics) -> None:
    """Until the next look, which may find fewer."""
    for number in range(MAX_TOPICS - 2):
        known.note(f"t/{number}", empty=False, retain=True)
    assert len(known.complete() or ()) == MAX_TOPICS
    known.note("a", empty=False, retain=True)
    assert not known.overflow
    known.note("one more", empty=False, retain=True)
    assert known.complete() is None
    known.begin_look()
    assert len(known.complete() or ()) == MAX_TOPICS
