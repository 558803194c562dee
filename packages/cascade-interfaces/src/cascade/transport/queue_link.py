"""A link of a network on which each queue is subscribed by itself."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from cascade.interfaces.filters import first_match
from cascade.interfaces.watch import Lost
from cascade.transport.faults import Fault
from cascade.transport.incoming.callbacks import CallbackQueue
from cascade.transport.incoming.dispatcher import Queue
from cascade.transport.incoming.message import IncomingMessage
from cascade.transport.incoming.retained_feed import RetainedFeed
from cascade.transport.incoming.watches import REFUSED, WatchQueue
from cascade.transport.link import Link, LinkClient, LinkParts
from cascade.transport.outbox import Outgoing


class QueueLink(Link):
    """A link of a network on which each queue is subscribed by itself, so that it gets its own retained messages."""

    def __init__(
        self,
        client: LinkClient,
        parts: LinkParts,
        *,
        send: Callable[[Outgoing], Awaitable[object] | None],
        explain: Callable[[BaseException], Fault],
    ) -> None:
        super().__init__(client, parts, send=send, explain=explain)
        self._of_queue: dict[Queue, list[asyncio.Task[Any]]] = {}
        self._feeds: dict[Queue, RetainedFeed] = {}
        """What orders the messages of a queue, where several queues share a subscription to a filter."""

    def read(self) -> None:
        """Do nothing: the client reads from the beginning, and nothing arrives before the first subscription."""

    async def prepare(self) -> None:
        """Do nothing before the first subscription."""

    async def subscribe(self, queue: CallbackQueue) -> None:
        """Subscribe to the filter of a callback; return when the peer has answered."""
        await self._call("subscribe", self._begin, queue)

    def watch_soon(self, queue: WatchQueue) -> None:
        """Start to subscribe to the filters of a watch."""
        self._start(self._call("subscribe", self._begin, queue), "cascade-watch")

    async def unsubscribe(self, queue: Queue, unused: Sequence[str]) -> None:
        """Unsubscribe from the filters that only ``queue`` had."""
        for task in self._of_queue.pop(queue, ()):
            task.cancel()
        self._feeds.pop(queue, None)
        await self._call("unsubscribe", self.close_queue, queue, unused)

    async def resubscribe(self) -> None:
        queues: list[Queue] = [*self._dispatcher.callbacks(), *self._dispatcher.watches()]
        await asyncio.gather(*(self._call("subscribe", self._begin, queue) for queue in queues))

    def _offer_live(self, topic_filter: str, message: IncomingMessage) -> None:
        """Offer a message that is not retained, and came for a filter, once to each queue that has this filter."""
        for queue in self._dispatcher.queues(topic_filter):
            if len(queue.filters) > 1 and first_match(queue.filters, message.topic) != topic_filter:
                continue  # it comes once more, for that filter
            if (feed := self._feeds.get(queue)) is not None:
                feed.live(message)
            else:
                queue.offer(message)

    def _refuse(self, topic_filter: str, code: int) -> None:
        """Note that the peer refuses a subscription that its queues share, and tell their watches."""
        self._note_refused(topic_filter, code)
        for queue in self._dispatcher.queues(topic_filter):
            if isinstance(queue, WatchQueue):
                queue.note(Lost(REFUSED))

    async def _begin(self, queue: Queue) -> None:
        """Subscribe a queue once, whether it is new or the link is."""
        if queue not in self._of_queue:
            self._start_for(queue, self.open_queue(queue), "cascade-subscribe")
        await asyncio.shield(self._of_queue[queue][0])

    def _start_for(self, queue: Queue, coroutine: Coroutine[Any, Any, Any], name: str) -> None:
        """Start a task that ends with the subscription of a queue."""
        self._of_queue.setdefault(queue, []).append(self._create_task(coroutine, name))

    @abstractmethod
    async def open_queue(self, queue: Queue) -> None:
        """Subscribe to the filters of a queue; return when the peer has answered. Called once on each link."""

    @abstractmethod
    async def close_queue(self, queue: Queue, unused: Sequence[str]) -> None:
        """End what ``open_queue`` began; ``unused`` are the filters that only ``queue`` had."""
