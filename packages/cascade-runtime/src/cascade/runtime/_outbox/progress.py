"""Wait until something moves."""

from __future__ import annotations

import asyncio


class Progress:
    """Wakes every coroutine that waits for the next step; for one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiters: set[asyncio.Future[None]] = set()

    def note(self) -> None:
        """Note that something has moved."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def following(self, timeout: float) -> bool:
        """Wait until something moves; return whether that was within ``timeout`` seconds."""
        waiter = self._loop.create_future()
        self._waiters.add(waiter)
        try:
            await asyncio.wait({waiter}, timeout=timeout)
        finally:
            self._waiters.discard(waiter)
        return waiter.done()
