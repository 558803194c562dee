"""Step 2: what a subscription is on your wire. The base class has the rest of a link."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from cascade.interfaces.topics import matches
from cascade.interfaces.watch import Complete, Linked
from cascade.transport.delivery.callbacks import CallbackQueue
from cascade.transport.delivery.dispatcher import Queue
from cascade.transport.delivery.message import IncomingMessage
from cascade.transport.delivery.watches import WatchQueue
from cascade.transport.faults import Fault
from cascade.transport.link import Link, LinkParts
from hub_connector._client import HubClient, Receive


class HubLink(Link):
    """Subscribes to each filter of each queue by itself, so that every queue gets its retained messages."""

    def __init__(
        self, client: HubClient, parts: LinkParts, *, explain: Callable[[BaseException], Fault]
    ) -> None:
        self._hub = client
        self._numbers: dict[Queue, list[int]] = {}
        super().__init__(client, parts, send=client.publish, explain=explain)

    def read(self) -> None:
        """Nothing to do: the client reads from the beginning."""

    async def subscribe(self, queue: CallbackQueue) -> None:
        await self._call("subscribe", self._subscribe, queue)

    def watch_soon(self, queue: WatchQueue) -> None:
        self._start(self._subscribe(queue), "hub-watch")

    async def unsubscribe(self, queue: Queue, unused: Sequence[str]) -> None:
        await self._call("unsubscribe", self._unsubscribe, queue)

    async def _prepare(self) -> None:
        """Nothing to do: the hub needs no preparation."""

    async def _resubscribe(self) -> None:
        queues: list[Queue] = [*self._dispatcher.callbacks(), *self._dispatcher.watches()]
        await asyncio.gather(*(self._call("subscribe", self._subscribe, queue) for queue in queues))

    async def _subscribe(self, queue: Queue) -> None:
        numbers = self._numbers[queue] = []
        first: list[IncomingMessage] = []  # what arrives until the hub has answered for every filter
        offers = [first.append]

        def offer(message: IncomingMessage) -> None:
            offers[-1](message)

        for topic_filter in [*queue.filters]:
            receive = self._receiver(queue, topic_filter, offer)
            numbers.append(await self._hub.subscribe(topic_filter, receive))
        if isinstance(queue, WatchQueue):
            queue.looks = _Look(self, queue)
            queue.note(Linked())
        for message in first:
            queue.offer(message)
        offers.append(queue.offer)
        if isinstance(queue, WatchQueue):
            queue.note(Complete(True, frozenset(each.topic for each in first if each.retain)))

    async def _unsubscribe(self, queue: Queue) -> None:
        for number in self._numbers.pop(queue, ()):
            await self._hub.unsubscribe(number)

    async def renew(self, queue: WatchQueue) -> None:
        await self._unsubscribe(queue)
        await self._subscribe(queue)

    @staticmethod
    def _receiver(queue: Queue, topic_filter: str, offer: Callable[[IncomingMessage], None]) -> Receive:
        def receive(message: dict[str, Any]) -> None:
            topic = message["topic"]
            if topic_filter == next(each for each in queue.filters if matches(each, topic)):
                offer(IncomingMessage(topic, message["payload"].encode(), retain=message["retain"]))
            # otherwise it comes once more, for an earlier filter of the queue

        return receive


class _Look:
    """What a watch asks of its link: here, all messages anew."""

    def __init__(self, link: HubLink, queue: WatchQueue) -> None:
        self._link, self._queue = link, queue

    def do(self, actions: Iterable[object]) -> None:
        """Nothing to do: the hub's answer marks the end of the retained messages."""

    def look_again(self) -> None:
        self._link._start(self._link.renew(self._queue), "hub-renew")

    def change(self, added: Sequence[str], removed: Sequence[str]) -> None:
        self.look_again()

    def end(self) -> Sequence[str]:
        return ()
