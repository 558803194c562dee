"""Which worker runs which call, and which calls have started. No I/O.

Each call is sent to one worker. So a call whose worker is lost does not run again elsewhere, and
the calls of a worker start in the order in which they were sent: the first ``threads`` of them run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from cascade.interfaces import CallContext, Directive
from cascade.interfaces.ahead import AheadWindow
from cascade.interfaces.numbered_calls import RUN, Order

WINDOW = 256 * 1024
"""Characters of the values of one call that may be on the way; beyond that, ``cs.publish`` waits in its worker."""

STALE = 0.1
"""Seconds that a call runs until its worker is no longer a good place for further calls."""


class Call:
    """One call on its way: packed, waiting to be sent, or at a worker.

    ``on_start`` is called once, when a worker starts it or has certainly started it; then, or
    without that, ``on_end`` is called once with its packed outcome or an error. ``on_heard`` is
    called with the sum of what was heard, for a confirmation.
    """

    def __init__(
        self,
        packed: bytes,
        name: str,
        *,
        on_start: Callable[[], object],
        on_end: Callable[[bytes | Exception], object],
        withdrawable: bool,
        context: CallContext | None = None,
        on_heard: Callable[[int], object] | None = None,
    ) -> None:
        self.packed = packed
        self.name = name
        self.withdrawable = withdrawable
        self.abandoned = False
        self.number = 0
        """Unique among the calls that were sent; a call that is sent again gets another one."""
        self.worker: WorkerCalls | None = None
        self.early: bytes | None = None
        """Its outcome, if that came before its place showed that it had started."""
        self.started: float | None = None
        """When it started, on the clock of :class:`Placement`."""
        self.context = context
        """What hears its reports; None if it was given up, or nothing listens."""
        self.order: Order = RUN
        """What it is to do at its checkpoints."""
        self._heard = 0  # characters of what it has published
        self._confirmed = 0
        self._on_heard = on_heard
        self._on_start = on_start
        self._on_end = on_end
        self._lock = threading.Lock()
        self._taken = False

    def claim(self) -> bool:
        """Return whether this is the first claim: of the one who sends it, or of the one who gives it up."""
        with self._lock:
            first, self._taken = not self._taken, True
            return first

    def direct(self, directive: Directive) -> None:
        """Change what it is to do."""
        self.order = (self.order[0] + 1, directive.value)

    def hear(self, size: int) -> None:
        """Have what was heard confirmed, each time that it is a quarter of what may be on the way."""
        self._heard += size
        if self._on_heard is not None and self._heard - self._confirmed >= WINDOW // 4:
            self._confirmed = self._heard
            self._on_heard(self._heard)

    def start(self, now: float) -> None:
        """Report that the call has started. Idempotent."""
        if self.started is None:
            self.started = now
            self._on_start()

    def end(self, outcome: bytes | Exception) -> None:
        """Report how the call has ended."""
        self._on_end(outcome)


class WorkerCalls:
    """The calls of one worker, in the order in which they were sent."""

    def __init__(self, address: str, threads: int) -> None:
        self.address = address
        self.threads = threads
        self.calls: dict[int, Call] = {}

    def start_calls(self, now: float) -> None:
        """Start as many calls as there are free threads."""
        free = self.threads - sum(call.started is not None for call in self.calls.values())
        for call in self.waiting()[: max(0, free)]:
            call.start(now)

    def waiting(self) -> list[Call]:
        """Return the calls that have not started."""
        return [call for call in self.calls.values() if call.started is None]

    def is_stale(self, now: float) -> bool:
        """Return whether each thread has been busy with one call for a while."""
        started = [call.started for call in self.calls.values() if call.started is not None]
        return len(started) >= self.threads and all(now - at > STALE for at in started)


class Placement:
    """The workers of a cluster and their calls; ``now`` is seconds on a monotonic clock."""

    def __init__(self) -> None:
        self.workers: dict[str, WorkerCalls] = {}
        self._window = AheadWindow()

    @property
    def threads(self) -> int:
        """How many calls the workers run at the same time."""
        return sum(worker.threads for worker in self.workers.values())

    @property
    def ahead(self) -> int:
        """How many calls to send beyond one for each thread: about 20 ms of work for each thread."""
        return self.threads * self._window.each

    def calls(self) -> list[Call]:
        """Return the calls at all workers."""
        return [call for worker in self.workers.values() for call in worker.calls.values()]

    def count(self) -> int:
        """Return how many calls are at all workers."""
        return sum(len(worker.calls) for worker in self.workers.values())

    def learn(self, duration: float) -> None:
        """Note how many seconds a call has run."""
        self._window.learn(duration)

    def update(self, threads: Mapping[str, int]) -> list[Call]:
        """Replace the number of threads of each worker; return the calls of the workers that are gone."""
        gone = [self.workers.pop(address) for address in [*self.workers] if address not in threads]
        for address, count in threads.items():
            self.workers.setdefault(address, WorkerCalls(address, count)).threads = count
        return [call for worker in gone for call in worker.calls.values()]

    def place(self, call: Call, now: float) -> WorkerCalls:
        """Add a call to the worker with the fewest calls for each thread; avoid workers that are stale."""
        worker = min(
            self.workers.values(),
            key=lambda worker: (worker.is_stale(now), len(worker.calls) / worker.threads),
        )
        call.worker = worker
        worker.calls[call.number] = call
        worker.start_calls(now)
        return worker

    def remove(self, call: Call, now: float) -> None:
        """Remove a call that has ended or was withdrawn; the next one at its worker starts."""
        worker, call.worker = call.worker, None
        if worker is not None:
            worker.calls.pop(call.number, None)
            worker.start_calls(now)

    def misplaced(self, now: float) -> list[Call]:
        """Return calls that wait at a stale worker although another worker has a free thread."""
        if all(len(worker.calls) >= worker.threads for worker in self.workers.values()):
            return []
        return [call for worker in self.workers.values() if worker.is_stale(now) for call in worker.waiting()]
