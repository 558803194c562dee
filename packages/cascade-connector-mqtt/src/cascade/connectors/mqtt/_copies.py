"""Brokers that send a copy of a message for each of a client's subscriptions that match it.

MQTT leaves that to the broker (3.1.1, section 3.3.5; 5.0, section 3.3.4): mosquitto sends one
message to MQTT 3.1.1 clients and copies to MQTT 5 clients; nats-server and EMQX send copies.
Once the kind of broker is known, a message that matches k filters is let through once and its
next k - 1 copies are not. Pure: the clock is injected.
"""

from __future__ import annotations

from collections.abc import Callable

from cascade.interfaces.topics import TopicMatcher

_SHARED = "$share/"  # another member of the group may get the message; MQTT 5.0, section 4.8.2
_LIFETIME = 2.0
"""Seconds after which a copy that has not come is not waited for any more."""


class Copies:
    """Tells copies from messages."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._filters: TopicMatcher[str] = TopicMatcher()
        self._wild: TopicMatcher[None] = TopicMatcher()
        self._known: set[str] = set()
        self._refused: set[str] = set()
        self._expected: dict[int, tuple[int, float]] = {}
        self.overlapping = False
        """Whether there were ever two filters that can match the same topic."""
        self.sent: bool | None = None
        """Whether this broker sends copies; None while that is unknown."""

    def add(self, topic_filter: str) -> None:
        """Take note of a filter that the client did not have."""
        if topic_filter.startswith(_SHARED):
            return
        self.overlapping = self.overlapping or self._meets_another(topic_filter)
        self._known.add(topic_filter)
        self._filters.add(topic_filter, topic_filter)
        if _has_wildcard(topic_filter):
            self._wild.add(topic_filter, None)

    def remove(self, topic_filter: str) -> None:
        """Take note that the client has a filter no longer."""
        if topic_filter not in self._known:
            return
        self.grant(topic_filter)
        self._known.remove(topic_filter)
        self._filters.remove(topic_filter, topic_filter)
        if _has_wildcard(topic_filter):
            self._wild.remove(topic_filter, None)

    def refuse(self, topic_filter: str) -> None:
        """Expect no copies for a filter that the broker has refused."""
        if topic_filter in self._known - self._refused:
            self._refused.add(topic_filter)
            self._filters.remove(topic_filter, topic_filter)

    def grant(self, topic_filter: str) -> None:
        """Expect copies for a filter again that was refused before."""
        if topic_filter in self._refused:
            self._refused.remove(topic_filter)
            self._filters.add(topic_filter, topic_filter)

    def forget(self) -> None:
        """Expect nothing any more, and no refusal: there is another link."""
        self._expected.clear()
        for topic_filter in list(self._refused):
            self.grant(topic_filter)

    def is_copy(self, topic: str, payload: bytes) -> bool:
        """Return whether a live message is a copy of one that was let through before."""
        if not self.sent or len(self._known) < 2:
            return False
        matching = sum(1 for _ in self._filters.match(topic))
        if matching < 2:
            return False
        return self._account(hash((topic, payload)), matching - 1)

    def _meets_another(self, topic_filter: str) -> bool:
        if _has_wildcard(topic_filter):
            return any(overlap(topic_filter, other) for other in self._known)
        return any(True for _ in self._wild.match(topic_filter))

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


def overlap(one: str, other: str) -> bool:
    """Return whether two filters can match the same topic.

    >>> overlap("a/+", "+/b"), overlap("a/b", "a/c/#")
    (True, False)
    """
    return _overlap(one.split("/"), other.split("/"))


def _has_wildcard(topic_filter: str) -> bool:
    return "+" in topic_filter or "#" in topic_filter


def _overlap(one: list[str], other: list[str]) -> bool:
    for mine, theirs in zip(one, other, strict=False):
        if "#" in (mine, theirs):
            return True
        if mine != theirs and "+" not in (mine, theirs):
            return False
    longer = max(one, other, key=len)[min(len(one), len(other)) :]
    return not longer or longer == ["#"]
