"""The retained messages of one queue: those that the bucket holds, the end of these, and then each change."""

from __future__ import annotations

import asyncio
import contextlib
import math
import re

from cascade.connectors.nats._consumer import SILENCE, Consumer
from cascade.connectors.nats._store import Store
from cascade.connectors.nats._subjects import WILL, arrived_topic, cover
from cascade.interfaces.filters import first_match
from cascade.interfaces.topics import parse_status_topic
from cascade.transport.faults import LinkLost, MessageRejected
from cascade.transport.incoming.dispatcher import Queue
from cascade.transport.incoming.message import DeliveryCounts, IncomingMessage
from cascade.transport.incoming.retained_feed import Changed, RetainedFeed
from cascade.transport.incoming.watches import WatchQueue
from cascade.transport.presence import UNNAMED_WILL
from cascade.transport.retained_proof.retained_set import INTERVAL

PAUSE = 1.0
"""Seconds between two attempts to follow the bucket."""
_LAST = re.compile(rb"Nats-Last-Consumer: (\d+)")
_STALLED = re.compile(rb"Nats-Consumer-Stalled: (\S+)")
_EXPIRED = b"Nats-Marker-Reason: MaxAge"
_CLEARED = re.compile(rb"KV-Operation:|Nats-Marker-Reason:")
_WILL = UNNAMED_WILL.encode()


class RetainedMessages(Consumer):
    """Follows the bucket for one queue on one link, with one consumer at a time.

    The consumer is made anew if a message is missing, if it is silent, and for further topics; that of a watch also from
    time to time.

    :param changed: called with filters that a watch got, and with those that it has given up.
    """

    def __init__(self, queue: Queue, *, store: Store, delivery: DeliveryCounts, changed: Changed) -> None:
        super().__init__(queue, store=store, delivery=delivery)
        self.feed = RetainedFeed(queue, renew=self._renew, changed=changed)
        # the queue has what came up to this position; None: none is due
        self._renewal: int | None = None
        self._next = 1  # the number of its next message

    async def run(self) -> None:
        """Follow the bucket until this is cancelled."""
        with contextlib.closing(self.feed), contextlib.suppress(LinkLost):
            while True:
                try:
                    await self._follow()
                except (MessageRejected, TimeoutError):
                    # the bucket is gone, or this user's rights are
                    self.feed.give_up()
                    self._renewal = 0
                    await self._store.open()
                    await asyncio.sleep(PAUSE)

    async def _follow(self) -> None:
        if not self._store.usable:
            self.feed.give_up()
            await asyncio.wait({self._store.opened})
        with self._inbox() as inbox:
            self._next = 1
            has, self._renewal = self._renewal or 0, None
            self.feed.begin(has)
            async with asyncio.timeout(SILENCE):
                count = await self._store.consume(inbox, cover(self._queue.filters))
            self.feed.grant()
            if not count:
                self.feed.finish(self._store.created)
            due = self._loop.time() + (INTERVAL if isinstance(self._queue, WatchQueue) else math.inf)
            while self._renewal is None and await self._sign(until=due):
                pass

    def _renew(self, has: int) -> None:
        """Make a new consumer soon; the queue has what the bucket got up to the number ``has``."""
        self._renewal = has if self._renewal is None else min(has, self._renewal)
        self._wakeup.set()

    def _take_status(self, reply: str, headers: bytes) -> None:
        """Answer flow control; a heartbeat also tells the number of the last message."""
        stalled = _STALLED.search(headers)
        if reply or stalled is not None:
            self._client.write(reply or stalled[1].decode())  # type: ignore[index]
        last = _LAST.search(headers)
        if last is not None and int(last[1]) != self._next - 1:
            self._renew(0)

    def _take(self, subject: str, reply: str, data: bytes, headers: bytes | None) -> None:
        tokens = reply.split(".")
        # ADR-15
        position, number, _, left = tokens[-4:] if len(tokens) == 9 else tokens[7:11]
        if int(number) != self._next:
            self._renew(0)
            return
        self._next += 1
        self._offer(subject.removeprefix(self._store.prefix), data, headers, int(position))
        if left == "0":
            self.feed.finish(self._store.created)

    def _offer(self, key: str, data: bytes, headers: bytes | None, position: int) -> None:
        """Offer an entry of the bucket to the queue."""
        expired = headers is not None and _EXPIRED in headers
        topic = arrived_topic(key.removesuffix(WILL), self._delivery)
        if topic is None:
            return
        if key.endswith(WILL):
            if expired and self.feed.complete:
                self._queue.offer(IncomingMessage(topic, _WILL))
        elif first_match(self._queue.filters, topic) is not None:
            # the consumer's subjects may be wider
            if expired and parse_status_topic(topic) is not None:
                data = _WILL
            elif headers is not None and _CLEARED.search(headers):
                data = b""
            self.feed.entry(topic, data, position)
