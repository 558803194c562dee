"""The topics of a watch from one check to the next."""

import pytest

from cascade.transport.retained_proof.known_topics import MAX_TOPICS, KnownSet, KnownTopics


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


def test_what_is_missing_has_sent_nothing_since_the_check_began(known: KnownTopics) -> None:
    """Of all topics, or of some; a topic that nobody knows is not missing, nor one with a live message."""
    for topic in ("c", "d"):
        known.note(topic, empty=False, retain=True)
    assert known.missing() == []
    known.begin_check()
    known.note("b", empty=False, retain=True)
    known.note("c", empty=False, retain=False)
    known.note("e", empty=True, retain=False)
    assert known.missing() == ["a", "d"]
    assert known.missing(["x", "d", "b", "c", "e", "a"]) == ["d", "a"]
    known.note("d", empty=True, retain=False)
    assert known.missing(["d", "a"]) == ["a"]
    known.remove(["a"])
    assert known.missing() == []


def test_a_live_message_is_newer_than_the_retained_ones_of_its_own_check_only(known: KnownTopics) -> None:
    """Also one that clears the topic: the retained message behind it is the one that it has cleared."""
    known.note("a", empty=False, retain=False)
    known.note("b", empty=True, retain=False)
    known.note("c", empty=False, retain=True)
    assert [known.has_newer(topic) for topic in "abcd"] == [True, True, False, False]
    known.begin_check()
    assert not any(known.has_newer(topic) for topic in "abcd")


def test_a_queue_that_leaves_topics_neither_knows_them_nor_misses_them() -> None:
    """Nor those whose messages went with a store."""
    known = KnownSet()
    known.topics, known.forgotten = {"a", "b", "c"}, {"c", "d", "e"}
    known.remove(["b", "c", "d", "x"])
    assert (known.topics, known.forgotten) == ({"a"}, {"e"})
