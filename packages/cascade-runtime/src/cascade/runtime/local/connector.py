"""The connector's contract inside one process: for notebooks, examples and tests.

Connectors with the same :class:`LocalHub` receive each other's messages, also across threads and
event loops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType, TracebackType
from typing import Self

from cascade.interfaces import (
    ConnectorStatistics,
    Delivery,
    InvalidPayloadError,
    Lost,
    MessageCallback,
    Payload,
    ReplyTo,
    Subscription,
)
from cascade.interfaces.logs import get_logger
from cascade.interfaces.topics import check_topic
from cascade.interfaces.wire import default_source, encode_payload
from cascade.runtime.local._hub import LocalHub, Session
from cascade.transport.event_loop import check_loop
from cascade.transport.incoming import message
from cascade.transport.incoming.dispatcher import Dispatcher, Subscriptions
from cascade.transport.incoming.watches import Watch
from cascade.transport.lifecycle import BeforeDisconnect
from cascade.transport.state_log import StateLog

__all__ = ["LocalConnector", "LocalHub"]

logger = get_logger(__name__)

_DRAIN_SECONDS = 1.0


class LocalConnector:
    """A connector to a hub in this process, with retained messages, wildcards and order as with a broker.

    It has every ability: ``publish_nowait``, ``deliver_nowait``, ``watch``, ``answer_nowait``, ``send_nowait``, ``flush``, ``statistics``,
    ``connected``, ``source_id``. QoS makes no difference, because nothing is lost on the way.
    ``disconnect`` lets callbacks finish what has arrived, for up to a second.

    :param hub: the hub to share with other connectors; the default is a new one.
    :param source_id: the name of this connector; the default is ``{host}-{pid}``.
    """

    def __init__(self, hub: LocalHub | None = None, *, source_id: str | None = None) -> None:
        self._hub = hub or LocalHub()
        self._source_id = source_id or default_source()
        self._session: Session | None = None
        # A callback's failure is logged each time that it begins: it has no network that comes and goes.
        self._dispatcher = Dispatcher(message.DeliveryCounts(logger, quiet=0.0))
        self._subscriptions = Subscriptions(self._dispatcher, self._open_session)
        self._before_disconnect = BeforeDisconnect(logger)
        self._state = StateLog(logger)
        self._connections = self._accepted = self._sanitized = 0

    @property
    def connected(self) -> bool:
        """True from the call of ``connect`` to the call of ``disconnect``."""
        return self._session is not None

    @property
    def hub(self) -> LocalHub:
        """The hub that stands for the broker."""
        return self._hub

    @property
    def source_id(self) -> str:
        """The ``source`` of every message."""
        return self._source_id

    @property
    def presence(self) -> str | None:
        """None: in one process, nobody has to be shown that it is there."""
        return None

    async def connect(self) -> None:
        """Attach to the hub; do nothing when attached. Retained messages are delivered again."""
        if self._open_session() is not None:
            self._own_session("connect")
            return
        self._detach()
        self._session = session = Session(self._hub, self._dispatcher)
        self._connections += 1
        self._state.reset()
        self._dispatcher.begin()
        session.attach_all()

    async def disconnect(self) -> None:
        """Wait until callbacks have processed what has arrived, at most a second, then leave. Idempotent."""
        session = self._own_session("disconnect")
        if session is not None:
            self._before_disconnect.call()
        self._detach()
        if session is None:
            return
        try:
            await session.leave(timeout=_DRAIN_SECONDS)
        finally:
            for queue in self._dispatcher.watches():
                queue.note(Lost("disconnected"))

    def before_disconnect(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call ``callback()`` when ``disconnect`` begins; what it publishes is delivered. Return how to stop that."""
        return self._before_disconnect.add(callback)

    async def publish(self, topic: str, payload: Payload, qos: int = 0, *, retain: bool = False) -> None:
        """Deliver one message, as it is now, to all subscribers; see ``Connector.publish``."""
        self.publish_nowait(topic, payload, qos, retain=retain)

    def publish_nowait(self, topic: str, payload: Payload, qos: int = 0, *, retain: bool = False) -> None:
        """Do what ``publish`` does, without being awaited.

        :raises WrongThreadError: if called from another thread than that of the event loop.
        """
        check_topic(topic)
        if payload is not None and not isinstance(payload, Mapping):
            raise InvalidPayloadError(topic, payload)
        if self._own_session("publish") is None:
            self._state.failed("publish", "nothing is sent: publish was called before connect")
            return
        text, replaced = encode_payload(payload)
        self._sanitized += bool(replaced)
        self._send(topic, text, retain=retain)

    def answer_nowait(self, reply_to: ReplyTo, payload: Payload) -> None:
        """Deliver an answer to those who listen where a request expects it; see ``SupportsReplies``.

        :raises WrongThreadError: if called from another thread than that of the event loop.
        """
        self.publish_nowait(reply_to.topic, payload)

    def send_nowait(self, topic: str, payload: Payload, *, retain: bool = False) -> bool:
        """Deliver one message and return True; return False if not connected. See ``SupportsSendNow``.

        :raises WrongThreadError: if called from another thread than that of the event loop.
        """
        check_topic(topic)
        if self._own_session("send_nowait") is None:
            return False
        self.publish_nowait(topic, payload, retain=retain)
        return True

    def deliver_nowait(
        self, topic: str, payload: str, qos: int = 1, *, settled: Callable[[Delivery], None]
    ) -> None:
        """Deliver the JSON object in ``payload`` to all subscribers; it is settled before this returns.

        :raises WrongThreadError: if called from another thread than that of the event loop.
        """
        check_topic(topic)
        linked = self._own_session("deliver_nowait") is not None
        if linked:
            self._send(topic, payload, retain=False)
        settled(Delivery.TAKEN if linked else Delivery.RETURNED)

    async def subscribe(self, topic: str, callback: MessageCallback, qos: int = 0) -> Subscription:
        """Call ``await callback(topic, data)`` for each message; see ``Connector.subscribe``.

        :raises InvalidTopicError: if the filter is not valid, or is a shared one (``$share/...``).
        """
        self._own_session("subscribe")
        return await self._subscriptions.subscribe(topic, callback, qos)

    def watch(self, *filters: str) -> Watch:
        """Yield what arrives for all filters, undecoded, in one order; see ``SupportsWatch.watch``.

        Messages are queued from this call on, not only from the first item that is read.

        :raises InvalidTopicError: as for ``subscribe``.
        """
        self._own_session("watch")
        return self._subscriptions.watch(filters)

    async def flush(self, timeout: float | None = None) -> bool:
        """Return True: ``publish`` delivers at once."""
        return True

    def statistics(self) -> ConnectorStatistics:
        """Return the counts of this moment."""
        delivery = self._dispatcher.delivery
        return ConnectorStatistics(
            linked=self.connected,
            connections=self._connections,
            accepted=self._accepted,
            sent=self._accepted,
            sanitized=self._sanitized,
            received=delivery.received,
            delivered=delivery.delivered,
            discarded=MappingProxyType(dict(delivery.discarded)),
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
        return (
            f"<LocalConnector {state}, {len(self._dispatcher.callbacks())} subscriptions, "
            f"{self._accepted} sent, {self._dispatcher.delivery.received} received>"
        )

    def _send(self, topic: str, text: str, *, retain: bool) -> None:
        self._accepted += 1
        self._hub.publish(topic, text.encode("utf-8", "surrogatepass"), retain=retain)

    def _open_session(self) -> Session | None:
        """Return the session, unless its loop was closed without a disconnect."""
        session = self._session
        return None if session is None or session.loop.is_closed() else session

    def _own_session(self, operation: str) -> Session | None:
        """Return the session, if the caller is on its loop.

        :raises WrongThreadError: if the caller is on another loop or in another thread.
        """
        session = self._open_session()
        if session is not None:
            check_loop(operation, session.loop)
        return session

    def _detach(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.detach_all()
