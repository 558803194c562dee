"""What stands in for the broker inside one process, and a connector's session with it."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, deque
from collections.abc import Collection

from cascade.interfaces import Linked, Message, WatchItem
from cascade.interfaces.topics import TopicMatcher, check_topic
from cascade.runtime._local_delivery import Bell, Delivery, LocalSubscription, Receiver, Tally, link_of
from cascade.runtime._tasks import cancel

INBOX_ITEMS = 65_536
_SLICE = 256  # handed on before the callbacks get their turn: well below what a queue holds
_CANCEL_SECONDS = 0.5

_Missed = Counter[tuple[Receiver, bool | None]]
_Parcel = tuple[tuple[Receiver, ...], WatchItem]


class LocalHub:
    """Delivers between the connectors that share it, and keeps each topic's retained message.

    It may be used from any thread; everybody sees messages in one order.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._retained: dict[str, bytes] = {}
        self._filters: TopicMatcher[tuple[Session, Receiver]] = TopicMatcher()

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Deliver bytes as they are, also such as no connector would send; empty ones clear.

        :raises InvalidTopicError: if the topic is not one to publish to.
        """
        check_topic(topic)
        with self._lock:
            if retain:
                self._keep(topic, payload)
            found: dict[Session, dict[Receiver, None]] = {}
            for session, receiver in self._filters.match(topic):
                found.setdefault(session, {})[receiver] = None
            for session, receivers in found.items():
                session.put((tuple(receivers), Message(topic, payload, retain=False)))

    def attach(self, session: Session, receiver: Receiver, filters: Collection[str]) -> None:
        """Give ``receiver`` what is retained, and from here on what is published."""
        wanted: TopicMatcher[None] = TopicMatcher()
        for topic_filter in filters:
            wanted.add(topic_filter, None)
        with self._lock:
            for topic_filter in filters:
                self._filters.add(topic_filter, (session, receiver))
            session.put(((receiver,), Linked()))
            for topic, payload in self._retained.items():
                if any(True for _ in wanted.match(topic)):
                    session.put(((receiver,), Message(topic, payload, retain=True)))

    def detach(self, session: Session, receiver: Receiver, filters: Collection[str]) -> None:
        """Give ``receiver`` nothing any more."""
        with self._lock:
            for topic_filter in filters:
                self._filters.remove(topic_filter, (session, receiver))

    def collect(self, session: Session) -> tuple[list[_Parcel], _Missed]:
        """Take the next items out of a session's inbox, and who missed how many."""
        with self._lock:
            return session.take()

    def _keep(self, topic: str, payload: bytes) -> None:
        if payload:
            self._retained[topic] = payload
        else:
            self._retained.pop(topic, None)


class Session:
    """One connection to the hub: an inbox that any thread may fill, and the tasks that empty it."""

    def __init__(self, hub: LocalHub, tally: Tally) -> None:
        self.loop = asyncio.get_running_loop()
        self._hub = hub
        self._tally = tally
        self._inbox: deque[_Parcel] = deque()
        self._missed: _Missed = Counter()
        self._bell = Bell()
        self._ending = False
        self._workers: set[asyncio.Task[None]] = set()
        self._reader = self.loop.create_task(self._read(), name="cascade-local-reader")

    def start(self, subscription: LocalSubscription) -> None:
        """Own the task that calls the subscription's callback."""
        worker = subscription.start()
        self._workers.add(worker)
        worker.add_done_callback(self._workers.discard)

    def put(self, parcel: _Parcel) -> None:
        """Add an item; called by the hub under its lock, from any thread."""
        if len(self._inbox) >= INBOX_ITEMS:
            receivers, item = self._inbox.popleft()
            self._missed.update((receiver, link_of(item)) for receiver in receivers)
        self._inbox.append(parcel)
        if self.on_its_loop():
            self._bell.ring()
        elif not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._bell.ring)

    def take(self) -> tuple[list[_Parcel], _Missed]:
        """Return what comes next; called by the hub under its lock."""
        parcels = [self._inbox.popleft() for _ in range(min(_SLICE, len(self._inbox)))]
        missed, self._missed = self._missed, Counter()
        return parcels, missed

    def on_its_loop(self) -> bool:
        """Return whether the caller runs on the loop of this session."""
        try:
            return asyncio.get_running_loop() is self.loop
        except RuntimeError:  # a thread without a loop
            return False

    async def leave(self, subscriptions: Collection[LocalSubscription], *, timeout: float) -> None:
        """Hand on what has arrived, for at most ``timeout`` seconds, then end every task."""
        caller = {asyncio.current_task()}  # a callback that disconnects must not wait for itself
        try:
            self._ending = True
            self._bell.ring()
            await asyncio.wait({self._reader}, timeout=timeout)
            for subscription in subscriptions:
                subscription.finish()
            if workers := self._workers - caller:
                await asyncio.wait(workers, timeout=timeout)
        finally:
            await cancel({self._reader, *self._workers} - caller, timeout=_CANCEL_SECONDS)
            for subscription in subscriptions:
                subscription.abandon()

    async def _read(self) -> None:
        while True:
            parcels, missed = self._hub.collect(self)
            for (receiver, linked), count in missed.items():
                receiver.missed(count, linked=linked)
            for receivers, item in parcels:
                self._hand_on(receivers, item)
            if parcels:
                await asyncio.sleep(0)
            elif self._ending:
                return
            else:
                await self._bell.wait()

    def _hand_on(self, receivers: tuple[Receiver, ...], item: WatchItem) -> None:
        self._tally.received += isinstance(item, Message)
        delivery = Delivery(item)
        for receiver in receivers:
            receiver.offer(delivery)
