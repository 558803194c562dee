"""Find the queues whose filters match the topic of an arriving message."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from cascade.interfaces.topics import TopicMatcher, matches
from cascade.transport.delivery.callbacks import CallbackQueue
from cascade.transport.delivery.message import DeliveryCounts, IncomingMessage
from cascade.transport.delivery.watches import WatchQueue

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
        self._patterns: TopicMatcher[Queue] = TopicMatcher()  # filters that are not topics themselves
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
