"""The retained messages of one queue: those that the bucket holds, the end of these, and then each change."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cascade.connectors.nats._client import ApiError, NatsClient, NoResponders
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
from cascade.transport.presence import UNNAMED_WILL
from cascade.transport.retained_set import INTERVAL, MAX_TOPICS, Action

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

PAUSE = 1.0
"""Seconds between two attempts to follow the bucket."""
SILENCE = 3 * HEARTBEAT
"""Seconds without a sign of a consumer after which it is made anew."""
_STATUS = b"NATS/1.0 100"
_LAST = re.compile(rb"Nats-Last-Consumer: (\d+)")
_STALLED = re.compile(rb"Nats-Consumer-Stalled: (\S+)")
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
    """Follows the bucket for one queue on one link, with one consumer, and one more for topics that are added.

    :param start: starts a task that ends with the link.
    :param changed: called with filters that a watch got, and with those that it does not have any more.
    """

    def __init__(
        self,
        queue: Queue,
        known: Known,
        *,
        client: NatsClient,
        store: Store,
        delivery: Delivery,
        start: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]],
        changed: Callable[[Sequence[str], Sequence[str]], None],
    ) -> None:
        self.queue = queue
        self.known = known
        self.client = client
        self.store = store
        self._delivery = delivery
        self._start = start
        self._changed = changed
        self._linked = False
        self._births: dict[str, bytes] = {}
        self._held: deque[IncomingMessage] | None = deque()
        self._consumers: list[Consumer] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.subscribed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the server has answered, or cannot keep retained messages."""
        if isinstance(queue, WatchQueue):
            queue.looks = self
        self._added: set[str] = set()  # filters that a further consumer follows
        self._follow(lambda: with_wills(cover(queue.filters.keys() - self._added)), once=False)

    def offer_live(self, message: IncomingMessage) -> None:
        """Offer a message that is not retained: behind the retained ones."""
        if self._held is None or len(self._held) >= WATCH_MESSAGES:
            self.queue.offer(message)
        else:
            self._held.append(message)

    def take(self, key: str, data: bytes, headers: bytes | None, *, live: bool) -> str | None:
        """Offer an entry of the bucket to the queue; return its topic if it holds a message."""
        self._delivery.received += 1
        expired = headers is not None and b"Nats-Marker-Reason: MaxAge" in headers
        if key.endswith(WILL):
            if expired and live:
                self.queue.offer(IncomingMessage(topic_of(key.removesuffix(WILL)), _WILL))
            return None
        try:
            topic = topic_of(key)
        except ValueError:
            self._delivery.discarded[UNDECODABLE] += 1
            return None
        if first_match(self.queue.filters, topic) is None:  # the consumer's subjects may be wider
            return None
        is_status = parse_status_topic(topic) is not None
        if expired and is_status:
            data = _WILL
        elif headers is not None and (b"KV-Operation:" in headers or b"Nats-Marker-Reason:" in headers):
            data = b""
        if is_status and live and self._births.get(topic) == data:
            return topic  # it is renewed
        if is_status:
            self._births[topic] = data
        if live:
            (self.known.topics.add if data else self.known.topics.discard)(topic)
            self.known.forgotten.discard(topic)
        if data or live:
            self.queue.offer(IncomingMessage(topic, data, retain=not live))
        return topic if data else None

    def grant(self) -> None:
        """Report that the server has acknowledged the subscription."""
        if isinstance(self.queue, WatchQueue) and not self._linked:
            self._linked = True
            self.queue.note(Linked())

    def done_subscribing(self) -> None:
        """Let the caller of ``subscribe`` continue."""
        if not self.subscribed.done():
            self.subscribed.set_result(None)

    def without_store(self) -> None:
        """Go on with messages that are not retained: there is no bucket."""
        self.grant()
        self._release()
        self.done_subscribing()

    def complete(self, topics: set[str], *, all_of_them: bool) -> None:
        """Take in the end of a set.

        :param all_of_them: whether it is the set of all filters.
        """
        known = self.known
        if all_of_them:
            if known.created and known.created != self.store.created:
                known.forgotten |= known.topics
            known.created = self.store.created
            known.topics = {each for each in known.topics if each in self._added}
        known.topics |= topics
        known.forgotten -= known.topics
        if all(each.complete for each in self._consumers):
            self._note_complete()

    def do(self, actions: Iterable[Action]) -> None:
        """Do nothing: the bucket marks the end of a set."""

    def look_again(self) -> None:
        """Get the set anew."""
        self._consumers[0].renew()

    def change(self, added: Sequence[str], removed: Sequence[str]) -> None:
        """Follow topics that the watch did not have."""
        self._changed(added, removed)
        self.known.topics.difference_update(removed)
        self._added.difference_update(removed)
        if added and self.store.usable:
            filters = [each for each in self.queue.filters if each not in added]
            covered = all(first_match(filters, topic) is not None for topic in added)
            self._added.update(() if covered else added)
            self._follow(lambda: with_wills(cover(added)), once=covered)

    def end(self) -> Sequence[str]:
        """Return that no look has subscribed to anything."""
        return ()

    def answer(self, reply: str) -> None:
        """Answer the server's flow control."""
        _ = self._start(self.client.send(reply), "cascade-nats-flow")

    def is_first(self, consumer: Consumer) -> bool:
        """Return whether a consumer follows all filters."""
        return consumer is self._consumers[0]

    def forget_consumer(self, consumer: Consumer) -> None:
        """Forget a consumer that was for one set only."""
        self._consumers.remove(consumer)
        _ = self._start(consumer.drop(), "cascade-nats-drop")

    async def stop(self) -> None:
        """End the consumers."""
        for task in self._tasks:
            task.cancel()
        for each in self._consumers:
            await each.drop()

    def _follow(self, keys: Callable[[], list[str]], *, once: bool) -> None:
        consumer = Consumer(self, keys, once=once)
        self._consumers.append(consumer)
        task = self._start(consumer.run(), "cascade-nats-retained")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _note_complete(self) -> None:
        queue, known = self.queue, self.known
        if isinstance(queue, WatchQueue):
            topics = frozenset(known.topics | known.forgotten)
            queue.note(
                Complete(True, topics if len(topics) <= MAX_TOPICS else None, frozenset(known.forgotten))
            )
        self._release()

    def _release(self) -> None:
        """Offer what came while the retained messages were awaited."""
        held, self._held = self._held, None
        for message in held or ():
            self.queue.offer(message)


class Consumer:
    """One consumer of the bucket: it is made anew if a message is missing, if it is silent, and from time to time.

    :param keys: returns the keys to follow.
    :param once: end with the set: another consumer brings the changes.
    """

    def __init__(self, messages: RetainedMessages, keys: Callable[[], list[str]], *, once: bool) -> None:
        self.complete = False
        self._messages = messages
        self._keys = keys
        self._once = once
        self._loop = asyncio.get_running_loop()
        self._wakeup = AutoResetEvent()
        self._renew = False
        self._name = ""
        self._next = 1
        self._heard = 0.0
        self._topics: set[str] = set()

    async def run(self) -> None:
        """Follow the bucket until this is cancelled."""
        while not (self._once and self.complete):
            try:
                await self._follow()
            except (ApiError, NoResponders, MessageRejected, TimeoutError):
                self._messages.without_store()  # the bucket is gone, or this user's rights are
                await self._messages.store.open()
                await asyncio.sleep(PAUSE)
        self._messages.forget_consumer(self)

    def renew(self) -> None:
        """Begin anew soon."""
        self._renew = True
        self._wakeup.set()

    async def drop(self) -> None:
        """End the server's part."""
        name, self._name = self._name, ""
        if name:
            with contextlib.suppress(ApiError, NoResponders, MessageRejected):
                await self._messages.store.drop(name)

    async def _follow(self) -> None:
        messages, store = self._messages, self._messages.store
        if not store.usable:
            messages.without_store()
            await store.opened.wait()
        await self.drop()
        inbox = messages.client.new_inbox()
        number = messages.client.subscribe(inbox, self._receive)
        self._name, self._next, self._renew = secrets.token_hex(8), 1, False
        self.complete, self._topics = False, set()
        try:
            async with asyncio.timeout(SILENCE):
                count = await store.consume(self._name, inbox, self._keys())
            messages.grant()
            if not count:
                self._end()
            messages.done_subscribing()
            await self._until_renewal()
        finally:
            messages.client.unsubscribe(number)

    async def _until_renewal(self) -> None:
        """Wait until messages are missing, the consumer is silent, or the set is due to be looked at."""
        due = self._loop.time() + INTERVAL
        self._heard = self._loop.time()
        while not self._renew and not (self._once and self.complete):
            if self._loop.time() >= min(due, self._heard + SILENCE):
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(min(due, self._heard + SILENCE)):
                    await self._wakeup.wait()

    def _receive(self, subject: str, reply: str, data: bytes, headers: bytes | None) -> None:
        self._heard = self._loop.time()
        if headers is not None and headers.startswith(_STATUS):
            self._take_status(reply, headers)
            return
        numbers = reply.split(".")[6:] if reply.count(".") == 8 else reply.split(".")[8:]  # ADR-15
        if int(numbers[0]) != self._next:
            self.renew()
            return
        self._next += 1
        messages = self._messages
        messages.grant()
        topic = messages.take(subject.removeprefix(messages.store.prefix), data, headers, live=self.complete)
        if topic is not None and not self.complete:
            self._topics.add(topic)
        if numbers[2] == "0":
            self._end()

    def _take_status(self, reply: str, headers: bytes) -> None:
        """Answer flow control; a heartbeat also tells the number of the last message."""
        stalled = _STALLED.search(headers)
        if reply or stalled is not None:
            self._messages.answer(reply or stalled[1].decode())  # type: ignore[index]
        last = _LAST.search(headers)
        if last is not None and int(last[1]) != self._next - 1:
            self.renew()

    def _end(self) -> None:
        if not self.complete:
            self.complete = True
            self._messages.complete(self._topics, all_of_them=self._messages.is_first(self))
            if self._once:
                self._wakeup.set()
