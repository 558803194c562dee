"""Begin and end subscriptions and watches: in the dispatcher, and on the wire if there is a session."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Protocol

from cascade.interfaces.connector import MessageCallback
from cascade.interfaces.errors import ConfigurationError, InvalidTopicError
from cascade.interfaces.topics import check_filter
from cascade.transport.delivery.callbacks import CallbackQueue, CallbackSubscription
from cascade.transport.delivery.dispatcher import Dispatcher, Queue
from cascade.transport.delivery.watches import Watch, WatchQueue
from cascade.transport.retained_proof.retained_set import RetainedSet


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
        with contextlib.suppress(RuntimeError):  # the loop is closed, and so is the link
            wire.loop.call_soon_threadsafe(self._remove_soon, queue)

    def _remove_soon(self, queue: Queue) -> None:
        queue.end()
        unused = self._dispatcher.remove(queue)
        if (wire := self._wire()) is not None:
            wire.unsubscribe_soon(queue, unused)
