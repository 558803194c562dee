"""Record of the messages of one series that have arrived: duplicates and holes."""

from __future__ import annotations

from bisect import bisect_right

from cascade.interfaces.topics import EVENTS
from cascade.wire.parsed import EventMessage

MAX_HOLES = 1_000
"""Holes that can still be filled; the oldest further ones are counted, but no longer filled."""
MAX_IDS = 4_096
"""``event_id``s that are remembered where they are not made from ``seq``."""


class Received:
    """The messages of one source, run, attempt and kind that have arrived.

    Memory has a bound: where ``event_id`` is made from token and ``seq``, ``seq`` shows a
    duplicate; other ids are remembered, the latest 4,096 of them.
    """

    def __init__(self) -> None:
        self.messages = 0
        """All that arrived, duplicates included."""
        self.duplicates = 0
        self.missing = 0
        """How many ``seq`` below the highest have not arrived, also those sent before the reader subscribed."""
        self._next = 0
        self._holes: list[tuple[int, int]] = []
        """First and last ``seq`` of each, in order."""
        self._ids: dict[str, None] = {}

    def add(self, event: EventMessage) -> bool:
        """Count a message; return False if it is a duplicate."""
        self.messages += 1
        fresh = event.seq is None or self._fill(event.seq)
        if event.event_id != _made_id(event):
            fresh = self._remember(event.event_id)
        self.duplicates += not fresh
        return fresh

    def holes(self) -> list[tuple[int, int]]:
        """Return the first and the last ``seq`` of each hole that can still be filled."""
        return list(self._holes)

    def _fill(self, seq: int) -> bool:
        """Take note of a number; return whether it is new."""
        if seq >= self._next:
            if seq > self._next:
                self._holes.append((self._next, seq - 1))
                self.missing += seq - self._next
                del self._holes[:-MAX_HOLES]
            self._next = seq + 1
            return True
        at = bisect_right(self._holes, (seq, self._next)) - 1
        if at < 0 or seq > self._holes[at][1]:
            return False
        first, last = self._holes[at]
        halves = ((first, seq - 1), (seq + 1, last))
        self._holes[at : at + 1] = [hole for hole in halves if hole[0] <= hole[1]]
        del self._holes[:-MAX_HOLES]
        self.missing -= 1
        return True

    def _remember(self, event_id: str) -> bool:
        """Take note of an id; return whether it is new; a message without one always is."""
        if not event_id:
            return True
        if event_id in self._ids:
            return False
        self._ids[event_id] = None
        if len(self._ids) > MAX_IDS:
            del self._ids[next(iter(self._ids))]
        return True


def _made_id(event: EventMessage) -> str:
    kind = "" if event.kind == EVENTS else f"{event.kind}-"
    return f"{event.run_id}-{event.token}-{kind}{event.seq}"
