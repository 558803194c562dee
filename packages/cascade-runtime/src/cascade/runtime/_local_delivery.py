"""How a LocalConnector hands messages on: one reader, a bounded queue for each subscription, streams."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from cascade.interfaces import Linked, Lost, Message, MessageCallback, UndecodableMessageError, WatchItem
from cascade.interfaces.wire import decode_payload
from cascade.runtime._pace import TURN

logger = logging.getLogger(__name__)

QUEUE_MESSAGES = 1_000
WATCH_ITEMS = 65_536


@dataclass(slots=True)
class Tally:
    """What a connector has counted so far."""

    connections: int = 0
    accepted: int = 0
    sanitized: int = 0
    received: int = 0
    delivered: int = 0
    discarded: Counter[str] = field(default_factory=Counter)


def link_of(item: WatchItem) -> bool | None:
    """Return what an item says of the link, or None if nothing."""
    return None if isinstance(item, Message) else isinstance(item, Linked)


class Delivery:
    """One item on its way to those of one connector that it is meant for; decoded once."""

    __slots__ = ("_data", "item")

    def __init__(self, item: WatchItem) -> None:
        self.item = item
        self._data: dict[str, Any] | None = None

    def data(self, message: Message) -> dict[str, Any]:
        """Return the decoded payload.

        :raises UndecodableMessageError: if it is no JSON object.
        """
        if self._data is None:
            self._data = decode_payload(message.payload)
        return self._data


class Receiver(Protocol):
    """Whoever messages are handed to, on the connector's loop."""

    def offer(self, delivery: Delivery) -> None:
        """Take one item; never wait, never raise."""

    def missed(self, count: int, *, linked: bool | None = None) -> None:
        """Take note that items were given up; ``linked`` is what the last of them said of the link."""


class Bell:
    """Wakes one waiter; a ring that nobody waits for is remembered. Belongs to no loop."""

    __slots__ = ("_rung", "_waiter")

    def __init__(self) -> None:
        self._rung = False
        self._waiter: asyncio.Future[None] | None = None

    def ring(self) -> None:
        self._rung = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        if not self._rung:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self._rung = False


class LocalSubscription:
    """A callback, its queue and, while its connector is connected, the task that calls it."""

    def __init__(
        self,
        topic: str,
        callback: MessageCallback,
        *,
        tally: Tally,
        close: Callable[[LocalSubscription], None],
    ) -> None:
        self.topic = topic
        self._callback = callback
        self._tally = tally
        self._close = close
        self._queue: deque[tuple[str, dict[str, Any]]] = deque()
        self._bell = Bell()
        self._ending = False
        self._failing = False
        self._overflowing = False
        self._refusing = False

    def start(self) -> asyncio.Task[None]:
        """Begin to call the callback; the caller owns the task."""
        self._ending = False
        self._bell = Bell()
        return asyncio.get_running_loop().create_task(self._work(), name=f"cascade-local-{self.topic}")

    def abandon(self) -> None:
        """Give up what the ended task has not got to."""
        if self._queue:
            self._tally.discarded["disconnected"] += len(self._queue)
            self._queue.clear()

    def finish(self) -> None:
        """Let the task end when the queue is empty."""
        self._ending = True
        self._bell.ring()

    async def unsubscribe(self) -> None:
        """End the registration: no call begins after this returns. Twice is harmless."""
        self._close(self)
        self._queue.clear()
        self.finish()

    def offer(self, delivery: Delivery) -> None:
        message = delivery.item
        if not isinstance(message, Message) or self._ending:
            return
        try:
            data = delivery.data(message)
        except UndecodableMessageError as exc:
            self._refuse(message.topic, exc)
            return
        self._refusing = False
        if len(self._queue) >= QUEUE_MESSAGES:
            self._queue.popleft()
            self.missed(1)
        self._queue.append((message.topic, data))
        self._bell.ring()

    def missed(self, count: int, *, linked: bool | None = None) -> None:
        self._tally.discarded["queue full"] += count
        if not self._overflowing:
            self._overflowing = True
            logger.warning("the callback for %s is too slow; the oldest messages are dropped", self.topic)

    def _refuse(self, topic: str, problem: UndecodableMessageError) -> None:
        self._tally.discarded["undecodable"] += 1
        if not self._refusing:
            self._refusing = True
            logger.warning("messages on %s are discarded: %s", topic, problem)

    async def _work(self) -> None:
        while not (self._ending and not self._queue):
            await self._bell.wait()
            began = time.monotonic()
            while self._queue:
                await self._call(*self._queue.popleft())
                if time.monotonic() - began > TURN:
                    await asyncio.sleep(0)
                    began = time.monotonic()
            self._overflowing = False

    async def _call(self, topic: str, data: dict[str, Any]) -> None:
        self._tally.delivered += 1
        try:
            await self._callback(topic, data)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            self._failed("it cancelled itself")  # nobody cancelled the task: the callback raised it
        except Exception as exc:
            self._failed(f"{type(exc).__name__}: {exc}")
        else:
            self._failing = False

    def _failed(self, problem: str) -> None:
        if not self._failing:
            self._failing = True
            logger.warning("the callback for %s failed, other ones go on: %s", self.topic, problem)


class LocalWatch:
    """One ordered stream over several filters; an overflow shows as one ``Lost``."""

    def __init__(self, *, tally: Tally, close: Callable[[LocalWatch], None]) -> None:
        self._tally = tally
        self._close = close
        self._items: deque[WatchItem] = deque()
        self._front: deque[WatchItem] = deque()  # what is told before all that waits
        self._bell = Bell()
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WatchItem:
        while not self._closed:
            if self._front or self._items:
                self._tally.delivered += 1
                return (self._front or self._items).popleft()
            await self._bell.wait()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the stream and its subscription. Twice is harmless."""
        self._close(self)
        self._closed = True
        self._items.clear()
        self._front.clear()
        self._bell.ring()

    def offer(self, delivery: Delivery) -> None:
        self.put(delivery.item)

    def put(self, item: WatchItem) -> None:
        if self._closed:
            return
        if len(self._items) >= WATCH_ITEMS:
            self.missed(1, linked=link_of(self._items.popleft()))
        self._items.append(item)
        self._bell.ring()

    def missed(self, count: int, *, linked: bool | None = None) -> None:
        """Say ``Lost`` in place of items; that the link is up is never lost with them."""
        self._tally.discarded["queue full"] += count
        if linked is None:
            linked = Linked() in self._front
        self._front.clear()
        self._front.append(Lost("the watch's queue overflowed"))
        if linked:
            self._front.append(Linked())
        self._bell.ring()
