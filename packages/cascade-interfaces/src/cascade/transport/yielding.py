"""Yield to other tasks when one kind of work has held the event loop for long."""

from __future__ import annotations

import asyncio
import time

LOOP_BUDGET = 0.005
"""Seconds for which one kind of work may keep the event loop before it yields."""


class LoopBudget:
    """The time that one kind of work may take in one iteration of an event loop; ``limit`` is in seconds."""

    __slots__ = ("_limit", "_loop", "_started")

    def __init__(self, limit: float | None = None) -> None:
        self._limit = LOOP_BUDGET if limit is None else limit
        self._loop = asyncio.get_running_loop()
        self._started: float | None = None

    def spent(self) -> bool:
        """Return whether the time since the first call in this iteration exceeds the limit: then yield."""
        now = time.monotonic()
        if self._started is None:
            self._started = now
            self._loop.call_soon(self._renew)
            return False
        return now - self._started > self._limit

    def _renew(self) -> None:
        self._started = None
