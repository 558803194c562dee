"""The counts of a run's events at each step of their way, and what they show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from cascade.interfaces import ConnectorStatistics

SUPERSEDED = "superseded"
"""Reports that a newer one replaced before they were sent: no event is ever dropped for that."""


@dataclass(frozen=True, slots=True)
class Received:
    """What arrived in the second process."""

    received: int = 0
    duplicates: int = 0
    holes: int = 0
    """Sequence numbers below the highest one that never came."""


@dataclass(frozen=True, slots=True)
class EventCounts:
    """How many events there were at each step."""

    produced: int
    """Published on the engine's event bus."""
    sent: int
    """Acknowledged by the broker."""
    dropped: Mapping[str, int]
    """Dropped by the connector, by reason."""
    seen: Received | None
    """None if the second process printed no counts."""

    @classmethod
    def of(cls, produced: int, messages: ConnectorStatistics, seen: Received | None) -> Self:
        """Take the events out of a connector's counts, which include its presence and reports."""
        dropped = {reason: count for reason, count in messages.dropped.items() if reason != SUPERSEDED}
        others = messages.accepted - messages.dropped.get(SUPERSEDED, 0) - produced
        return cls(produced, max(0, messages.sent - others), dropped, seen)

    @property
    def lost(self) -> int:
        """Events that the connector dropped."""
        return sum(self.dropped.values())

    def verdict(self, url: str) -> str:
        """Return what the counts mean, and what to do if one is not as it should be."""
        if self.lost:
            reasons = ", ".join(f"{reason}: {count:,}" for reason, count in self.dropped.items())
            return f"{self.lost:,} events were dropped ({reasons}); the audit is complete all the same. Is there a broker at {url}?"
        if self.seen is None:
            return "The second process ended without its counts; its last lines above show why."
        if missing := self.produced - self.seen.received + self.seen.duplicates:
            return f"{missing:,} events did not reach the second process. May it subscribe at {url}?"
        if self.seen.duplicates:
            return "Every event arrived; those that came twice, as MQTT allows, share their event_id."
        return "Every event arrived, and none twice."
