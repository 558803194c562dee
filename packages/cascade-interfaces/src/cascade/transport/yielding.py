"""Yield to other tasks when one kind of work has held the event loop for long."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any

LOOP_BUDGET = 0.005
"""Seconds for which one kind of work may keep the event loop before it yields."""


class LoopBudget:
    """The time that one kind of work may take in one iteration of an event loop; ``limit`` is in seconds."""

    __slots__ = ("_caller", "_limit", "_loop", "_started")

    def __init__(self, limit: float | None = None) -> None:
        self._limit = LOOP_BUDGET if limit is None else limit
        self._loop = asyncio.get_running_loop()
        self._started: float | None = None
        self._caller: asyncio.Task[Any] | None = None

    def spent(self) -> bool:
        """Return whether the time since the first call in this iteration exceeds the limit: then yield."""
        now = time.monotonic()
        if self._started is None:
            self._started = now
            self._loop.call_soon(self._renew)
            return False
        return now - self._started > self._limit

    def repeated(self) -> bool:
        """Return whether the previous call in this iteration came from the same task: then it is in a loop."""
        caller, self._caller = self._caller, asyncio.current_task(self._loop)
        return caller is self._caller

    def _renew(self) -> None:
        self._started = self._caller = None


class CallQueue:
    """Spreads calls of one function that many tasks ask for over loop iterations, in the order of the requests.

    When 10,000 tasks ask in the same iteration, the calls that exceed the budget are made in the
    next iterations. What waits is bounded: beyond ``most`` calls, or a ``weight`` of ``heaviest`` in
    all, each further request makes the call that has waited longest. For one event loop.

    :param function: must not raise; an error of it is reported to the event loop's exception handler.
    :param limit: seconds of calls in one iteration; by default those of a ``LoopBudget``.
    """

    __slots__ = (
        "_budget",
        "_function",
        "_heaviest",
        "_loop",
        "_most",
        "_waiting",
        "_weight",
        "_weights",
        "made",
    )

    def __init__(
        self, function: Callable[..., None], *, most: int, heaviest: int, limit: float | None = None
    ) -> None:
        self._function = function
        self._most = most
        self._heaviest = heaviest
        self._budget = LoopBudget(limit)
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[Any, ...]] = deque()  # arguments
        self._weights: deque[int] = deque()
        self._weight = 0  # of all
        self.made = 0
        """How many of the calls that had to wait have been made."""

    def __len__(self) -> int:
        """Return how many calls wait."""
        return len(self._waiting)

    def full(self) -> bool:
        """Return whether a further call has to wait: the budget is spent, or others wait already."""
        return bool(self._waiting) or self._budget.spent()

    def later(self, weight: int, *args: Any) -> None:
        """Call the function in a later iteration, after all earlier calls; ``weight`` is the call's, in bytes."""
        if not self._waiting:
            self._loop.call_soon(self._continue)
        self._waiting.append(args)
        self._weights.append(weight)
        self._weight += weight
        while len(self._waiting) > self._most or self._weight > self._heaviest:
            self._run_next()

    def run_all(self) -> None:
        """Make every waiting call now: for a caller that cannot wait and must not overtake them."""
        while self._waiting:
            self._run_next()

    def _continue(self) -> None:
        try:
            while self._waiting and not self._budget.spent():
                self._run_next()
        finally:
            if self._waiting:
                self._loop.call_soon(self._continue)

    def _run_next(self) -> None:
        args = self._waiting.popleft()
        self._weight -= self._weights.popleft()
        self.made += 1
        self._function(*args)
