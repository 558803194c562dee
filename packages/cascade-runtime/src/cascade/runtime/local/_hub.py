"""The hub: it takes the place of the broker inside one process, with a session for each connector."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Iterable, Sequence

from cascade.interfaces import Complete, Linked, ReplyTo
from cascade.interfaces.topics import TopicMatcher, check_topic, is_request
from cascade.interfaces.traces import read_traceparent
from cascade.runtime._support.loops import cancel
from cascade.runtime.local._retained import RetainedMessages
from cascade.transport.event_loop import AutoResetEvent
from cascade.transport.incoming.callbacks import CallbackQueue, calling_task
from cascade.transport.incoming.dispatcher import Dispatcher, Queue
from cascade.transport.incoming.message import IncomingMessage
from cascade.transport.incoming.watches import WatchQueue
from cascade.transport.retained_proof.retained_set import Action

INBOX_ITEMS = 65_536
# delivered before the callbacks run: well below the capacity of a callback's queue
_SLICE = 256
_CANCEL_SECONDS = 0.5
_DISCONNECTED = "disconnected"

_Item = IncomingMessage | Linked | Complete
_Delivery = tuple[Sequence[Queue], _Item]
_Missed = dict[tuple[Queue, bool], int]
"""The number of lost messages, by the queue and by whether ``Linked`` was lost with them."""


class LocalHub:
    """Delivers between the connectors that share it, and keeps each topic's retained message.

    It may be used from any thread; all connectors receive messages in the same order.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._retained = RetainedMessages()
        self._complete: dict[Queue, Complete] = {}
        """The latest ``Complete`` of a watch, until a topic of its set comes or goes: a large set is not made again."""
        self._filters: TopicMatcher[tuple[Session, Queue]] = TopicMatcher()

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        reply_to: ReplyTo | None = None,
        traceparent: str = "",
    ) -> None:
        """Deliver bytes as they are, also such as no connector would send; empty ones clear.

        :param reply_to: where an answer is expected; its topic alone has to tell the answer from others.
        :param traceparent: the trace of the sender, in the form of W3C Trace Context; a wrong one is left out.
        :raises InvalidTopicError: if the topic is not one to publish to.
        """
        check_topic(topic)
        with self._lock:
            has_changed = retain and self._retained.keep(topic, payload)
            message = IncomingMessage(
                topic,
                payload,
                retain=retain and is_request(topic),
                reply_to=reply_to,
                traceparent=read_traceparent(traceparent),
            )
            for session, queues in self._receivers(topic).items():
                if has_changed:
                    for queue in queues:
                        self._complete.pop(queue, None)
                session.put((queues, message))

    def attach(self, session: Session, queue: Queue) -> None:
        """Deliver the retained messages to a queue, and from now on what is published."""
        with self._lock:
            for topic_filter in queue.filters:
                self._filters.add(topic_filter, (session, queue))
            if isinstance(queue, WatchQueue):
                session.put(((queue,), Linked()))
            self._send_retained(session, queue, queue.filters)

    def attach_also(self, session: Session, queue: WatchQueue, filters: Sequence[str]) -> None:
        """Do what ``attach`` does for filters that a watch did not have."""
        with self._lock:
            for topic_filter in filters:
                self._filters.add(topic_filter, (session, queue))
            self._send_retained(session, queue, filters)

    def repeat(self, session: Session, queue: WatchQueue) -> None:
        """Deliver the retained messages to a watch once more, because it has discarded messages."""
        with self._lock:
            session.renew(queue)
            self._send_retained(session, queue, queue.filters)

    def detach(self, session: Session, queue: Queue) -> None:
        """Stop delivering to a queue."""
        with self._lock:
            self._complete.pop(queue, None)
            for topic_filter in queue.filters:
                self._filters.remove(topic_filter, (session, queue))

    def detach_some(self, session: Session, queue: WatchQueue, filters: Sequence[str]) -> None:
        """Stop delivering messages of these filters to a watch."""
        with self._lock:
            for topic_filter in filters:
                self._filters.remove(topic_filter, (session, queue))
            if self._retained.matching(filters):
                self._complete.pop(queue, None)

    def collect(self, session: Session) -> tuple[list[_Delivery], _Missed]:
        """Take the next items out of a session's inbox, and what was lost from it."""
        with self._lock:
            return session.take()

    def _receivers(self, topic: str) -> dict[Session, list[Queue]]:
        """Return the queues of each session that a topic reaches, each once."""
        found: dict[Session, list[Queue]] = {}
        for session, queue in dict.fromkeys(self._filters.match(topic)):
            found.setdefault(session, []).append(queue)
        return found

    def _send_retained(self, session: Session, queue: Queue, filters: Iterable[str]) -> None:
        """Send the retained messages for some filters of a queue, and to a watch that they are complete."""
        topics = self._retained.matching(filters)
        for topic in topics:
            session.put(((queue,), IncomingMessage(topic, self._retained[topic], retain=True)))
        if isinstance(queue, WatchQueue):
            session.put(((queue,), self._complete_of(queue, topics)))

    def _complete_of(self, queue: WatchQueue, sent: Iterable[str]) -> Complete:
        """Return the ``Complete`` of a watch, to which these topics have just been sent."""
        known = self._complete.get(queue)
        if known is None or known.topics is None or not known.topics.issuperset(sent):
            known = Complete(True, frozenset(self._retained.matching(queue.filters)))
            self._complete[queue] = known
        return known


class Session:
    """One connection to the hub: an inbox that any thread may fill, and the task that empties it."""

    def __init__(self, hub: LocalHub, dispatcher: Dispatcher) -> None:
        self.loop = asyncio.get_running_loop()
        self._hub = hub
        self._dispatcher = dispatcher
        self._inbox: deque[_Delivery] = deque()
        self._missed: _Missed = {}
        self._wakeup = AutoResetEvent()
        self._attached: dict[Queue, None] = {}
        self._ending = False
        self._reader = self.loop.create_task(self._read(), name="cascade-local-reader")

    async def subscribe(self, queue: CallbackQueue) -> None:
        """Attach the queue of a new callback to the hub."""
        self._attach(queue)

    def watch_soon(self, queue: WatchQueue) -> None:
        """Attach the queue of a new watch to the hub."""
        self._attach(queue)

    async def unsubscribe(self, queue: Queue, unused: Sequence[str]) -> None:
        """Detach a queue from the hub. Idempotent."""
        self._detach(queue)

    def unsubscribe_soon(self, queue: Queue, unused: Sequence[str]) -> None:
        """Detach a queue from the hub. Idempotent."""
        self._detach(queue)

    def attach_all(self) -> None:
        """Attach every queue of the connector to the hub."""
        queues: list[Queue] = [*self._dispatcher.callbacks(), *self._dispatcher.watches()]
        for queue in queues:
            self._attach(queue)

    def detach_all(self) -> None:
        """Detach every queue from the hub."""
        for queue in [*self._attached]:
            self._detach(queue)

    def attach_also(self, queue: WatchQueue, filters: Sequence[str]) -> None:
        """Attach further filters of a watch to the hub."""
        self._hub.attach_also(self, queue, filters)

    def detach_some(self, queue: WatchQueue, filters: Sequence[str]) -> None:
        """Detach some filters of a watch from the hub."""
        self._hub.detach_some(self, queue, filters)

    def repeat(self, queue: WatchQueue) -> None:
        """Get the retained messages of a watch once more."""
        self._hub.repeat(self, queue)

    def put(self, delivery: _Delivery) -> None:
        """Add an item to the inbox; called by the hub under its lock, from any thread."""
        if len(self._inbox) >= INBOX_ITEMS:
            self._lose(*self._inbox.popleft())
        self._inbox.append(delivery)
        if self.on_its_loop():
            self._wakeup.set()
        elif not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._wakeup.set)

    def renew(self, queue: WatchQueue) -> None:
        """Remove each ``Complete`` of a set that is delivered again; called by the hub under its lock."""
        self._inbox = deque(
            (queues, item)
            for queues, item in self._inbox
            if not isinstance(item, Complete) or queue not in queues
        )

    def take(self) -> tuple[list[_Delivery], _Missed]:
        """Return the next items and what was lost; called by the hub under its lock."""
        deliveries = [self._inbox.popleft() for _ in range(min(_SLICE, len(self._inbox)))]
        missed, self._missed = self._missed, {}
        return deliveries, missed

    def on_its_loop(self) -> bool:
        """Return whether the caller runs on the loop of this session."""
        try:
            return asyncio.get_running_loop() is self.loop
        except RuntimeError:  # a thread without a loop
            return False

    async def leave(self, *, timeout: float) -> None:
        """Deliver what has arrived and wait for the callbacks, each for at most ``timeout`` seconds; then end."""
        # a callback that disconnects must not wait for itself
        caller = calling_task.get()
        try:
            self._ending = True
            self._wakeup.set()
            await asyncio.wait({self._reader}, timeout=timeout)
            await self._wait_for_callbacks(timeout, caller)
        finally:
            await cancel({self._reader}, timeout=_CANCEL_SECONDS)
            await self._dispatcher.stop(skip=caller, reason=_DISCONNECTED)

    async def _wait_for_callbacks(self, timeout: float, caller: asyncio.Task[None] | None) -> None:
        waiting = {
            self.loop.create_task(queue.idle(skip=caller), name="cascade-local-drain")
            for queue in self._dispatcher.callbacks()
        }
        if waiting:
            try:
                await asyncio.wait(waiting, timeout=timeout)
            finally:
                await cancel(waiting, timeout=_CANCEL_SECONDS)

    async def _read(self) -> None:
        while True:
            deliveries, missed = self._hub.collect(self)
            for (queue, linked), count in missed.items():
                if isinstance(queue, WatchQueue):
                    queue.missed(count, linked=linked or None)
                else:
                    queue.missed(count)
            for queues, item in deliveries:
                self._deliver(queues, item)
            if deliveries:
                await asyncio.sleep(0)
            elif self._ending:
                return
            else:
                await self._wakeup.wait()

    def _deliver(self, queues: Sequence[Queue], item: _Item) -> None:
        if isinstance(item, IncomingMessage):
            self._dispatcher.delivery.received += 1
            for queue in queues:
                queue.offer(item)
        else:
            for queue in queues:
                if isinstance(queue, WatchQueue):
                    queue.note(item)

    def _lose(self, queues: Sequence[Queue], item: _Item) -> None:
        linked = isinstance(item, Linked)
        for queue in queues:
            lost = self._missed.get((queue, linked), 0)
            self._missed[queue, linked] = lost + isinstance(item, IncomingMessage)

    def _attach(self, queue: Queue) -> None:
        self._attached[queue] = None
        if isinstance(queue, WatchQueue):
            queue.watch_link = _WatchLink(self, queue)
        self._hub.attach(self, queue)

    def _detach(self, queue: Queue) -> None:
        if queue in self._attached:
            del self._attached[queue]
            if isinstance(queue, WatchQueue):
                queue.watch_link = None
            self._hub.detach(self, queue)


class _WatchLink:
    """What the queue of a watch asks of its session; the hub knows when the retained set is complete."""

    def __init__(self, session: Session, queue: WatchQueue) -> None:
        self._session = session
        self._queue = queue

    def do(self, actions: Iterable[Action]) -> None:
        """Do nothing: there are no checks."""

    def check_again(self) -> None:
        """Get the retained messages once more."""
        self._session.repeat(self._queue)

    def change(self, added: Sequence[str], removed: Sequence[str]) -> None:
        """Attach topics that the watch did not have, and detach others."""
        if added:
            self._session.attach_also(self._queue, added)
        self._session.detach_some(self._queue, removed)

    def end(self) -> Sequence[str]:
        """Return that no check has subscribed to anything."""
        return ()
