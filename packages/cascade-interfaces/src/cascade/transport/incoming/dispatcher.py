"""The dispatcher finds the queues of an arriving message; subscriptions and watches begin and end in it and on the wire."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from cascade.interfaces.connector import MessageCallback
from cascade.interfaces.errors import ConfigurationError, InvalidTopicError
from cascade.interfaces.topics import TopicMatcher, check_filter, matches
from cascade.transport.incoming.callbacks import CallbackQueue, CallbackSubscription
from cascade.transport.incoming.message import DeliveryCounts, IncomingMessage
from cascade.transport.incoming.watches import Watch, WatchQueue
from cascade.transport.retained_proof.retained_set import RetainedSet

WAITING = "waiting at disconnect"

_EARLY_MESSAGES = 1_000
_EARLY_SECONDS = 1.0

Queue = CallbackQueue | WatchQueue


def _ignore(topic_filter: str) -> None:
    """Do nothing with a filter."""


class Dispatcher:
    """All queues of one connector, found by topic.

    :param filter_added: called with each filter that the connector did not have before.
    :param filter_removed: called with each filter that the connector no longer needs.
    """

    def __init__(
        self,
        delivery: DeliveryCounts,
        *,
        filter_added: Callable[[str], None] = _ignore,
        filter_removed: Callable[[str], None] = _ignore,
    ) -> None:
        self.delivery = delivery
        self._filter_added = filter_added
        self._filter_removed = filter_removed
        # filters that are not topics themselves
        self._patterns: TopicMatcher[Queue] = TopicMatcher()
        self._by_filter: dict[str, list[Queue]] = {}
        self._queues: dict[Queue, None] = {}
        self._running: dict[CallbackQueue, None] = {}
        self._early: deque[IncomingMessage] = deque(maxlen=_EARLY_MESSAGES)
        self._keep_early_until = 0.0

    def add(self, queue: Queue) -> None:
        """Register a queue; offer it the messages that arrived early for it (see :meth:`begin`)."""
        self._queues[queue] = None
        for topic_filter in queue.filters:
            self._register(topic_filter, queue)
        if self._early:
            self._offer_early(queue)

    def extend(self, queue: WatchQueue, filters: Sequence[str]) -> list[str]:
        """Add filters to a watch; return those that it did not have."""
        new = [each for each in dict.fromkeys(filters) if each not in queue.filters]
        if queue in self._queues:
            for topic_filter in new:
                queue.filters[topic_filter] = 0
                self._register(topic_filter, queue)
        return new

    def shrink(self, queue: WatchQueue, filters: Sequence[str]) -> list[str]:
        """Remove filters from a watch; return those that it had."""
        old = [each for each in dict.fromkeys(filters) if each in queue.filters]
        if queue in self._queues:
            for topic_filter in old:
                del queue.filters[topic_filter]
                self._drop(topic_filter, queue)
        return old

    def has(self, topic_filter: str) -> bool:
        """Return whether any queue has a filter."""
        return topic_filter in self._by_filter

    def queues(self, topic_filter: str) -> Sequence[Queue]:
        """Return the queues that have a filter."""
        return self._by_filter.get(topic_filter, ())

    def remove(self, queue: Queue) -> list[str]:
        """Remove a queue; return the filters that no other queue has. Idempotent."""
        if queue not in self._queues:
            return []
        del self._queues[queue]
        return [topic_filter for topic_filter in queue.filters if self._drop(topic_filter, queue)]

    def filters(self) -> dict[str, int]:
        """Return every filter with the QoS to subscribe at."""
        return {topic_filter: self.qos(topic_filter) for topic_filter in self._by_filter}

    def qos(self, topic_filter: str) -> int:
        """Return the QoS to subscribe to a filter at.

        It is the highest that a callback asked for, but 0 if the filter is watched: the order within a
        watch is guaranteed among messages of one QoS only.
        """
        queues = self._by_filter[topic_filter]
        if any(isinstance(queue, WatchQueue) for queue in queues):
            return 0
        return max(queue.filters[topic_filter] for queue in queues)

    def watches(self) -> list[WatchQueue]:
        """Return the queues of the open watches."""
        return [queue for queue in self._queues if isinstance(queue, WatchQueue)]

    def callbacks(self) -> list[CallbackQueue]:
        """Return the queues of the subscribed callbacks."""
        return [queue for queue in self._queues if isinstance(queue, CallbackQueue)]

    def begin(self) -> None:
        """Begin a session, and keep messages without a matching queue for a second.

        A new link can bring messages before the caller of ``connect`` had a chance to subscribe.
        """
        for queue in self._queues:
            queue.begin()
        self._keep_early_until = time.monotonic() + _EARLY_SECONDS

    def dispatch(self, message: IncomingMessage) -> None:
        """Offer a message once to every queue that has a matching filter."""
        topic = message.topic
        queues = dict.fromkeys((*self._by_filter.get(topic, ()), *self._patterns.match(topic)))
        if not queues and time.monotonic() < self._keep_early_until:
            self._early.append(message)
        for queue in queues:
            queue.offer(message)

    async def stop(self, *, skip: asyncio.Task[Any] | None = None, reason: str = WAITING) -> None:
        """Cancel every call in progress, except one that the task ``skip`` makes."""
        self._early.clear()
        queues = (*self.callbacks(), *self._running)
        await asyncio.gather(*(queue.stop(skip=skip, reason=reason) for queue in queues))
        self._running.clear()

    def retire(self, queue: CallbackQueue) -> None:
        """Make no further call of an unsubscribed callback; keep track of a call in progress."""
        queue.end()
        self._running = {each: None for each in (*self._running, queue) if each.busy}

    def _register(self, topic_filter: str, queue: Queue) -> None:
        if _is_pattern(topic_filter):
            self._patterns.add(topic_filter, queue)
        if topic_filter not in self._by_filter:
            self._filter_added(topic_filter)
        self._by_filter.setdefault(topic_filter, []).append(queue)

    def _drop(self, topic_filter: str, queue: Queue) -> bool:
        if _is_pattern(topic_filter):
            self._patterns.remove(topic_filter, queue)
        remaining = self._by_filter[topic_filter]
        remaining.remove(queue)
        if remaining:
            return False
        del self._by_filter[topic_filter]
        self._filter_removed(topic_filter)
        return True

    def _offer_early(self, queue: Queue) -> None:
        if time.monotonic() > self._keep_early_until:
            self._early.clear()
        for message in [*self._early]:
            if any(matches(topic_filter, message.topic) for topic_filter in queue.filters):
                self._early.remove(message)
                queue.offer(message)


def _is_pattern(topic_filter: str) -> bool:
    """Return whether a filter matches other topics than the one of the same text."""
    return "+" in topic_filter or "#" in topic_filter or topic_filter.startswith("$share/")


class Wire(Protocol):
    """What a connector's session does for subscriptions. Called on its loop.

    A wire without a link does nothing: the session subscribes to all filters of the dispatcher
    when the next link is up.
    """

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of the session."""
        ...

    async def subscribe(self, queue: CallbackQueue) -> None:
        """Subscribe to the filter of a new callback; return when the peer has answered."""
        ...

    def watch_soon(self, queue: WatchQueue) -> None:
        """Start to subscribe to the filters of a new watch; note ``Linked`` in its queue afterwards."""
        ...

    async def unsubscribe(self, queue: Queue, unused: Sequence[str]) -> None:
        """Unsubscribe from the filters that only ``queue`` had."""
        ...

    def unsubscribe_soon(self, queue: Queue, unused: Sequence[str]) -> None:
        """Start to do what ``unsubscribe`` does."""
        ...


def _no_retained_set(filters: Sequence[str]) -> None:
    """Find out nothing."""


class Subscriptions:
    """Begins and ends the subscriptions and watches of one connector.

    :param wire: returns the wire of the current session, or None.
    :param new_retained_set: returns what finds out when the retained set of these filters is complete;
        not needed if the wire reports ``Complete`` itself.
    :param shared: whether the network has shared subscriptions (``$share/...``).
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        wire: Callable[[], Wire | None],
        *,
        new_retained_set: Callable[[Sequence[str]], RetainedSet | None] = _no_retained_set,
        shared: bool = False,
    ) -> None:
        self._dispatcher = dispatcher
        self._wire = wire
        self._new_retained_set = new_retained_set
        self._shared = shared

    async def subscribe(self, topic: str, callback: MessageCallback, qos: int) -> CallbackSubscription:
        """Begin a subscription; if this is cancelled, the subscription is removed again.

        :raises InvalidTopicError: if the filter is not valid, or is a shared one on a network that has none.
        """
        self._check(topic)
        queue = CallbackQueue(topic, callback, qos, self._dispatcher.delivery)
        self._dispatcher.add(queue)
        try:
            if (wire := self._wire()) is not None:
                await wire.subscribe(queue)
        except asyncio.CancelledError:
            self._dispatcher.retire(queue)
            self._remove_soon(queue)
            raise
        return CallbackSubscription(queue, self._unsubscribe)

    def watch(self, filters: Sequence[str]) -> Watch:
        """Begin a watch.

        :raises InvalidTopicError: as for ``subscribe``.
        :raises ConfigurationError: without a filter.
        """
        if not filters:
            raise ConfigurationError("watch", "name at least one topic filter")
        for topic_filter in filters:
            self._check(topic_filter)
        retained = self._new_retained_set(filters)
        queue = WatchQueue(filters, self._dispatcher.delivery, retained=retained)
        self._dispatcher.add(queue)
        if (wire := self._wire()) is not None:
            wire.watch_soon(queue)
        return Watch(queue, close=self._remove, change=self._change, abandon=self._abandon)

    def _check(self, topic_filter: str) -> None:
        check_filter(topic_filter)
        if not self._shared and topic_filter.startswith("$share/"):
            raise InvalidTopicError(topic_filter, "is a shared subscription, which needs a broker of MQTT")

    def _change(self, queue: WatchQueue, added: Sequence[str], removed: Sequence[str]) -> None:
        queue.change(self._dispatcher.extend(queue, added), self._dispatcher.shrink(queue, removed))

    async def _unsubscribe(self, queue: CallbackQueue) -> None:
        self._dispatcher.retire(queue)
        await self._remove(queue)

    async def _remove(self, queue: Queue) -> None:
        unused = self._dispatcher.remove(queue)
        if (wire := self._wire()) is not None:
            await wire.unsubscribe(queue, unused)

    def _abandon(self, queue: WatchQueue) -> None:
        """Unsubscribe a stream that was not closed; garbage is collected in any thread."""
        if (wire := self._wire()) is None:
            self._dispatcher.remove(queue)
            return
        # the loop is closed, and so is the link
        with contextlib.suppress(RuntimeError):
            wire.loop.call_soon_threadsafe(self._remove_soon, queue)

    def _remove_soon(self, queue: Queue) -> None:
        queue.end()
        unused = self._dispatcher.remove(queue)
        if (wire := self._wire()) is not None:
            wire.unsubscribe_soon(queue, unused)
