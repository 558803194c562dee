"""Which lines may be open, and whose turn it is. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cascade.runtime.constraints.gates import Gate
from cascade.runtime.constraints.tickets import Lane, Line, TicketQueue


class Openings:
    """Lines that are worth a look, so that those which are not cost nothing.

    A queue stands in :attr:`ready` until it has been looked at; then in the line of what holds
    it, until that line is signalled and open.
    """

    def __init__(self) -> None:
        self.ready = Line()
        self._signalled: dict[Line, None] = {self.ready: None}
        self._timed: dict[Gate[Any], None] = {}
        self._lanes: dict[Lane, None] = {}

    def signal(self, lines: Iterable[Line]) -> None:
        """Take note that these lines may have opened."""
        self._signalled.update(dict.fromkeys(lines))

    def keep_an_eye_on(self, line: Line) -> None:
        """Look by itself at a line that opens without a signal: by time, or by a worker's end."""
        if isinstance(line, Lane):
            self._lanes[line] = None
        elif isinstance(line, Gate) and line.opens_by_itself:
            self._timed[line] = None

    def forget(self, gate: Gate[Any]) -> None:
        """Look at a gate no more."""
        self._signalled.pop(gate, None)
        self._timed.pop(gate, None)

    def look(self, now: float) -> None:
        """Signal what has opened without a signal."""
        for gate in tuple(self._timed):
            if gate.first() is None:
                del self._timed[gate]
            elif gate.is_open(now):
                self._signalled[gate] = None
        for lane in tuple(self._lanes):
            if lane.first() is None:
                del self._lanes[lane]
            else:
                self._signalled[lane] = None

    def next(self, now: float) -> TicketQueue | None:
        """Return the queue with the oldest ticket among those whose line is open."""
        best: TicketQueue | None = None
        for line in tuple(self._signalled):
            first = line.first()
            if first is None or not line.is_open(now):
                if line is not self.ready:
                    del self._signalled[line]
            elif best is None or first.order < best.order:
                best = first
        return best

    def next_wake(self, now: float) -> float | None:
        """Return when time alone opens a line in which somebody stands, or None."""
        return min((gate.opens_at(now) for gate in self._timed if gate.first()), default=None)
