"""Delivers orders to calls at workers: to each worker one request at a time, with the latest order of each call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from cascade.interfaces.numbered_calls import Order

_RETRY = 0.2  # seconds after which orders are sent again to a worker that could not be reached


class Orders:
    """The orders that have not reached their workers. All methods run on one event loop.

    A worker that does not answer delays no other. Its orders are sent again until it has
    got them, or :meth:`drop` says that it is lost.

    :param send: sends orders, by the numbers of their calls, to the worker at an address.
    """

    def __init__(self, send: Callable[[str, dict[int, Order]], Awaitable[object]]) -> None:
        self._send = send
        self._waiting: dict[str, dict[int, Order]] = {}
        self._sending: dict[str, asyncio.Task[None]] = {}

    def put(self, address: str, number: int, order: Order) -> None:
        """Send an order in place of earlier ones to the same call that have not left."""
        self._waiting.setdefault(address, {})[number] = order
        if address not in self._sending:
            self._sending[address] = asyncio.create_task(self._deliver(address), name="cascade dask orders")

    def drop(self, address: str) -> None:
        """Send nothing more to a worker."""
        self._waiting.pop(address, None)
        if (sending := self._sending.pop(address, None)) is not None:
            sending.cancel()

    async def close(self) -> None:
        """Send nothing more."""
        sending = [*self._sending.values()]
        for address in [*self._sending]:
            self.drop(address)
        await asyncio.gather(*sending, return_exceptions=True)

    async def _deliver(self, address: str) -> None:
        while orders := self._waiting.pop(address, None):
            try:
                await self._send(address, orders)
            except Exception:  # the connection broke: the latest orders are sent again
                self._waiting[address] = {**orders, **self._waiting.get(address, {})}
                await asyncio.sleep(_RETRY)
        del self._sending[address]
