"""The acknowledgements of a collector: what it has stored is forgotten, what it has not is sent again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from functools import partial
from typing import Any

from cascade.interfaces import Connector, Subscription
from cascade.interfaces.logs import get_logger
from cascade.interfaces.topics import ack_topic
from cascade.runtime._outbox.file import OutboxFile, Stored
from cascade.runtime._outbox.queue import DurableQueue
from cascade.runtime._outbox.send_order import QueuedMessage
from cascade.transport.state_log import StateLog
from cascade.wire import Acknowledgement, parse_ack

_log = get_logger("cascade.outbox")

RESEND_AFTER = 10.0
"""Seconds without an acknowledgement after which all sent events are sent again; twice as long each time.

What was sent before an event that is acknowledged is sent again at once, once: it would have arrived before. After
that the time counts for it, whatever is acknowledged: an event of a topic that the broker's rules deny is never acknowledged.
"""
LONGEST_RESEND = 3600.0


class Acknowledgements:
    """Follows ``cascade/ack/{source}`` for the queue of that source."""

    def __init__(self, connector: Connector, source: str, collector: str) -> None:
        self._connector = connector
        self._source = source
        self._collector = collector
        self._marker = f'"source": {json.dumps(source)}'
        self._queue: DurableQueue | None = None
        self._subscription: Subscription | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._unsubscribing: asyncio.Task[None] | None = None
        self._closed = False
        self._tries = 0
        self._state = StateLog(_log)

    def concerns(self, message: QueuedMessage) -> bool:
        """Return whether a collector acknowledges this message: it is an event of this source."""
        if not message.topic.endswith("/events") or self._marker not in message.text:
            return False
        if self._timer is None:
            self._restart()
        return True

    async def follow(self, queue: DurableQueue) -> None:
        """Begin to listen."""
        self._queue = queue
        self._subscription = await self._connector.subscribe(ack_topic(self._source), self._receive, 1)
        self._restart()

    def stop(self) -> None:
        """Stop listening; the connector is called in the next iteration of the loop. Idempotent."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            self._unsubscribing = asyncio.create_task(
                _unsubscribe(subscription), name="cascade outbox unsubscribe"
            )

    def become_inert(self) -> None:
        """Stop without a message to the broker, in a forked child: its parent keeps the subscription."""
        self._subscription = None
        self.stop()

    async def stopped(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds until the connector has unsubscribed, after :meth:`stop`."""
        task = self._unsubscribing
        if task is not None and task.get_loop() is asyncio.get_running_loop():
            await asyncio.wait({task}, timeout=timeout)

    async def _receive(self, topic: str, data: dict[str, Any]) -> None:
        ack = parse_ack(topic, json.dumps(data).encode())
        if not isinstance(ack, Acknowledgement) or self._queue is None:
            if data:
                self._state.failed(
                    "form", "an acknowledgement on %s cannot be read; check the collector", topic
                )
            return
        if ack.by != self._collector:
            self._state.failed(
                "by", "an acknowledgement of %s is ignored: the outbox waits for %s", ack.by, self._collector
            )
            return
        queue = self._queue
        apply = partial(
            _acknowledge,
            ack,
            unsent=[(first, last) for first, last in queue.stored_ranges if first >= 0],
            in_hand=queue.in_hand,
            overtaken=queue.overtaken,
        )
        queue.call(apply, self._acknowledged)

    def _acknowledged(self, result: tuple[bool, Stored, list[str]]) -> None:
        progress, lost, false = result
        for series in false:
            self._state.failed(
                series, "the collector acknowledges events of %s that were never sent; they are kept", series
            )
        if progress:
            self._tries = 0
            self._restart()
        if self._queue is not None:
            if lost.size:
                self._queue.add_stored(lost)
            self._queue.on_change()

    def _restart(self) -> None:
        if self._closed:
            return  # the disk may answer later than that
        if self._timer is not None:
            self._timer.cancel()
        seconds = min(RESEND_AFTER * 2**self._tries, LONGEST_RESEND)
        self._timer = asyncio.get_running_loop().call_later(seconds, self._send_again)

    def _send_again(self) -> None:
        queue = self._queue
        self._restart()
        if queue is not None:
            queue.on_change()  # the file may hold nothing more by now
            if queue.linked:
                queue.call(OutboxFile.send_again, self._sent_again)

    def _sent_again(self, found: Stored) -> None:
        if found.size and self._queue is not None:
            self._tries += 1
            self._restart()
            self._queue.add_stored(found)


async def _unsubscribe(subscription: Subscription) -> None:
    try:
        await subscription.unsubscribe()
    except Exception as exc:  # the connector belongs to another loop by now
        _log.debug("the acknowledgements could not be unsubscribed: %s: %s", type(exc).__name__, exc)


def _acknowledge(
    ack: Acknowledgement,
    file: OutboxFile,
    *,
    unsent: list[tuple[int, int]],
    in_hand: Collection[int],
    overtaken: int,
) -> tuple[bool, Stored, list[str]]:
    """Forget what the collector has; return whether nothing waits for the time, what it has lost, and the series of which it claims too much.

    Events arrive in the order in which they were sent. So what was sent before a stored event and is not stored is lost.
    """
    false = [
        series
        for series, upto in ack.upto.items()
        if file.has_unsent(unsent, series, upto, missing=ack.missing.get(series, ()), in_hand=in_hand)
    ]
    highest = file.acknowledge(ack.upto, ack.missing)
    if highest is None:
        return False, Stored(0, -1, 0), false
    progress = not file.has_sent_again(highest)
    return progress, Stored(0, -1, 0) if highest <= overtaken else file.send_again(highest), false
