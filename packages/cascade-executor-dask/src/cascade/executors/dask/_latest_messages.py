"""Delivers messages to calls at workers: to each worker one request at a time, with the latest message to each call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

MessageT = TypeVar("MessageT")

# seconds after which messages are sent again to a worker that could not be reached
_RETRY = 0.2


class LatestMessages(Generic[MessageT]):
    """The messages that have not reached their workers. All methods run on one event loop.

    A worker that does not answer delays no other. Its messages are sent again until it has
    got them, or :meth:`drop` says that it is lost.

    :param send: sends messages, by the numbers of their calls, to the worker at an address.
    :param what: what they are, for the names of asyncio tasks.
    """

    def __init__(self, send: Callable[[str, dict[int, MessageT]], Awaitable[object]], *, what: str) -> None:
        self._send = send
        self._what = what
        self._waiting: dict[str, dict[int, MessageT]] = {}
        self._sending: dict[str, asyncio.Task[None]] = {}

    def put(self, address: str, number: int, message: MessageT) -> None:
        """Send a message in place of earlier ones to the same call that have not left."""
        self._waiting.setdefault(address, {})[number] = message
        if address not in self._sending:
            delivery = asyncio.create_task(self._deliver(address), name=f"cascade dask {self._what}")
            self._sending[address] = delivery

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
        while messages := self._waiting.pop(address, None):
            try:
                await self._send(address, messages)
            except Exception:
                # the connection broke: the latest messages are sent again
                self._waiting[address] = {**messages, **self._waiting.get(address, {})}
                await asyncio.sleep(_RETRY)
        del self._sending[address]
