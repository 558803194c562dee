"""The events of one attempt of a run in their order, each once, from messages that come twice or late. No I/O."""

from __future__ import annotations

from cascade.ops._collecting.spans import Spans
from cascade.wire import EventMessage

WAIT = 5.0
"""Seconds for which what follows a missing event waits for it."""
MOST_WAITING = 10_000
"""Events that wait at most."""


class Ordered:
    """Gives back what is added as soon as its turn has come.

    :param first: number of the first event.
    """

    def __init__(self, first: int) -> None:
        self._next = first
        self._seen = Spans()
        self._waiting: dict[int, EventMessage] = {}
        self._since = 0.0

    def add(self, number: int, event: EventMessage, now: float) -> list[EventMessage]:
        """Add an event; return those whose turn it is. One that comes later than others could wait is left out.

        :param now: seconds of a clock that does not go back.
        """
        if number < self._next or not self._seen.add(number):
            return []
        if not self._waiting:
            self._since = now
        self._waiting[number] = event
        found = self._in_turn()
        if found:
            self._since = now
        return found + (self.overdue(now) if len(self._waiting) <= MOST_WAITING else self.rest())

    def overdue(self, now: float) -> list[EventMessage]:
        """Return what has waited long enough for an event that is missing."""
        if not self._waiting or now - self._since < WAIT:
            return []
        self._next, self._since = min(self._waiting), now
        return self._in_turn()

    def rest(self) -> list[EventMessage]:
        """Return all that waits."""
        found = [self._waiting[number] for number in sorted(self._waiting)]
        self._next = max(self._waiting, default=self._next - 1) + 1
        self._waiting.clear()
        return found

    def _in_turn(self) -> list[EventMessage]:
        found = []
        while (event := self._waiting.pop(self._next, None)) is not None:
            found.append(event)
            self._next += 1
        return found
