"""Brokers that send a copy of a message for each of a client's subscriptions that match it.

MQTT leaves that to the broker (3.1.1, section 3.3.5; 5.0, section 3.3.4): mosquitto sends one
message to MQTT 3.1.1 clients and copies to MQTT 5 clients; nats-server and EMQX send copies.
Once the kind of broker is known, a message that matches k filters is let through once and its
next k - 1 copies are not. Pure: the clock is injected.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

from cascade.interfaces.topics import TopicMatcher

_LIFETIME = 2.0
"""Seconds after which a copy that has not come is not waited for any more."""


class Copies:
    """Tells copies from messages."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._filters: TopicMatcher[str] = TopicMatcher()
        self._known: set[str] = set()
        self._expected: dict[int, tuple[int, float]] = {}
        self.sent: bool | None = None
        """Whether this broker sends copies; None while that is unknown."""

    def subscribed(self, filters: Iterable[str]) -> None:
        """Take note of what the client is subscribed to from now on."""
        wanted = set(filters)
        for topic_filter in self._known - wanted:
            self._filters.remove(topic_filter, topic_filter)
        for topic_filter in wanted - self._known:
            self._filters.add(topic_filter, topic_filter)
        self._known = wanted

    def forget(self) -> None:
        """Expect nothing any more: there is another link."""
        self._expected.clear()

    def is_copy(self, topic: str, payload: bytes) -> bool:
        """Return whether a live message is a copy of one that was let through before."""
        if not self.sent or len(self._known) < 2:
            return False
        matching = sum(1 for _ in self._filters.match(topic))
        if matching < 2:
            return False
        return self._account(hash((topic, payload)), matching - 1)

    def _account(self, key: int, copies: int) -> bool:
        now = self._clock()
        left, until = self._expected.pop(key, (0, 0.0))
        if left and now <= until:
            if left > 1:
                self._expected[key] = (left - 1, until)
            return True
        self._expire(now)
        self._expected[key] = (copies, now + _LIFETIME)
        return False

    def _expire(self, now: float) -> None:
        while self._expected:
            oldest = next(iter(self._expected))
            if self._expected[oldest][1] >= now:
                return
            del self._expected[oldest]


def overlapping(filters: Iterable[str]) -> bool:
    """Return whether any two filters can match the same topic.

    >>> overlapping(["a/+", "+/b"]), overlapping(["a/b", "a/c/#"])
    (True, False)
    """
    return any(
        _overlap(one.split("/"), other.split("/")) for one, other in itertools.combinations(filters, 2)
    )


def _overlap(one: list[str], other: list[str]) -> bool:
    for mine, theirs in zip(one, other, strict=False):
        if "#" in (mine, theirs):
            return True
        if mine != theirs and "+" not in (mine, theirs):
            return False
    longer = max(one, other, key=len)[min(len(one), len(other)) :]
    return not longer or longer == ["#"]
