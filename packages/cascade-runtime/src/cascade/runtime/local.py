"""The connector's contract inside one process: for notebooks, examples and tests.

Connectors that are given the same :class:`LocalHub` hear each other, also across threads and
event loops.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import MappingProxyType, TracebackType
from typing import Self

from cascade.interfaces import (
    ConnectorStatistics,
    InvalidPayloadError,
    InvalidTopicError,
    Lost,
    MessageCallback,
    Payload,
    WrongThreadError,
)
from cascade.interfaces.topics import check_filter, check_topic
from cascade.interfaces.wire import default_source, encode_payload
from cascade.runtime._local_delivery import LocalSubscription, LocalWatch, Tally
from cascade.runtime._local_hub import LocalHub, Session

__all__ = ["LocalConnector", "LocalHub"]

logger = logging.getLogger(__name__)

_DRAIN_SECONDS = 1.0


class LocalConnector:
    """A connector to a hub in this process: retained messages, wildcards and order as a broker has them.

    It has every ability: ``publish_nowait``, ``watch``, ``flush``, ``statistics``,
    ``connected``, ``source_id``. QoS makes no difference, because nothing is lost on the way.
    ``disconnect`` lets callbacks finish what has arrived, for up to a second.

    :param hub: what it shares with other connectors; a hub of its own when none is given.
    :param source_id: its name; ``{host}-{pid}`` when none is given.
    """

    def __init__(self, hub: LocalHub | None = None, *, source_id: str | None = None) -> None:
        self._hub = hub or LocalHub()
        self._source_id = source_id or default_source()
        self._session: Session | None = None
        self._subscriptions: dict[LocalSubscription, None] = {}
        self._watches: dict[LocalWatch, tuple[str, ...]] = {}
        self._tally = Tally()
        self._warned = False

    @property
    def connected(self) -> bool:
        """True from the call of ``connect`` to the call of ``disconnect``."""
        return self._session is not None

    @property
    def source_id(self) -> str:
        """The ``source`` of every message."""
        return self._source_id

    async def connect(self) -> None:
        """Attach to the hub; do nothing when attached. What is retained comes again."""
        if self._session is not None and not self._session.loop.is_closed():
            self._own_session("connect")
            return
        self._detach()
        self._session = Session(self._hub, self._tally)
        self._tally.connections += 1
        self._warned = False
        for subscription in self._subscriptions:
            self._begin(self._session, subscription)
        for watch, filters in self._watches.items():
            self._hub.attach(self._session, watch, filters)

    async def disconnect(self) -> None:
        """Let callbacks finish what has arrived, within a second, then leave. Twice is harmless."""
        session = self._own_session("disconnect")
        self._detach()
        if session is None:
            return
        try:
            await session.leave(tuple(self._subscriptions), timeout=_DRAIN_SECONDS)
        finally:
            for watch in self._watches:
                watch.put(Lost("disconnected"))

    async def publish(self, topic: str, payload: Payload, qos: int = 0, *, retain: bool = False) -> None:
        """Hand one message, as it is now, to all who have subscribed; see ``Connector.publish``."""
        self.publish_nowait(topic, payload, qos, retain=retain)

    def publish_nowait(self, topic: str, payload: Payload, qos: int = 0, *, retain: bool = False) -> None:
        """Do what ``publish`` does, without being awaited.

        :raises WrongThreadError: if called from another thread than that of the event loop.
        """
        check_topic(topic)
        if payload is not None and not isinstance(payload, Mapping):
            raise InvalidPayloadError(topic, payload)
        if self._own_session("publish") is None:
            self._warn_once()
            return
        text, replaced = encode_payload(payload)
        self._tally.accepted += 1
        self._tally.sanitized += bool(replaced)
        self._hub.publish(topic, text.encode("utf-8", "surrogatepass"), retain=retain)

    async def subscribe(self, topic: str, callback: MessageCallback, qos: int = 0) -> LocalSubscription:
        """Call ``await callback(topic, data)`` for each message; see ``Connector.subscribe``.

        :raises InvalidTopicError: if the filter is not valid, or is a shared one (``$share/...``).
        """
        _check_filter(topic)
        session = self._own_session("subscribe")
        subscription = LocalSubscription(topic, callback, tally=self._tally, close=self._unsubscribe)
        self._subscriptions[subscription] = None
        if session is not None:
            self._begin(session, subscription)
        return subscription

    def watch(self, *filters: str) -> LocalWatch:
        """Yield what arrives for all filters, undecoded, in one order; see ``SupportsWatch.watch``.

        It listens from this call on, not only from the first item that is asked for.

        :raises InvalidTopicError: as for ``subscribe``.
        """
        for topic_filter in filters:
            _check_filter(topic_filter)
        session = self._own_session("watch")
        watch = LocalWatch(tally=self._tally, close=self._unwatch)
        self._watches[watch] = filters
        if session is not None:
            self._hub.attach(session, watch, filters)
        return watch

    async def flush(self, timeout: float) -> bool:
        """Return True: what was published has been handed over."""
        return True

    def statistics(self) -> ConnectorStatistics:
        """Return the counts of this moment."""
        tally = self._tally
        return ConnectorStatistics(
            linked=self.connected,
            connections=tally.connections,
            accepted=tally.accepted,
            sent=tally.accepted,
            sanitized=tally.sanitized,
            received=tally.received,
            delivered=tally.delivered,
            discarded=MappingProxyType(dict(tally.discarded)),
        )

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.disconnect()

    def __repr__(self) -> str:
        state = "connected" if self.connected else "not connected"
        tally = self._tally
        return (
            f"<LocalConnector {state}, {len(self._subscriptions)} subscriptions, "
            f"{tally.accepted} sent, {tally.received} received>"
        )

    def _own_session(self, operation: str) -> Session | None:
        """Return the session, if the caller is on its loop.

        :raises WrongThreadError: if the caller is elsewhere.
        """
        session = self._session
        if session is None or session.loop.is_closed():
            return None
        if not session.on_its_loop():
            raise WrongThreadError(operation)
        return session

    def _begin(self, session: Session, subscription: LocalSubscription) -> None:
        session.start(subscription)
        self._hub.attach(session, subscription, (subscription.topic,))

    def _detach(self) -> None:
        session, self._session = self._session, None
        if session is None:
            return
        for subscription in self._subscriptions:
            self._hub.detach(session, subscription, (subscription.topic,))
        for watch, filters in self._watches.items():
            self._hub.detach(session, watch, filters)

    def _unsubscribe(self, subscription: LocalSubscription) -> None:
        if subscription not in self._subscriptions:
            return
        del self._subscriptions[subscription]
        if self._session is not None:
            self._hub.detach(self._session, subscription, (subscription.topic,))

    def _unwatch(self, watch: LocalWatch) -> None:
        filters = self._watches.pop(watch, None)
        if filters is not None and self._session is not None:
            self._hub.detach(self._session, watch, filters)

    def _warn_once(self) -> None:
        if not self._warned:
            self._warned = True
            logger.warning("nothing is sent: publish was called before connect")


def _check_filter(topic_filter: str) -> None:
    check_filter(topic_filter)
    if topic_filter.startswith("$share/"):
        raise InvalidTopicError(topic_filter, "is a shared subscription, which needs a broker")
