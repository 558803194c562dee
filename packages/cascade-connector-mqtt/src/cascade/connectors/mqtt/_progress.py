"""Waiting for what an outbox makes of its messages: until all are settled, or until nothing moves any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cascade.connectors.mqtt._outbox import Outbox

NO_PROGRESS = 2.0
"""Seconds for which a drain waits while the link is up and nothing is settled."""
NO_LINK = 0.3
"""Seconds for which a drain waits in all while there is no link."""


class Progress:
    """Wakes whoever waits for an outbox, each time that something may have happened."""

    def __init__(self, outbox: Outbox) -> None:
        self.waiters: set[asyncio.Future[None]] = set()
        self._outbox = outbox
        self._loop = asyncio.get_running_loop()

    def pulse(self) -> None:
        """Let whoever waits look again."""
        while self.waiters:
            waiter = self.waiters.pop()
            if not waiter.done():
                waiter.set_result(None)

    async def flush(self, timeout: float) -> bool:
        """Wait until all that is accepted by now is sent or dropped; return whether it is."""
        deadline = self._loop.time() + timeout
        target = self._outbox.accepted
        while (oldest := self._outbox.oldest()) is not None and oldest <= target:
            if (left := deadline - self._loop.time()) <= 0:
                return False
            await self._wait(left)
        return True

    async def drain(self, timeout: float, *, linked: Callable[[], bool]) -> None:
        """Wait until the outbox is empty, but not for a link that moves nothing, nor long for one that is not there."""
        deadline = self._loop.time() + timeout
        progress_by = self._loop.time() + NO_PROGRESS
        unlinked_for = 0.0
        settled = self._outbox.settled
        while self._outbox.pending:
            began = self._loop.time()
            up = linked()
            patience = progress_by - began if up else NO_LINK - unlinked_for
            if (left := min(deadline - began, patience)) <= 0:
                return
            await self._wait(left)
            if self._outbox.settled != settled:
                settled, progress_by = self._outbox.settled, self._loop.time() + NO_PROGRESS
            if not up:
                unlinked_for += self._loop.time() - began

    async def _wait(self, timeout: float) -> None:
        waiter = self._loop.create_future()
        self.waiters.add(waiter)
        try:
            await asyncio.wait({waiter}, timeout=timeout)
        finally:
            self.waiters.discard(waiter)
