"""How long one kind of work has held the event loop in this turn."""

from __future__ import annotations

import asyncio
import time
from typing import Any

LIMIT = 0.005
"""Seconds of work in one turn of the loop before it is somebody else's turn."""


class TurnBudget:
    """Tells when it is time to yield. For one event loop; ``limit`` is in seconds."""

    __slots__ = ("_asker", "_limit", "_loop", "_started")

    def __init__(self, limit: float | None = None) -> None:
        self._limit = LIMIT if limit is None else limit
        self._loop = asyncio.get_running_loop()
        self._started: float | None = None
        self._asker: asyncio.Task[Any] | None = None

    def spent(self) -> bool:
        """Return whether the work since the first call in this turn took longer than the limit."""
        now = time.monotonic()
        if self._started is None:
            self._started = now
            self._loop.call_soon(self._renew)
            return False
        return now - self._started > self._limit

    def again(self) -> bool:
        """Return whether the running task is the one that asked this last in this turn: then it is in a loop."""
        asker, self._asker = self._asker, asyncio.current_task(self._loop)
        return asker is self._asker

    def _renew(self) -> None:
        self._started = self._asker = None
