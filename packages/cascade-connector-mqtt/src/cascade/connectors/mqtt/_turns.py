"""How long one kind of work has held the event loop in this turn, and who has to wait for another."""

from __future__ import annotations

import asyncio
import time
from collections import deque

LIMIT = 0.005
"""Seconds of work in one turn of the loop before it is somebody else's turn."""

_AT_ONCE = 100


class TurnBudget:
    """Tells when it is time to yield. For one event loop."""

    __slots__ = ("_loop", "_started")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._started: float | None = None

    def spent(self) -> bool:
        """Return whether the work since the first call in this turn took longer than the limit."""
        now = time.monotonic()
        if self._started is None:
            self._started = now
            self._loop.call_soon(self._renew)
            return False
        return now - self._started > LIMIT

    def _renew(self) -> None:
        self._started = None


class Turnstile(TurnBudget):
    """Lets callers pass while this turn has time left, and the others in later turns, in order.

    Thousands of tasks may begin in one turn: if each of them looked again in every turn, the
    looking alone would hold the loop.
    """

    __slots__ = ("_passing", "_waiting")

    def __init__(self) -> None:
        super().__init__()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._passing = 0

    def closed(self) -> bool:
        """Return whether a caller has to wait."""
        return bool(self._waiting or self._passing) or self.spent()

    async def wait(self) -> None:
        """Wait for a turn that has time left."""
        if not self._waiting:
            self._loop.call_soon(self._open)
        waiter = self._loop.create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        finally:
            self._passing -= not waiter.cancelled()

    def _open(self) -> None:
        for _ in range(min(_AT_ONCE, len(self._waiting))):
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                self._passing += 1
        if self._waiting:
            self._loop.call_soon(self._open)
