"""The retained messages of one queue: those that the bucket holds, the end of these, and then each change."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from cascade.connectors.nats._store import HEARTBEAT, Store
from cascade.connectors.nats._subjects import WILL, cover, first_match, with_wills
from cascade.interfaces.subjects import topic_of
from cascade.interfaces.topics import parse_status_topic
from cascade.interfaces.watch import Complete, Linked
from cascade.transport.delivery.dispatcher import Queue
from cascade.transport.delivery.message import UNDECODABLE, Delivery, IncomingMessage
from cascade.transport.delivery.watches import WATCH_MESSAGES, WatchQueue
from cascade.transport.errors import MessageRejected
from cascade.transport.event_loop import AutoResetEvent
from cascade.transport.known_topics import MAX_TOPICS
from cascade.transport.presence import UNNAMED_WILL
from cascade.transport.retained_set import INTERVAL, Action

PAUSE = 1.0
"""Seconds between two attempts to follow the bucket."""
SILENCE = 3 * HEARTBEAT
"""Seconds without a sign of the consumer after which it is made anew."""
_STATUS = b"NATS/1.0 100"
_LAST = re.compile(rb"Nats-Last-Consumer: (\d+)")
_STALLED = re.compile(rb"Nats-Consumer-Stalled: (\S+)")
_EXPIRED = b"Nats-Marker-Reason: MaxAge"
_CLEARED = re.compile(rb"KV-Operation:|Nats-Marker-Reason:")
_WILL = UNNAMED_WILL.encode()


@dataclass(slots=True)
class Known:
    """What a queue knows of its set from one link to the next."""

    created: str = ""
    """When the bucket was made that the set is of."""
    topics: set[str] = field(default_factory=set)
    forgotten: set[str] = field(default_factory=set)
    """Topics whose messages went with an earlier bucket."""


class RetainedMessages:
    """Follows the bucket for one queue on one link, with one consumer at a time.

    The consumer is made anew if a message is missing, if it is silent, for further topics, and from time to time.

    :param changed: called with filters that a watch got, and with those that it does not have any more.
    """

    def __init__(
        self,
        queue: Queue,
        known: Known,
        *,
        store: Store,
        delivery: Delivery,
        changed: Callable[[Sequence[str], Sequence[str]], None],
    ) -> None:
        self._queue = queue
        self._known = known
        self._store = store
        self._client = store.client
        self._delivery = delivery
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._linked = False
        self._births: dict[str, bytes] = {}
        self._held: deque[IncomingMessage] | None = deque()
        self._wakeup = AutoResetEvent()
        self._renewal: int | None = (
            None  # the queue has what the bucket got up to this number; None: none is due
        )
        self._added: set[str] = set()  # topics of which it has nothing
        self._has = self._last = 0
        # What is true of one consumer.
        self._name = ""
        self._next = 1
        self._heard = 0.0
        self._complete = False
        self._topics: set[str] = set()
        self.subscribed: asyncio.Future[None] = self._loop.create_future()
        """Done when the server has answered, or cannot keep retained messages."""
        if isinstance(queue, WatchQueue):
            queue.looks = self

    async def run(self) -> None:
        """Follow the bucket until this is cancelled."""
        while True:
            try:
                await self._follow()
            except (MessageRejected, TimeoutError):
                self._go_on()  # the bucket is gone, or this user's rights are
                self._renewal = 0
                await self._store.open()
                await asyncio.sleep(PAUSE)

    async def drop(self) -> None:
        """End the consumer."""
        name, self._name = self._name, ""
        if name:
            with contextlib.suppress(MessageRejected):
                await self._store.drop(name)

    def offer_live(self, message: IncomingMessage) -> None:
        """Offer a message that is not retained: behind the retained ones."""
        if self._held is None or len(self._held) >= WATCH_MESSAGES:
            self._queue.offer(message)
        else:
            self._held.append(message)

    def do(self, actions: Iterable[Action]) -> None:
        """Do nothing: the bucket marks the end of a set."""

    def look_again(self) -> None:
        """Get the set anew."""
        self._renew(0)

    def change(self, added: Sequence[str], removed: Sequence[str]) -> None:
        """Follow topics that the watch did not have; the messages of those that its filters cover are there already."""
        self._changed(added, removed)
        for topics in (self._known.topics, self._topics):
            topics.difference_update(removed)
        had = [each for each in self._queue.filters if each not in added]
        if not all(first_match(had, topic) for topic in added):
            self._added.update(added)
            self._renew(self._last)
        elif added and self._complete:
            self._note_complete()

    def end(self) -> Sequence[str]:
        """Return that no look has subscribed to anything."""
        return ()

    async def _follow(self) -> None:
        store, client = self._store, self._client
        if not store.usable:
            self._go_on()
            await store.opened.wait()
        await self.drop()
        inbox = client.new_inbox()
        number = client.subscribe(inbox, self._receive)
        self._name, self._next = secrets.token_hex(8), 1
        self._has, self._renewal = self._renewal or 0, None
        self._complete, self._topics = False, set()
        try:
            async with asyncio.timeout(SILENCE):
                count = await store.consume(self._name, inbox, with_wills(cover(self._queue.filters)))
            self._grant()
            if not count:
                self._end()
            self._done_subscribing()
            await self._until_renewal()
        finally:
            client.unsubscribe(number)

    def _renew(self, has: int) -> None:
        """Make a new consumer soon; the queue has what the bucket got up to the number ``has``."""
        self._renewal = has if self._renewal is None else min(has, self._renewal)
        self._wakeup.set()

    async def _until_renewal(self) -> None:
        """Wait until messages are missing, the consumer is silent, or the set is due to be looked at."""
        due = self._loop.time() + INTERVAL
        self._heard = self._loop.time()
        while self._renewal is None and self._loop.time() < (until := min(due, self._heard + SILENCE)):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await self._wakeup.wait()

    def _receive(self, subject: str, reply: str, data: bytes, headers: bytes | None) -> None:
        self._heard = self._loop.time()
        if headers is not None and headers.startswith(_STATUS):
            self._take_status(reply, headers)
            return
        tokens = reply.split(".")
        number, count, _, left = tokens[-4:] if len(tokens) == 9 else tokens[7:11]  # ADR-15
        if int(count) != self._next:
            self._renew(0)
            return
        self._next += 1
        self._last = int(number)
        self._grant()
        self._take(subject.removeprefix(self._store.prefix), data, headers)
        if left == "0":
            self._end()

    def _take_status(self, reply: str, headers: bytes) -> None:
        """Answer flow control; a heartbeat also tells the number of the last message."""
        stalled = _STALLED.search(headers)
        if reply or stalled is not None:
            self._client.write(reply or stalled[1].decode())  # type: ignore[index]
        last = _LAST.search(headers)
        if last is not None and int(last[1]) != self._next - 1:
            self._renew(0)

    def _take(self, key: str, data: bytes, headers: bytes | None) -> None:
        """Offer an entry of the bucket to the queue."""
        self._delivery.received += 1
        expired = headers is not None and _EXPIRED in headers
        try:
            topic = topic_of(key.removesuffix(WILL))
        except ValueError:
            self._delivery.discarded[UNDECODABLE] += 1
            return
        if key.endswith(WILL):
            if expired and self._complete:
                self._queue.offer(IncomingMessage(topic, _WILL))
        elif first_match(self._queue.filters, topic) is not None:  # the consumer's subjects may be wider
            if expired and parse_status_topic(topic) is not None:
                data = _WILL
            elif headers is not None and _CLEARED.search(headers):
                data = b""
            self._offer(topic, data)

    def _offer(self, topic: str, data: bytes) -> None:
        live, is_status = self._complete, parse_status_topic(topic) is not None
        (self._topics.add if data else self._topics.discard)(topic)
        if live:
            self._known.forgotten.discard(topic)
        if is_status and live and self._births.get(topic) == data:
            return  # it is renewed
        if is_status:
            self._births[topic] = data
        if live or (data and (self._last > self._has or topic in self._added)):
            self._queue.offer(IncomingMessage(topic, data, retain=not live))

    def _grant(self) -> None:
        """Report that the server has acknowledged the subscription."""
        if isinstance(self._queue, WatchQueue) and not self._linked:
            self._linked = True
            self._queue.note(Linked())

    def _done_subscribing(self) -> None:
        if not self.subscribed.done():
            self.subscribed.set_result(None)

    def _go_on(self) -> None:
        """Go on with messages that are not retained: the bucket does not exist."""
        self._grant()
        self._release()
        self._done_subscribing()

    def _end(self) -> None:
        """Take in the end of a set."""
        if self._complete:
            return
        self._complete, known = True, self._known
        if known.created and known.created != self._store.created:
            known.forgotten |= known.topics
        known.created = self._store.created
        known.topics = self._topics
        known.forgotten -= known.topics
        self._added.clear()
        self._note_complete()
        self._release()

    def _note_complete(self) -> None:
        known = self._known
        if isinstance(self._queue, WatchQueue):
            topics = frozenset(known.topics | known.forgotten)
            self._queue.note(
                Complete(True, topics if len(topics) <= MAX_TOPICS else None, frozenset(known.forgotten))
            )

    def _release(self) -> None:
        """Offer what came while the retained messages were awaited."""
        held, self._held = self._held, None
        for message in held or ():
            self._queue.offer(message)
