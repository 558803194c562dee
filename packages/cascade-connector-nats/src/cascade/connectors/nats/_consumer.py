"""One consumer of JetStream that sends to an inbox: its messages, its heartbeats and its silence."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator

from cascade.connectors.nats._client import Handler
from cascade.connectors.nats._store import HEARTBEAT, Store
from cascade.transport.event_loop import AutoResetEvent
from cascade.transport.incoming.dispatcher import Queue
from cascade.transport.incoming.message import DeliveryCounts

SILENCE = 3 * HEARTBEAT
"""Seconds without a sign of the server after which a consumer is asked again, or made anew."""
_STATUS = b"NATS/1.0 "
"""How the headers of what the server itself says begin: behind it stands a number as in HTTP."""


class Consumer:
    """Reads for one queue.

    A subclass has ``_take``, called like every ``Handler`` with each message, and ``_take_status`` for what the server
    itself says, called with the subject for an answer and the headers.
    """

    _take: Handler
    _take_status: Callable[[str, bytes], None]

    def __init__(self, queue: Queue, *, store: Store, delivery: DeliveryCounts) -> None:
        self._queue = queue
        self._store = store
        self._client = store.client
        self._delivery = delivery
        self._loop = asyncio.get_running_loop()
        self._wakeup = AutoResetEvent()
        self._heard = 0.0

    @contextlib.contextmanager
    def _inbox(self) -> Iterator[str]:
        """Receive on a new subject, until the block ends."""
        inbox = self._client.new_inbox()
        number = self._client.subscribe(inbox, self._receive)
        self._heard = self._loop.time()
        try:
            yield inbox
        finally:
            self._client.unsubscribe(number)

    async def _sign(self, *, until: float = float("inf")) -> bool:
        """Wait until ``_wakeup`` is set; return False if the server is silent, or at ``until`` on the loop's clock."""
        while (end := min(until, self._heard + SILENCE)) > self._loop.time():
            if await self._wakeup.wait_until(end):
                return True
        return False

    def _receive(self, subject: str, reply: str, data: bytes, headers: bytes | None) -> None:
        self._heard = self._loop.time()
        if headers is not None and headers.startswith(_STATUS):
            self._take_status(reply, headers)
        else:
            self._take(subject, reply, data, headers)
