"""Telemetry that the server's stream keeps for one subscription until it is read."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from cascade.connectors.nats._store import HEARTBEAT, Store
from cascade.interfaces.subjects import subject_of, subjects_of, topic_of
from cascade.transport.delivery.callbacks import CallbackQueue
from cascade.transport.delivery.message import UNDECODABLE, Delivery, IncomingMessage
from cascade.transport.event_loop import AutoResetEvent

BATCH = 500
"""Messages of one request: half of what a callback's queue holds."""
SILENCE = 3 * HEARTBEAT
"""Seconds without a sign of the server after which it is asked again."""
_EXPIRES = 30
_SECOND = 1_000_000_000
_HEARTBEAT = b"NATS/1.0 100"
_STATUS = b"NATS/1.0 4"


@dataclass(frozen=True, slots=True)
class Keeping:
    """Under which name telemetry is kept, and what waits until all that callbacks got is stored."""

    name: str
    stored: Callable[[], Awaitable[None]]

    def consumer_of(self, topic_filter: str) -> str:
        """Return the name of the consumer that knows how far a filter was read."""
        digest = hashlib.blake2b(topic_filter.encode(), digest_size=4).hexdigest()
        return f"{subject_of(self.name).replace('.', '_')}-{digest}"


class KeptTelemetry:
    """Reads the stream for one callback, and acknowledges what its user has stored."""

    def __init__(self, queue: CallbackQueue, keeping: Keeping, *, store: Store, delivery: Delivery) -> None:
        self._queue = queue
        self._keeping = keeping
        self._client = store.client
        self._store = store
        self._delivery = delivery
        self._name = keeping.consumer_of(queue.filter)
        self._wakeup = AutoResetEvent()
        self._open = 0  # messages that the server may still send for the last request
        self._replies: list[str] = []  # of messages that are not acknowledged yet

    async def open(self) -> None:
        """Find or make the consumer.

        :raises ApiError: if JetStream refuses it.
        """
        await self._store.keep_for(self._name, subjects_of(self._queue.filter))

    async def run(self) -> None:
        """Read until this is cancelled."""
        inbox = self._client.new_inbox()
        number = self._client.subscribe(inbox, self._receive)
        try:
            while True:
                if not self._open:
                    self._ask(inbox)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(SILENCE):
                        await self._wakeup.wait()
                    await self._acknowledge()
                    continue
                self._open = 0
        finally:
            self._client.unsubscribe(number)

    def _ask(self, inbox: str) -> None:
        self._open = BATCH
        request = {"batch": BATCH, "expires": _EXPIRES * _SECOND, "idle_heartbeat": HEARTBEAT * _SECOND}
        self._client.write(self._store.next_of(self._name), json.dumps(request).encode(), reply=inbox)

    async def _acknowledge(self) -> None:
        replies, self._replies = self._replies, []
        if replies:
            await self._queue.idle()
            await self._keeping.stored()
        for reply in replies:  # one for all would cover what an earlier link had got and not stored
            self._client.write(reply, b"+ACK")

    def _receive(self, subject: str, reply: str, data: bytes, headers: bytes | None) -> None:
        if headers is not None and headers.startswith((_HEARTBEAT, _STATUS)):
            self._open = self._open if headers.startswith(_HEARTBEAT) else 0
            self._wakeup.set()
            return
        self._open -= 1
        self._replies.append(reply)
        self._wakeup.set()
        self._delivery.received += 1
        try:
            topic = topic_of(subject)
        except ValueError:
            self._delivery.discarded[UNDECODABLE] += 1
            return
        self._queue.offer(IncomingMessage(topic, data))
