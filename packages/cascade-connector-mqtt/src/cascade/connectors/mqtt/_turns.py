"""How long one kind of work has held the event loop in this turn."""

from __future__ import annotations

import asyncio
import time

LIMIT = 0.005
"""Seconds of work in one turn of the loop before it is somebody else's turn."""


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
