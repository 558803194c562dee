"""Equal calls at the same time: one computes, the others wait for its value."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

ValueT = TypeVar("ValueT")


class SingleFlight(Generic[ValueT]):
    """Runs one computation per key at a time; each further caller waits with one future, no task."""

    def __init__(self) -> None:
        self._waiters: dict[object, deque[asyncio.Future[ValueT | None]]] = {}

    def __len__(self) -> int:
        return len(self._waiters)

    async def run(self, key: object, compute: Callable[[], Awaitable[ValueT]]) -> tuple[ValueT, bool]:
        """Return the value for ``key``, and whether another caller computed it.

        The first caller computes. If it fails or is cancelled, the caller that has waited longest
        computes next; so each caller only ever fails by its own computation.

        :raises Exception: what this caller's own ``compute()`` raises.
        """
        shared = await self._wait(key)
        if shared is not None:
            return shared, True
        value: ValueT | None = None
        try:
            value = await compute()
            return value, False
        finally:
            self._pass_on(key, value)

    async def _wait(self, key: object) -> ValueT | None:
        """Return another caller's value, or None if this caller has to compute."""
        waiters = self._waiters.get(key)
        if waiters is None:
            self._waiters[key] = deque()
            return None
        waiter: asyncio.Future[ValueT | None] = asyncio.get_running_loop().create_future()
        waiters.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            # Cancelled at the moment at which this caller was chosen to compute: choose the next one.
            if not waiter.cancelled() and waiter.result() is None:
                self._pass_on(key, None)
            raise

    def _pass_on(self, key: object, value: ValueT | None) -> None:
        """Give every waiter the value; without one (None), wake only the first, which then computes."""
        waiters = self._waiters[key]
        while waiters:
            waiter = waiters.popleft()
            if not waiter.done():
                waiter.set_result(value)
                if value is None:
                    return
        del self._waiters[key]
