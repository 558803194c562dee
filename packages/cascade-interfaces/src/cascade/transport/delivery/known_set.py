"""Which topics a queue knows to hold a retained message, on a network that marks the end of a set."""

from __future__ import annotations

from collections.abc import Collection
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
