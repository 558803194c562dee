"""Who listens to what: told to the dispatcher, and to the link if there is one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from cascade.connectors.mqtt._dispatch import Dispatcher
from cascade.connectors.mqtt._life import Life
from cascade.connectors.mqtt._link import Link
from cascade.connectors.mqtt._listeners import CallbackListener, WatchListener
from cascade.connectors.mqtt._subscription import MqttSubscription
from cascade.connectors.mqtt._watch import MqttWatch
from cascade.connectors.mqtt.config import QOS, no_qos
from cascade.interfaces.errors import ConfigurationError
from cascade.interfaces.protocols import MessageCallback
from cascade.interfaces.topics import check_filter


class Listening:
    """Begins and ends subscriptions and watches; without a link they begin with the next one."""

    def __init__(self, dispatcher: Dispatcher, life: Life) -> None:
        self._dispatcher = dispatcher
        self._life = life

    async def subscribe(self, topic: str, callback: MessageCallback, qos: int) -> MqttSubscription:
        """Begin a subscription; leave none behind if that is cancelled.

        :raises InvalidTopicError: if the filter is not valid.
        :raises ConfigurationError: if there is no such QoS.
        """
        check_filter(topic)
        if qos not in QOS:
            raise no_qos(qos)
        listener = CallbackListener(topic, callback, qos, self._dispatcher.counts)
        session = self._life.on_this_loop("subscribe")
        self._dispatcher.add(listener)
        try:
            if session is not None and session.link is not None:
                await session.link.subscribe(listener.filter, self._dispatcher.qos(listener.filter))
        except asyncio.CancelledError:
            self._forget_soon(listener)
            raise
        return MqttSubscription(listener, self._unsubscribe)

    def watch(self, filters: Sequence[str]) -> MqttWatch:
        """Begin a watch.

        :raises InvalidTopicError: if a filter is not valid.
        :raises ConfigurationError: if there is none.
        """
        if not filters:
            raise ConfigurationError("watch", "name at least one topic filter")
        for topic_filter in filters:
            check_filter(topic_filter)
        listener = WatchListener(filters, self._dispatcher.counts)
        session = self._life.on_this_loop("watch")
        self._dispatcher.add(listener)
        if session is not None and session.link is not None:
            session.link.watch_soon(listener)
        return MqttWatch(listener, close=self._forget, let_go=self._let_go)

    @property
    def _link(self) -> Link | None:
        session = self._life.session
        return session.link if session is not None else None

    async def _unsubscribe(self, listener: CallbackListener) -> None:
        self._dispatcher.retire(listener)
        await self._forget(listener)

    async def _forget(self, listener: CallbackListener | WatchListener) -> None:
        unused = self._dispatcher.remove(listener)
        link = self._link
        if link is None:
            return
        if unused:
            await link.unsubscribe(unused)
        if isinstance(listener, WatchListener):
            await self._raise_qos(link, listener)

    async def _raise_qos(self, link: Link, watched: WatchListener) -> None:
        """Give callbacks the QoS that they asked for, and that a stream over their filters had kept at 0."""
        subscribed = self._dispatcher.subscriptions()
        raised = {each: subscribed[each] for each in watched.filters if subscribed.get(each)}
        if raised:
            await link.subscribe_all(raised)

    def _let_go(self, listener: WatchListener) -> None:
        """Unsubscribe a stream that nobody closed; garbage is collected in any thread."""
        session = self._life.session
        if session is None:
            self._dispatcher.remove(listener)
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed, and so is the link
            session.loop.call_soon_threadsafe(self._forget_soon, listener)

    def _forget_soon(self, listener: CallbackListener | WatchListener) -> None:
        unused = self._dispatcher.remove(listener)
        link = self._link
        if unused and link is not None:
            link.unsubscribe_soon(unused)
