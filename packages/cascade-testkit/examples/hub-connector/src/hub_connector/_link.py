"""Step 2: what a subscription is on your wire. The base class has the rest of a link."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from cascade.interfaces.filters import first_match
from cascade.transport import Fault, IncomingMessage, LinkParts, Queue, QueueLink, RetainedFeed
from hub_connector._client import HubClient


class HubLink(QueueLink):
    """Subscribes to each filter of each queue by itself, so that every queue gets its retained messages."""

    def __init__(
        self, client: HubClient, parts: LinkParts, *, explain: Callable[[BaseException], Fault]
    ) -> None:
        self._hub = client
        self._turn = asyncio.Lock()
        self._numbers: dict[Queue, list[int]] = {}
        super().__init__(client, parts, send=client.publish, explain=explain)

    async def open_queue(self, queue: Queue) -> None:
        def renew(position: int) -> None:
            self._start_for(queue, self._call("subscribe", self._fill, queue, feed), "hub-renew")

        feed = RetainedFeed(queue, renew=renew, follows=False)
        self._numbers[queue] = []
        await self._fill(queue, feed)

    async def close_queue(self, queue: Queue, unused: Sequence[str]) -> None:
        async with self._turn:
            for number in self._numbers.pop(queue, ()):
                await self._hub.unsubscribe(number)

    async def _fill(self, queue: Queue, feed: RetainedFeed) -> None:
        """Subscribe to every filter, anew if need be; the hub answers behind its retained messages."""
        async with self._turn:
            numbers = self._numbers[queue]
            while numbers:
                await self._hub.unsubscribe(numbers.pop())
            feed.begin()
            for topic_filter in [*queue.filters]:
                receive = partial(self._receive, queue, feed, topic_filter)
                numbers.append(await self._hub.subscribe(topic_filter, receive))
            feed.grant()
            feed.finish()

    @staticmethod
    def _receive(queue: Queue, feed: RetainedFeed, topic_filter: str, message: dict[str, Any]) -> None:
        topic, data = message["topic"], message["payload"].encode()
        if first_match(queue.filters, topic) != topic_filter:
            return  # it comes once more, for an earlier filter of the queue
        if message["retain"]:
            feed.entry(topic, data)
        else:
            feed.live(IncomingMessage(topic, data))
