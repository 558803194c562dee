"""Start requests, the queues in which they wait, and what runs have still to be notified of. No I/O."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, ClassVar, NamedTuple

from cascade.runtime._admission.rules import RateLimit, TokenBucket
from cascade.runtime._support.text import printable
from cascade.spec.policies import Rate

Demands = tuple[tuple[str, float], ...]
"""Amounts by resource, sorted by the resources' names."""

Covers = Callable[[str], object]
"""Returns something true if a cancel applies to tasks of this name."""

# heap entries; below that, entries that are out of date cost less than a sweep
_SWEEP_ABOVE = 64


class BlockReason(NamedTuple):
    """Why a request waits or is rejected."""

    reason: str
    topic: str = ""
    """The topic of the register that blocks the request; empty for a resource of the engine."""
    type: str = ""
    """The type of that register's constraint."""
    by: str = ""
    """Who has written it, as its message claims: nothing proves that."""

    def __str__(self) -> str:
        if not self.topic:
            return self.reason
        claim = f", claimed by {printable(self.by)}" if self.by else ""
        return f"{self.reason} ({printable(self.topic)}{claim})"


class AdmittedRun:
    """One run as admission knows it: its id, and the functions that the controller calls.

    These are functions and not methods to override, because several of them belong to other
    parts of the run (its outcome, its checkpoints): a notification goes there directly.
    Each function returns at once and never raises.
    """

    __slots__ = (
        "abort",
        "cancel",
        "reconsider",
        "reject",
        "report_blocked",
        "run_id",
        "running",
        "start",
        "workflow",
    )

    run_id: str
    workflow: str
    """The name by which constraints cover all runs of one workflow; empty if the run has none."""
    running: Callable[[], Iterable[StartRequest]]
    """Returns a request for each task that runs now, including those that started without one."""
    start: Callable[[StartRequest], None]
    """Starts the task. The run releases the request exactly once, however the task ends."""
    reject: Callable[[StartRequest, BlockReason], None]
    """Records that the task was cancelled before it started. The request holds nothing."""
    report_blocked: Callable[[StartRequest, BlockReason], None]
    """Publishes why the task waits; called once each time that it begins to wait."""
    cancel: Callable[[BlockReason, Covers | None], None]
    """Cancels the covered tasks that run or wait for their next attempt; without ``Covers``, the run."""
    reconsider: Callable[[], None]
    """Checks again whether tasks that are paused at a checkpoint may continue."""
    abort: Callable[[Exception], None]
    """Ends the run with this error, because admission itself has failed."""

    def __init__(
        self,
        run_id: str,
        *,
        workflow: str,
        running: Callable[[], Iterable[StartRequest]],
        start: Callable[[StartRequest], None],
        reject: Callable[[StartRequest, BlockReason], None],
        report_blocked: Callable[[StartRequest, BlockReason], None],
        cancel: Callable[[BlockReason, Covers | None], None],
        reconsider: Callable[[], None],
        abort: Callable[[Exception], None],
    ) -> None:
        self.run_id = run_id
        self.workflow = workflow
        self.running = running
        self.start = start
        self.reject = reject
        self.report_blocked = report_blocked
        self.cancel = cancel
        self.reconsider = reconsider
        self.abort = abort


class StartRequest:
    """One task that asks to start, or runs. It may be submitted again after its release."""

    __slots__ = ("demands", "name", "order", "queue", "rate", "run", "running", "slots", "subject")

    def __init__(
        self,
        run: AdmittedRun,
        name: str,
        *,
        demands: Demands = (),
        slots: WorkerSlots | None = None,
        rate: Rate | None = None,
        subject: Any = None,
    ) -> None:
        self.run = run
        self.name = name
        self.demands = demands
        self.slots = slots
        self.rate = rate
        """How often the task's attempts may start, as it was declared."""
        self.subject = subject
        """What the run wants to find again; admission does not use it."""
        self.order = 0
        self.queue: RequestQueue | None = None
        """Where the request waits."""
        self.running = False

    def __repr__(self) -> str:
        state = "running" if self.running else "waiting" if self.queue else "idle"
        return f"<StartRequest {self.order} {self.name} {state}>"


class RequestQueue:
    """Requests that differ only in their order, so checking the head decides for all."""

    __slots__ = ("demands", "group", "notified", "order", "rate", "requests", "slots", "wait_queue")

    def __init__(
        self, group: Any, demands: Demands, slots: WorkerSlots | None, rate: RateQueue | None = None
    ) -> None:
        self.group = group
        self.demands = demands
        self.slots = slots
        self.rate = rate
        self.requests: deque[StartRequest] = deque()
        self.wait_queue: WaitQueue | None = None
        """The only wait queue that contains this queue."""
        self.order = 0
        """The position there: the order of the head when the queue was added."""
        self.notified = 0
        """How many requests, counted from the head, have been reported as blocked."""

    def take_unnotified(self, most: int) -> list[StartRequest]:
        """Return up to ``most`` requests that were not yet reported as blocked, and mark them as reported."""
        left = len(self.requests) - self.notified
        most = min(most, left)
        if self.notified < left:  # a deque is walked from the nearer end
            found = list(islice(self.requests, self.notified, self.notified + most))
        else:
            found = list(islice(reversed(self.requests), left - most, left))[::-1]
        self.notified += most
        return found

    def __lt__(self, other: RequestQueue) -> bool:
        # the heap compares two entries of the same order only if they are of one queue
        return False


class WaitQueue:
    """Queues that wait for one thing; the one with the oldest request comes first.

    A queue that is added elsewhere leaves its entry behind in the heap. Such entries are
    skipped when they come first, and swept out when they are the majority.
    """

    __slots__ = ("_heap",)
    opens_by_itself: ClassVar[bool] = False
    """Whether it opens with time, without any task ending."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, RequestQueue]] = []

    def is_open(self, now: float) -> bool:
        """Return whether it makes sense to check the first queue."""
        return True

    def opens_at(self, now: float) -> float:
        """Return when it opens, if it opens with time."""
        return math.inf

    def block_reason(self) -> BlockReason | None:
        """Return what the queues here wait for; None if it is not reported to users."""
        return None

    def add(self, queue: RequestQueue) -> None:
        """Make a queue wait here, and in no other wait queue."""
        queue.wait_queue = self
        queue.order = queue.requests[0].order
        heapq.heappush(self._heap, (queue.order, queue))
        if len(self._heap) > _SWEEP_ABOVE:
            self._sweep()

    def first(self) -> RequestQueue | None:
        """Return the queue with the oldest request."""
        while self._heap and not self._is_current(*self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][1] if self._heap else None

    def take_all(self) -> list[RequestQueue]:
        """Remove every queue and return them."""
        taken = []
        while (queue := self.first()) is not None:
            queue.wait_queue = None
            taken.append(queue)
        return taken

    def _is_current(self, order: int, queue: RequestQueue) -> bool:
        return queue.wait_queue is self and queue.order == order

    def _sweep(self) -> None:
        current = {entry for entry in self._heap if self._is_current(*entry)}
        if 2 * len(current) < len(self._heap):
            self._heap = sorted(current)


class RateQueue(WaitQueue):
    """Queues that wait for the rate at which attempts of one task may start, as it was declared."""

    __slots__ = ("_bucket", "_rule", "_task")
    opens_by_itself = True

    def __init__(self, task: str, rule: RateLimit, bucket: TokenBucket) -> None:
        super().__init__()
        self._task = task
        self._rule = rule
        self._bucket = bucket

    def is_open(self, now: float) -> bool:
        return self._bucket.has_token(self._rule, now)

    def opens_at(self, now: float) -> float:
        return self._bucket.next_token(self._rule, now)

    def task_started(self, now: float) -> None:
        """Count the start of an attempt."""
        self._bucket.take(self._rule, now)

    @property
    def name(self) -> str:
        """The task and its rate, for people."""
        return f"{self._task}: {self._rule}"

    def block_reason(self) -> BlockReason:
        return BlockReason(f"{printable(self._task)} may start at most {self._rule}, as its code says")


class WorkerSlots(WaitQueue):
    """The workers of one executor, and the queues that wait for one of them.

    Admission takes one from ``free`` for each request that it admits. The run that uses the
    worker adds one when the task has ended, and takes one when it starts a task without a request.
    ``free`` is below zero while more calls run than the executor has workers, because some have left.
    """

    __slots__ = ("__weakref__", "executor", "free", "workers")

    def __init__(self, workers: int, *, executor: object = None) -> None:
        super().__init__()
        self.executor = executor
        self.workers = self.free = workers

    def resize(self, workers: int) -> None:
        """Set how many workers the executor has now."""
        self.free += workers - self.workers
        self.workers = workers

    def is_open(self, now: float) -> bool:
        return self.free > 0


Cancellation = tuple[AdmittedRun, BlockReason, Covers | None]
"""Which tasks of a run to cancel; without ``Covers``, the run itself."""


class Notifications:
    """Pending notifications: requests that began to wait, rejected requests, and cancels."""

    def __init__(self) -> None:
        self._unnotified: dict[RequestQueue, None] = {}
        self._rejected: list[tuple[StartRequest, BlockReason]] = []
        self._cancellations: list[Cancellation] = []

    @property
    def blocked(self) -> bool:
        """Whether there may be requests that wait and were not yet reported as blocked."""
        return bool(self._unnotified)

    def block(self, queue: RequestQueue) -> None:
        """Add the requests of a queue that waits."""
        self._unnotified[queue] = None

    def reject(self, request: StartRequest, reason: BlockReason) -> None:
        """Add a request that was rejected."""
        self._rejected.append((request, reason))

    def cancel(self, runs: Iterable[AdmittedRun], reason: BlockReason, covers: Covers | None) -> None:
        """Add the cancel of runs, or of their tasks that ``covers`` selects."""
        self._cancellations += [(run, reason, covers) for run in runs]

    def forget(self, run: AdmittedRun) -> None:
        """Remove the cancels of a run that has ended."""
        self._cancellations = [item for item in self._cancellations if item[0] is not run]

    def take_blocked(self, most: int) -> list[tuple[StartRequest, BlockReason]]:
        """Remove and return up to ``most`` requests that began to wait, each once for each wait."""
        found: list[tuple[StartRequest, BlockReason]] = []
        for queue in tuple(self._unnotified):
            reason = queue.wait_queue.block_reason() if queue.wait_queue is not None else None
            if reason is not None:
                found += [(request, reason) for request in queue.take_unnotified(most - len(found))]
            if reason is None or queue.notified == len(queue.requests):
                del self._unnotified[queue]
            if len(found) >= most:
                break
        return found

    def take_rejected(self) -> list[tuple[StartRequest, BlockReason]]:
        """Remove and return the requests that a cancel has rejected; they hold nothing."""
        found, self._rejected = self._rejected, []
        return found

    def take_cancellations(self) -> list[Cancellation]:
        """Remove and return the cancels of runs and of their tasks."""
        found, self._cancellations = self._cancellations, []
        return found
