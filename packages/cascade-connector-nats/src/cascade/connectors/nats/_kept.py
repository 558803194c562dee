"""Telemetry that the server's stream keeps for one subscription until it is read."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from cascade.connectors.nats._consumer import Consumer
from cascade.connectors.nats._store import HEARTBEAT, Store
from cascade.connectors.nats._subjects import arrived_topic
from cascade.interfaces.subjects import subject_of, subjects_of
from cascade.transport.faults import LinkLost
from cascade.transport.incoming.callbacks import CallbackQueue
from cascade.transport.incoming.message import DeliveryCounts, IncomingMessage

BATCH = 500
"""Messages of one request: half of what a callback's queue holds."""
_EXPIRES = 30
_SECOND = 1_000_000_000
_HEARTBEAT = b"NATS/1.0 100"


@dataclass(frozen=True, slots=True)
class Keeping:
    """Under which name telemetry is kept, and what waits until all that callbacks got is stored."""

    name: str
    stored: Callable[[], Awaitable[None]]

    def consumer_of(self, topic_filter: str) -> str:
        """Return the name of the consumer that knows how far a filter was read."""
        digest = hashlib.blake2b(topic_filter.encode(), digest_size=4).hexdigest()
        return f"{subject_of(self.name).replace('.', '_')}-{digest}"


class KeptTelemetry(Consumer):
    """Reads the stream for one callback, and acknowledges what its user has stored."""

    _queue: CallbackQueue

    def __init__(
        self, queue: CallbackQueue, keeping: Keeping, *, store: Store, delivery: DeliveryCounts
    ) -> None:
        super().__init__(queue, store=store, delivery=delivery)
        self.name = keeping.consumer_of(queue.filter)
        self._stored = keeping.stored
        # messages that the server may still send for the last request
        self._open = 0
        # of messages that are not acknowledged yet
        self._replies: list[str] = []

    async def open(self) -> bool:
        """Find or make the consumer; return False if the stream does not exist.

        :raises MessageRejected: if the server refuses this user to read it.
        """
        if self._store.no_stream is None:
            await self._store.keep_for(self.name, subjects_of(self._queue.filter))
        return self._store.no_stream is None

    async def run(self) -> None:
        """Read until this is cancelled."""
        with contextlib.suppress(LinkLost), self._inbox() as inbox:
            while True:
                # below 0: the server still had an earlier request
                if self._open <= 0:
                    self._ask(inbox)
                if await self._sign():
                    await self._acknowledge()
                else:
                    self._open = 0

    def _ask(self, inbox: str) -> None:
        self._open, self._heard = BATCH, self._loop.time()
        request = {"batch": BATCH, "expires": _EXPIRES * _SECOND, "idle_heartbeat": HEARTBEAT * _SECOND}
        self._client.write(self._store.next_of(self.name), json.dumps(request).encode(), reply=inbox)

    async def _acknowledge(self) -> None:
        replies, self._replies = self._replies, []
        if replies:
            await self._queue.idle()
            await self._stored()
        # one for all would cover what an earlier link had got and not stored
        for reply in replies:
            self._client.write(reply, b"+ACK")
        self._heard = self._loop.time()

    def _take_status(self, reply: str, headers: bytes) -> None:
        if not headers.startswith(_HEARTBEAT):
            self._open = 0
        self._wakeup.set()

    def _take(self, subject: str, reply: str, data: bytes, headers: bytes | None) -> None:
        self._open -= 1
        self._replies.append(reply)
        self._wakeup.set()
        if (topic := arrived_topic(subject, self._delivery)) is not None:
            self._queue.offer(IncomingMessage(topic, data))
