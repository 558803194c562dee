"""Tickets for tasks that are ready, and the lines in which their queues wait. Pure."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

from cascade.runtime.constraints._words import shown

Demands = tuple[tuple[str, float], ...]
"""Amounts by resource, in the order of the resources' names."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a ticket waits."""

    reason: str
    topic: str = ""
    """The register that says so; empty for a resource of the engine's own."""

    def __str__(self) -> str:
        return f"{self.reason} ({shown(self.topic)})" if self.topic else self.reason


class Owner(Protocol):
    """A run, as those see it who let its tasks start. Its methods return at once and never raise."""

    @property
    def run_id(self) -> str:
        """The run's id."""
        ...

    def running(self) -> Iterable[Ticket]:
        """Return a ticket for each task that runs now, with or without having asked for one."""
        ...

    def start(self, ticket: Ticket) -> None:
        """Start the task now; whatever becomes of it, its ticket leaves exactly once."""
        ...

    def turn_away(self, ticket: Ticket, obstacle: Obstacle) -> None:
        """Record that the task is cancelled before it began; its ticket holds nothing."""
        ...

    def blocked(self, ticket: Ticket, obstacle: Obstacle) -> None:
        """Tell that the task waits, and for what; called once for each time that it waits."""
        ...

    def cancel(self, obstacle: Obstacle, covers: Callable[[str], bool] | None) -> None:
        """Cancel the tasks of such names that run or wait for another attempt; None: the run."""
        ...

    def reconsider(self) -> None:
        """Look again whether tasks that are held at a checkpoint may go on."""
        ...

    def abort(self, error: Exception) -> None:
        """End the run with this error: nobody can tell any more who may pass."""
        ...


class Ticket:
    """One task that wants to start, or runs. It may enter again after it has left."""

    __slots__ = ("demands", "lane", "name", "order", "owner", "queue", "running", "subject")

    def __init__(
        self, owner: Owner, name: str, *, demands: Demands = (), lane: Lane | None = None, subject: Any = None
    ) -> None:
        self.owner = owner
        self.name = name
        self.demands = demands
        self.lane = lane
        self.subject = subject
        """Whatever the owner wants to find again."""
        self.order = 0
        self.queue: TicketQueue | None = None
        """Where it waits."""
        self.running = False

    def __repr__(self) -> str:
        state = "running" if self.running else "waiting" if self.queue else "idle"
        return f"<Ticket {self.order} {self.name} {state}>"


class TicketQueue:
    """Tickets that differ in nothing but their order: what holds the first holds all."""

    __slots__ = ("demands", "group", "lane", "line", "order", "tickets", "told")

    def __init__(self, group: Any, demands: Demands, lane: Lane | None) -> None:
        self.group = group
        self.demands = demands
        self.lane = lane
        self.tickets: deque[Ticket] = deque()
        self.line: Line | None = None
        """The one line in which it stands."""
        self.order = 0
        """Its place there: the order of its first ticket when it was put there."""
        self.told = 0
        """How many of its tickets, from the first, have been told that they wait."""

    def take_untold(self, most: int) -> list[Ticket]:
        """Return up to so many of its tickets that were not told that they wait; now they are."""
        behind = len(self.tickets) - self.told
        most = min(most, behind)
        if self.told < behind:  # from the end that is nearer
            found = list(islice(self.tickets, self.told, self.told + most))
        else:
            found = list(islice(reversed(self.tickets), behind - most, behind))[::-1]
        self.told += most
        return found

    def __lt__(self, other: TicketQueue) -> bool:
        return False  # two entries of one queue are alike


class Line:
    """Queues that wait for one thing, the one with the oldest ticket first."""

    __slots__ = ("_heap",)

    def __init__(self) -> None:
        self._heap: list[tuple[int, TicketQueue]] = []

    def is_open(self, now: float) -> bool:
        """Return whether the first queue is worth a look."""
        return True

    def obstacle(self) -> Obstacle | None:
        """Return what those who stand here wait for, if it is something to be told of."""
        return None

    def park(self, queue: TicketQueue) -> None:
        """Let a queue stand here, and nowhere else."""
        queue.line = self
        queue.order = queue.tickets[0].order
        heapq.heappush(self._heap, (queue.order, queue))
        if len(self._heap) > 64:
            self._sweep()

    def first(self) -> TicketQueue | None:
        """Return the queue whose turn it is."""
        while self._heap and not self._stands_here(*self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][1] if self._heap else None

    def take_all(self) -> list[TicketQueue]:
        """Let every queue go."""
        taken = []
        while (queue := self.first()) is not None:
            queue.line = None
            taken.append(queue)
        return taken

    def _stands_here(self, order: int, queue: TicketQueue) -> bool:
        return queue.line is self and queue.order == order

    def _sweep(self) -> None:
        """Forget entries of queues that have gone, when they are the most."""
        current = {entry for entry in self._heap if self._stands_here(*entry)}
        if 2 * len(current) < len(self._heap):
            self._heap = sorted(current)


class Lane(Line):
    """Workers that tasks need beside permission, and the queues that wait for one.

    ``free`` goes down with every ticket that is admitted; whoever has the workers counts it up
    when one has ended, and down when he uses one without asking.
    """

    __slots__ = ("__weakref__", "executor", "free", "workers")

    def __init__(self, workers: int, *, executor: object = None) -> None:
        super().__init__()
        self.executor = executor
        """Whose workers they are."""
        self.workers = self.free = workers

    def resize(self, workers: int) -> None:
        """Take note of how many workers there are now."""
        self.free += workers - self.workers
        self.workers = workers

    def is_open(self, now: float) -> bool:
        return self.free > 0
