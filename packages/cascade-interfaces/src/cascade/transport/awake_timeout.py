"""A timeout for the outside world, which counts only while this process can read what it answers."""

from __future__ import annotations

import asyncio
from typing import Any

STEP = 0.1
"""Seconds of one wait. A process that stood still, or whose loop was blocked, loses at most so many of its timeout."""


class AwakeTimeout:
    """Seconds that are left for waits, one after the other.

    Only time counts in which this process could have read an answer: after SIGSTOP, or on a machine
    that slept or was busy, what has arrived meanwhile is read before the timeout is over.
    """

    def __init__(self, seconds: float) -> None:
        self.left = seconds

    async def wait(self, task: asyncio.Future[Any]) -> None:
        """Return when the task is done or no time is left; then at once, but after reading the network once."""
        now = asyncio.get_running_loop().time
        while True:
            step, began = max(min(self.left, STEP), 0.0), now()
            await asyncio.wait({task}, timeout=step)
            self.left -= min(step, now() - began) if task.done() else step
            if task.done() or self.left <= 0:
                return
