"""Waiters for the next step of something that moves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Progress:
    """Wakes every coroutine that waits for the next step. Made on the event loop of its waiters."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.waiters: set[asyncio.Future[None]] = set()

    def notify(self) -> None:
        """Wake every waiter: something has moved, or may have."""
        while self.waiters:
            waiter = self.waiters.pop()
            if not waiter.done():
                waiter.set_result(None)

    async def following(self, timeout: float) -> bool:
        """Wait until something moves; return whether that was within ``timeout`` seconds."""
        with self.waiter() as waiter:
            await asyncio.wait({waiter}, timeout=timeout)
        return waiter.done()

    @contextmanager
    def waiter(self) -> Iterator[asyncio.Future[None]]:
        """Give a future that the next :meth:`notify` completes."""
        waiter = self._loop.create_future()
        self.waiters.add(waiter)
        try:
            yield waiter
        finally:
            self.waiters.discard(waiter)
