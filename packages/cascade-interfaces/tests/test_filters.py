"""Several topic filters together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.interfaces.filters import disjoint, first_match, overlap
from cascade.interfaces.topics import matches

TOPICS = st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=4).map("/".join)
FILTERS = st.builds(
    lambda levels, rest: "/".join([*levels, "#"] if rest else levels),
    st.lists(st.sampled_from(["a", "b", "+"]), min_size=1, max_size=3),
    st.booleans(),
)


@given(FILTERS, FILTERS, TOPICS)
def test_filters_that_match_one_topic_overlap(one: str, other: str, topic: str) -> None:
    """In either order."""
    if matches(one, topic) and matches(other, topic):
        assert overlap(one, other)
        assert overlap(other, one)


@given(st.lists(FILTERS, min_size=1, max_size=6), TOPICS)
def test_disjoint_filters_match_the_same_and_nothing_twice(filters: list[str], topic: str) -> None:
    """They may match more."""
    found = [each for each in disjoint(filters) if matches(each, topic)]
    assert len(found) <= 1
    if first_match(filters, topic) is not None:
        assert found


def test_filters_that_do_not_overlap_stay_as_they_are() -> None:
    """However many there are."""
    filters = ["a/b", "c/+", "a/c"]
    assert sorted(disjoint(filters)) == sorted(filters)
    assert disjoint([]) == []


@pytest.mark.parametrize(
    ("filters", "joined"),
    [
        (["a/+/c", "a/b/+"], ["a/+/+"]),
        (["a/+", "a/b"], ["a/+"]),
        (["a/b", "a/#", "b"], ["b", "a/#"]),
        (["a/+/c/d", "a/b/#"], ["a/+/#"]),
        (["a/+/c", "a/b/c/#"], ["a/+/c/#"]),
        (["a/b/c/#", "a/+/c"], ["a/+/c/#"]),
        (["x/+", "a/+", "+/b"], ["+/+"]),
        (["a/b", "a/b"], ["a/b"]),
        (["+/b", "a/c"], ["a/c", "+/b"]),
        (["a/+/c", "a/b/d"], ["a/b/d", "a/+/c"]),
    ],
)
def test_filters_are_joined_to_no_more_than_they_need(filters: list[str], joined: list[str]) -> None:
    """A wider filter would bring messages that nobody asked for, and ask for rights that the user does not have."""
    assert disjoint(filters) == joined
