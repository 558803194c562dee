"""One ordered stream over several filters, undecoded: what ``watch`` returns, and its queue."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Protocol, Self

from cascade.interfaces.topics import check_topic
from cascade.interfaces.watch import Complete, Linked, Lost, Message, WatchItem
from cascade.transport.incoming.message import OVERFLOW, DeliveryCounts, IncomingMessage
from cascade.transport.retained_proof.known_topics import KnownSet
from cascade.transport.retained_proof.retained_set import Action, RetainedSet

REFUSED = "the broker refused a subscription"
"""Why a watch is lost although its link is up."""

WATCH_MESSAGES = 65_536
WATCH_BYTES = 32 * 1024 * 1024


class WatchLink(Protocol):
    """What a queue asks of the link of its watch."""

    def do(self, actions: Iterable[Action]) -> None:
        """Do what the retained set asks for, and when it is due."""
        ...

    def check_again(self) -> None:
        """Get the retained set anew, because messages were discarded."""
        ...

    def change(self, added: Sequence[str], removed: Sequence[str]) -> None:
        """Subscribe to topics that the watch did not have, and unsubscribe from others."""
        ...

    def end(self) -> Sequence[str]:
        """End with the watch; return the topics that only a check has subscribed to."""
        ...


class WatchQueue:
    """What arrived for a watch and was not read yet; bounded in messages and bytes.

    On overflow the oldest items are discarded, and ``Lost`` takes their place. If the link was up
    after the last discarded item, ``Linked`` follows it, so that a reader always learns the state of
    the link. A ``Complete`` that waits behind ``Lost`` is discarded: messages of its set are missing.
    When the reader has read ``Lost``, the retained set is asked for anew.

    A broker may send messages in front of its answer to the subscription (MQTT 5.0, section 3.8.4), and
    both may arrive in one packet: such messages wait, so that the reader gets ``Linked`` first.

    :param retained: finds out when the retained set is complete; None if the network reports that.
    """

    def __init__(
        self, filters: Iterable[str], delivery: DeliveryCounts, *, retained: RetainedSet | None = None
    ) -> None:
        self.retained = retained
        self.filters = dict.fromkeys(retained.filters if retained is not None else filters, 0)
        self.known = KnownSet()
        self.watch_link: WatchLink | None = None
        """The link's part; None without a link."""
        # messages were discarded, and the set was not asked for anew
        self._incomplete = False
        self._completes = 0  # how many Complete are in the queue
        # how many of these, the oldest, are not for the reader
        self._outdated = 0
        self._delivery = delivery
        self._overflow: deque[WatchItem] = deque()  # read before the queue
        self._queue: deque[WatchItem] = deque()
        self._holding = False  # the broker has not answered yet
        self._early: list[Message] = []
        self._early_bytes = 0
        self._bytes = 0
        self._ended = False
        self._waiter: asyncio.Future[None] | None = None

    def begin(self) -> None:
        """Forget a reader that waits on the closed event loop of an earlier session."""
        if self._waiter is not None and self._waiter.get_loop().is_closed():
            self._waiter = None

    def offer(self, message: IncomingMessage) -> None:
        """Queue a message; when the queue is full, discard the oldest items."""
        if self.retained is not None and not self._hear(self.retained, message):
            return
        item = Message(
            message.topic,
            message.payload,
            message.retain,
            message.expires_in,
            message.reply_to,
            message.traceparent,
        )
        if self._holding:
            self._hold(item)
        else:
            self._put_message(item)

    def change(self, added: Sequence[str], removed: Sequence[str]) -> None:
        """Note that exact topics of the watch were added and removed, and change its subscription."""
        if removed:
            # few programs remove topics
            from cascade.interfaces.filters import first_match

            self.known.remove([each for each in removed if first_match(self.filters, each) is None])
        if self.watch_link is not None:
            self.watch_link.change(added, removed)
        elif self.retained is not None:
            self.retained.extend(added, 0.0)
            self.retained.shrink(removed)

    def note(self, item: Linked | Lost | Complete) -> None:
        """Queue what happened to the link, or that the retained set is complete."""
        if not (self._incomplete and isinstance(item, Complete)):
            self._put(item)
        if self._holding and not isinstance(item, Complete):
            early = self._early
            self.stop_holding()
            for message in early:
                self._put_message(message)

    def hold(self) -> None:
        """Keep messages back until ``Linked`` or ``Lost`` is noted: the broker has not answered yet."""
        self._holding = True

    def stop_holding(self) -> None:
        """Discard what was kept back: the link has ended in front of the answer."""
        self._holding = False
        self._early, self._early_bytes = [], 0

    def missed(self, count: int, *, linked: bool | None = None) -> None:
        """Report ``Lost`` for messages that were discarded before they reached this queue.

        :param linked: the state of the link that was discarded with them; None: it did not change.
        """
        self._delivery.discarded[OVERFLOW] += count
        if linked is None:
            linked = Linked() in self._overflow
        self._overflow.clear()
        self._overflow.append(Lost(OVERFLOW))
        if linked:
            self._overflow.append(Linked())
        self._incomplete = True
        self._outdated = self._completes
        if self.retained is not None:
            self.retained.interrupt()
        self._wake()

    @property
    def ended(self) -> bool:
        """Whether the watch was closed."""
        return self._ended

    def end(self) -> None:
        """Discard what was not read; a reader that waits gets None."""
        self._ended = True
        self._overflow.clear()
        self._queue.clear()
        self.stop_holding()
        self._bytes = self._completes = self._outdated = 0
        self._wake()

    async def next(self) -> WatchItem | None:
        """Wait for the next item; return None after ``end``."""
        while True:
            while not self._queue and not self._overflow:
                if self._ended:
                    return None
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter
            if self._overflow:
                return self._take_overflow()
            outdated = self._outdated
            item = self._take()
            if isinstance(item, Message):
                self._delivery.delivered += 1
            elif isinstance(item, Complete) and outdated:
                continue
            return item

    def _take(self) -> WatchItem:
        """Remove the oldest item."""
        item = self._queue.popleft()
        if isinstance(item, Message):
            self._bytes -= _size(item)
        elif isinstance(item, Complete):
            self._completes -= 1
            self._outdated = max(0, self._outdated - 1)
        return item

    def _take_overflow(self) -> WatchItem:
        item = self._overflow.popleft()
        if isinstance(item, Lost):
            self._incomplete = False
            if self.watch_link is not None:
                self.watch_link.check_again()
        return item

    def _hear(self, retained: RetainedSet, message: IncomingMessage) -> bool:
        """Return whether a message is for the reader."""
        now, due = asyncio.get_running_loop().time(), retained.due()
        passed, actions = retained.hear(
            message.topic, empty=not message.payload, retain=message.retain, now=now
        )
        if (actions or retained.due() != due) and self.watch_link is not None:
            self.watch_link.do(actions)
        return passed

    def _hold(self, item: Message) -> None:
        self._early.append(item)
        self._early_bytes += _size(item)
        if len(self._early) > WATCH_MESSAGES or self._early_bytes > WATCH_BYTES:
            discarded, self._early, self._early_bytes = len(self._early), [], 0
            self.missed(discarded)

    def _put_message(self, item: Message) -> None:
        self._bytes += _size(item)
        self._put(item)

    def _put(self, item: WatchItem) -> None:
        if self._ended:
            self._bytes = 0
            return
        self._queue.append(item)
        self._completes += isinstance(item, Complete)
        if len(self._queue) + bool(self._overflow) > WATCH_MESSAGES or self._bytes > WATCH_BYTES:
            self._make_room()
        self._wake()

    def _make_room(self) -> None:
        """Discard the oldest items, so that there is room for ``Lost``."""
        discarded = 0
        linked: bool | None = None
        while len(self._queue) >= WATCH_MESSAGES or self._bytes > WATCH_BYTES:
            item = self._take()
            if isinstance(item, Message):
                discarded += 1
            elif not isinstance(item, Complete):
                linked = isinstance(item, Linked)
        self.missed(discarded, linked=linked)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Watch(AsyncIterator[WatchItem]):
    """What arrives for a queue, until it is closed. Messages are queued from the moment it is made.

    :param close: unsubscribes.
    :param change: adds exact topics to the queue, and removes others.
    :param abandon: unsubscribes a stream that was garbage-collected without being closed; called in any
        thread.
    """

    def __init__(
        self,
        queue: WatchQueue,
        *,
        close: Callable[[WatchQueue], Awaitable[None]],
        change: Callable[[WatchQueue, Sequence[str], Sequence[str]], None],
        abandon: Callable[[WatchQueue], None],
    ) -> None:
        self._queue = queue
        self._close = close
        self._change = change
        self._finalizer = weakref.finalize(self, abandon, queue)
        self._finalizer.atexit = False

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> WatchItem:
        """Wait for the next item; the iteration ends when the stream is closed."""
        item = await self._queue.next()
        if item is None:
            raise StopAsyncIteration
        return item

    def extend(self, *filters: str) -> None:
        """Add exact topics; their retained messages follow, and after them ``Complete``.

        :raises InvalidTopicError: if one of them is not a topic.
        """
        for topic in filters:
            check_topic(topic)
        self._change(self._queue, filters, ())

    def shrink(self, *filters: str) -> None:
        """Remove exact topics; ignore those that the watch does not have.

        :raises InvalidTopicError: if one of them is not a topic.
        """
        for topic in filters:
            check_topic(topic)
        self._change(self._queue, (), filters)

    async def aclose(self) -> None:
        """Unsubscribe and end the stream. Idempotent."""
        if self._finalizer.detach() is not None:
            self._queue.end()
            await self._close(self._queue)


def _size(message: Message) -> int:
    size = len(message.payload) + len(message.topic)
    if (reply_to := message.reply_to) is not None:
        size += len(reply_to.topic) + len(reply_to.correlation or b"")
    return size
