"""Several topic filters: whether two of them meet, and which ones match what all of them match. No I/O."""

from __future__ import annotations

from collections.abc import Iterable

from cascade.interfaces.topics import matches


def overlap(one: str, other: str) -> bool:
    """Return whether two filters can match the same topic.

    >>> overlap("a/+", "+/b"), overlap("a/b", "a/c/#")
    (True, False)
    """
    mine, theirs = one.split("/"), other.split("/")
    for left, right in zip(mine, theirs, strict=False):
        if "#" in (left, right):
            return True
        if left != right and "+" not in (left, right):
            return False
    longer = max(mine, theirs, key=len)[min(len(mine), len(theirs)) :]
    return not longer or longer == ["#"]


def has_wildcard(topic_filter: str) -> bool:
    """Return whether a filter can match more than one topic."""
    return "+" in topic_filter or "#" in topic_filter


def first_match(filters: Iterable[str], topic: str) -> str | None:
    """Return the first filter that matches a topic, or None."""
    return next((each for each in filters if each == topic or matches(each, topic)), None)


def disjoint(filters: Iterable[str]) -> list[str]:
    """Return filters that match at least what ``filters`` match, of which no two match the same topic.

    >>> disjoint(["a/b", "a/+/c", "a/#", "c"])
    ['c', 'a/#']
    """
    exact: list[str] = []
    wild: list[str] = []
    for topic_filter in dict.fromkeys(filters):
        if has_wildcard(topic_filter):
            _add_disjoint(wild, topic_filter)
        else:
            exact.append(topic_filter)
    return [each for each in exact if not any(overlap(each, other) for other in wild)] + wild


def _add_disjoint(filters: list[str], topic_filter: str) -> None:
    """Add a filter to others that match different topics; join it with those that match the same."""
    while (other := next((each for each in filters if overlap(each, topic_filter)), None)) is not None:
        filters.remove(other)
        topic_filter = _join(other, topic_filter)
    filters.append(topic_filter)


def _join(one: str, other: str) -> str:
    """Return one filter that matches what either of two filters matches that overlap."""
    mine, theirs = one.split("/"), other.split("/")
    levels: list[str] = []
    for left, right in zip(mine, theirs, strict=False):
        if "#" in (left, right):
            return "/".join([*levels, "#"])
        levels.append(left if left == right else "+")
    return "/".join(levels if len(mine) == len(theirs) else [*levels, "#"])
