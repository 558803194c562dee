"""Which wait queues to check next. No I/O."""

from __future__ import annotations

from collections.abc import Iterable

from cascade.runtime._admission.gates import AnyGate
from cascade.runtime._admission.request_queues import RequestQueue, WaitQueue, WorkerSlots


class Wakeups:
    """The wait queues to check next, so that closed ones cost nothing.

    A request queue is in :attr:`ready` until it has been checked. If it is blocked, it moves to
    the wait queue of what blocks it, until that wait queue is signalled and open.
    """

    def __init__(self) -> None:
        self.ready = WaitQueue()
        self._signalled: dict[WaitQueue, None] = {self.ready: None}
        self._timed: dict[WaitQueue, None] = {}
        self._slots: dict[WorkerSlots, None] = {}

    def signal(self, wait_queues: Iterable[WaitQueue]) -> None:
        """Note that these wait queues may have opened."""
        self._signalled.update(dict.fromkeys(wait_queues))

    def watch(self, wait_queue: WaitQueue) -> None:
        """Poll a wait queue that opens without a signal: with time, or when a worker ends."""
        if isinstance(wait_queue, WorkerSlots):
            self._slots[wait_queue] = None
        elif wait_queue.opens_by_itself:
            self._timed[wait_queue] = None

    def forget(self, gate: AnyGate) -> None:
        """Stop checking a gate that was removed."""
        self._signalled.pop(gate, None)
        self._timed.pop(gate, None)

    def poll(self, now: float) -> None:
        """Signal the watched wait queues that have opened."""
        for gate in tuple(self._timed):
            if gate.first() is None:
                del self._timed[gate]
            elif gate.is_open(now):
                self._signalled[gate] = None
        for slots in tuple(self._slots):
            if slots.first() is None:
                del self._slots[slots]
            else:
                self._signalled[slots] = None

    def next(self, now: float) -> RequestQueue | None:
        """Return the queue with the oldest request among those whose wait queue is open."""
        best: RequestQueue | None = None
        for wait_queue in tuple(self._signalled):
            first = wait_queue.first()
            if first is None or not wait_queue.is_open(now):
                if wait_queue is not self.ready:
                    del self._signalled[wait_queue]
            elif best is None or first.order < best.order:
                best = first
        return best

    def next_wake(self, now: float) -> float | None:
        """Return when time alone opens a gate that blocks a request, or None."""
        return min((gate.opens_at(now) for gate in self._timed if gate.first()), default=None)
