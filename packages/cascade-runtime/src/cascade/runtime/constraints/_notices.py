"""What the owners of tickets are still to be told. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cascade.runtime.constraints.tickets import Obstacle, Owner, Ticket, TicketQueue

Covers = Callable[[str], bool]
"""Whether a cancel is for tasks of this name."""

Cancellation = tuple[Owner, Obstacle, Covers | None]
"""What is to be cancelled of a run, by the names of tasks; None: all of it."""


class Notices:
    """Tickets that have begun to wait or were sent away, and what is to be cancelled."""

    def __init__(self) -> None:
        self._untold: dict[TicketQueue, None] = {}
        self._turned_away: list[tuple[Ticket, Obstacle]] = []
        self._cancellations: list[Cancellation] = []

    @property
    def blocked(self) -> bool:
        """Whether there may be tickets that have not been told that they wait."""
        return bool(self._untold)

    def wait(self, queue: TicketQueue) -> None:
        """Take note that tickets of a queue wait."""
        self._untold[queue] = None

    def turn_away(self, ticket: Ticket, obstacle: Obstacle) -> None:
        """Take note that a ticket was sent away."""
        self._turned_away.append((ticket, obstacle))

    def cancel(self, owners: Iterable[Owner], obstacle: Obstacle, covers: Covers | None) -> None:
        """Take note that runs, or tasks of them, are to be cancelled."""
        self._cancellations += [(owner, obstacle, covers) for owner in owners]

    def forget(self, owner: Owner) -> None:
        """Tell a run nothing more of what was to be cancelled."""
        self._cancellations = [item for item in self._cancellations if item[0] is not owner]

    def take_blocked(self, most: int) -> list[tuple[Ticket, Obstacle]]:
        """Return up to so many of the tickets that have begun to wait for something, each once."""
        found: list[tuple[Ticket, Obstacle]] = []
        for queue in tuple(self._untold):
            obstacle = queue.line.obstacle() if queue.line is not None else None
            if obstacle is not None:
                found += [(ticket, obstacle) for ticket in queue.take_untold(most - len(found))]
            if obstacle is None or queue.told == len(queue.tickets):
                del self._untold[queue]
            if len(found) >= most:
                break
        return found

    def take_turned_away(self) -> list[tuple[Ticket, Obstacle]]:
        """Return the tickets that a cancel has sent away since the last call; they hold nothing."""
        found, self._turned_away = self._turned_away, []
        return found

    def take_cancellations(self) -> list[Cancellation]:
        """Return which runs, or which tasks of them, are to be cancelled since the last call."""
        found, self._cancellations = self._cancellations, []
        return found
