"""Which topics hold a retained message, as far as the reader of a watch knows. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

MAX_TOPICS = 25_000
"""How many topics are remembered; with more, no topic is reported as gone."""


@dataclass(slots=True)
class KnownSet:
    """What is known of the set of one queue from one link to the next, on a network that marks the end of a set."""

    store: str = ""
    """Which store the set is of."""
    topics: set[str] = field(default_factory=set)
    forgotten: set[str] = field(default_factory=set)
    """Topics whose messages went with an earlier store."""

    def remove(self, topics: Collection[str]) -> None:
        """Forget topics that the queue no longer follows."""
        self.topics.difference_update(topics)
        self.forgotten.difference_update(topics)


class KnownTopics:
    """The topics of one watch. Each look at the broker's retained set confirms them, or finds that some are gone."""

    __slots__ = ("_known", "_live", "_seen", "forgotten", "overflow")

    def __init__(self) -> None:
        self.forgotten: set[str] = set()
        """Topics that the broker has lost with its store; they are known all the same."""
        self.overflow = False
        """Whether this look has met more topics than are remembered."""
        self._known: dict[str, None] = {}
        self._seen: set[str] = set()  # topics that have sent a message since the look began
        self._live: set[str] = set()  # those whose message was live

    def begin_look(self) -> None:
        """Expect a message of every known topic again."""
        self.overflow = False
        self._seen.clear()
        self._live.clear()

    def has_newer(self, topic: str) -> bool:
        """Return whether a live message of the topic came since the look began: a retained one is older."""
        return topic in self._live

    def note(self, topic: str, *, empty: bool, retain: bool) -> None:
        """Note a message; an empty one clears its topic."""
        self.forgotten.discard(topic)
        if not retain and len(self._live) < MAX_TOPICS:
            self._live.add(topic)
        if empty:
            self._known.pop(topic, None)
        elif topic in self._known or len(self._known) < MAX_TOPICS:
            self._known[topic] = None
            self._seen.add(topic)
        else:
            self.overflow = True

    def missing(self, among: Iterable[str] | None = None) -> list[str]:
        """Return the known topics that have sent nothing since the look began, or those of them in ``among``."""
        if among is None:
            return [topic for topic in self._known if topic not in self._seen]
        return [topic for topic in among if topic in self._known and topic not in self._seen]

    def remove(self, topics: Iterable[str]) -> None:
        """Take topics as cleared."""
        for topic in topics:
            del self._known[topic]

    def complete(self) -> frozenset[str] | None:
        """Return all known topics; None if there were more than are remembered."""
        return None if self.overflow else frozenset(self._known)
