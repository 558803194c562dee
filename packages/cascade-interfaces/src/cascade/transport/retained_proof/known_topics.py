"""Topics that hold a retained message, as far as the reader of a watch knows. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

MAX_TOPICS = 25_000
"""How many topics are remembered; with more, no topic is reported as gone."""


TOPICS_A_PACKET = 200
"""How many topics one SUBSCRIBE of a recheck holds."""


class Canary:
    """What a process knows of its retained canary; all its watches share it."""

    def __init__(self) -> None:
        self.kept = False
        """Whether it has come back as a retained message."""
        self.losses = 0
        """How often it was gone although it had been kept: the broker had lost its store."""


class KnownSet:
    """What is known of the set of one queue from one link to the next, on a network that marks the end of a set."""

    def __init__(self) -> None:
        self.store = ""
        """Which store the set is of."""
        self.topics: set[str] = set()
        self.forgotten: set[str] = set()
        """Topics whose messages went with an earlier store."""

    def remove(self, topics: Collection[str]) -> None:
        """Forget topics that the queue no longer follows."""
        self.topics.difference_update(topics)
        self.forgotten.difference_update(topics)


class KnownTopics:
    """The topics of one watch. Each check at the broker's retained set confirms them, or finds that some are gone."""

    __slots__ = ("_as_set", "_known", "_live", "_seen", "forgotten", "overflow")

    def __init__(self) -> None:
        self.forgotten: set[str] = set()
        """Topics that the broker has lost with its store; they are known all the same."""
        self.overflow = False
        """Whether this check has met more topics than are remembered."""
        self._known: dict[str, None] = {}
        # the same topics, until one comes or goes
        self._as_set: frozenset[str] | None = None
        # topics that have sent a message since the check began
        self._seen: set[str] = set()
        self._live: set[str] = set()  # those whose message was live

    def begin_check(self) -> None:
        """Expect a message of every known topic again."""
        self.overflow = False
        self._seen.clear()
        self._live.clear()

    def has_newer(self, topic: str) -> bool:
        """Return whether a live message of the topic came since the check began: a retained one is older."""
        return topic in self._live

    def note(self, topic: str, *, empty: bool, retain: bool) -> None:
        """Note a message; an empty one clears its topic."""
        self.forgotten.discard(topic)
        if not retain and len(self._live) < MAX_TOPICS:
            self._live.add(topic)
        if empty:
            if topic in self._known:
                self.remove((topic,))
            return
        if topic not in self._known:
            if len(self._known) >= MAX_TOPICS:
                self.overflow = True
                return
            self._known[topic] = None
            self._as_set = None
        self._seen.add(topic)

    def missing(self, among: Iterable[str] | None = None) -> list[str]:
        """Return the known topics that have sent nothing since the check began, or those of them in ``among``."""
        if among is None:
            return [topic for topic in self._known if topic not in self._seen]
        return [topic for topic in among if topic in self._known and topic not in self._seen]

    def remove(self, topics: Iterable[str]) -> None:
        """Take topics as cleared."""
        for topic in topics:
            del self._known[topic]
            self._as_set = None

    def complete(self) -> frozenset[str] | None:
        """Return all known topics, as the same object until one comes or goes; None if there were more than are remembered."""
        if self.overflow:
            return None
        if self._as_set is None:
            self._as_set = frozenset(self._known)
        return self._as_set


def in_packets(topics: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Yield the topics in parts, each for one packet."""
    part: list[str] = []
    for topic in topics:
        part.append(topic)
        if len(part) == TOPICS_A_PACKET:
            yield tuple(part)
            part = []
    if part:
        yield tuple(part)
