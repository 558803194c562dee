"""``MqttConnector``: joins an engine, a tool or any asyncio program to an MQTT broker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

try:
    import aiomqtt
except ImportError:  # the constructor says what to install
    aiomqtt = None  # type: ignore[assignment]

from cascade.connectors.mqtt import _aiomqtt, _platform, config
from cascade.connectors.mqtt._complaints import Complaints
from cascade.connectors.mqtt._content import Copier
from cascade.connectors.mqtt._dispatch import Dispatcher
from cascade.connectors.mqtt._life import Life
from cascade.connectors.mqtt._listeners import CallbackListener
from cascade.connectors.mqtt._listening import Listening
from cascade.connectors.mqtt._outbox import FORKED, NOT_CONNECTED, Outbox
from cascade.connectors.mqtt._presence import Presence
from cascade.connectors.mqtt._session import Session
from cascade.connectors.mqtt._watch import MqttWatch
from cascade.connectors.mqtt.config import QOS
from cascade.interfaces.errors import ConnectorUnavailable, InvalidPayloadError
from cascade.interfaces.protocols import MessageCallback, Payload, Subscription
from cascade.interfaces.stream import ConnectorStatistics
from cascade.interfaces.topics import check_topic
from cascade.interfaces.wire import default_source, encode_payload

log = logging.getLogger("cascade.connectors.mqtt")

_MISSING = 'MqttConnector needs aiomqtt: pip install "cascade-py[mqtt]"'


class MqttConnector:
    """A connector to one MQTT broker. All methods belong to the loop that ``connect`` was called on.

    :param hostname: name or address of the broker.
    :param port: 1883, or usually 8883 with TLS.
    :param source_id: the name of this process, at most 64 bytes: it is then announced with a
        retained birth and will. Left out, it is host and process id, and nothing stays behind.
    :param client_id: the MQTT client id; the ``source_id`` if that is given.
    :param presence: False for tools that watch or steer: no will, no birth.
    :param connect_timeout: seconds after which ``connect`` returns, link or no link.
    :param required: raise ``ConnectorUnavailable`` from ``connect`` if there is no link then.
    :param outbox_messages: how many messages wait at most; the oldest are dropped and counted.
    :param outbox_bytes: how many bytes of messages wait at most.
    :param drain_timeout: seconds that ``disconnect`` may spend on sending what waits.
    :param keywords: further keywords of ``aiomqtt.Client``, such as ``username`` or ``tls_context``.
    :raises ConfigurationError: if a setting cannot work; the message says what to write instead.
    :raises ImportError: if aiomqtt is not installed.
    """

    def __init__(self, hostname: str, port: int = 1883, **keywords: Any) -> None:
        if aiomqtt is None:
            raise ImportError(_MISSING)
        self._settings = config.settings(hostname, port, keywords, known=_aiomqtt.client_keywords())
        self._source_id = self._settings.source_id or default_source()
        self._outbox = Outbox(
            max_messages=self._settings.outbox_messages, max_bytes=self._settings.outbox_bytes
        )
        self._copier = Copier()
        self._dispatcher = Dispatcher()
        self._presence = Presence(self._source_id, named=self._settings.named)
        self._life = Life(self._settings)
        self._listening = Listening(self._dispatcher, self._life)
        self._complaints = Complaints(f"{self.hostname}:{self.port}")
        self._forked = False
        if self._settings.named:
            self._dispatcher.add(
                CallbackListener(self._presence.topic, self._hear_presence, 1, self._dispatcher.counts)
            )
        _platform.silence_in_children(self)

    @classmethod
    def from_url(cls, url: str, **keywords: Any) -> Self:
        """Make a connector from ``mqtt://user:password@host:1883``, or ``mqtts://`` for TLS.

        User and password may be percent-encoded. A user without a password gets the one in
        the environment variable ``CASCADE_MQTT_PASSWORD``, or in the file that
        ``CASCADE_MQTT_PASSWORD_FILE`` names.

        :raises ConfigurationError: if the URL cannot be understood.
        """
        hostname, port, keywords = config.from_url(url, keywords)
        return cls(hostname, port, **keywords)

    @property
    def hostname(self) -> str:
        """Name or address of the broker."""
        return self._settings.hostname

    @property
    def port(self) -> int:
        """Port of the broker."""
        return self._settings.port

    @property
    def source_id(self) -> str:
        """The name of this process in every message."""
        return self._source_id

    @property
    def required(self) -> bool:
        """Whether ``connect`` raises when there is no link."""
        return self._settings.required

    @property
    def connected(self) -> bool:
        """True from the call of ``connect`` to the call of ``disconnect``, link or no link."""
        return self._life.session is not None

    async def connect(self) -> None:
        """Link to the broker, or begin to; do nothing when already connected.

        Returns within ``connect_timeout``; without a link it has said why in one warning, and
        goes on trying in the background.

        :raises ConnectorUnavailable: only with ``required=True``.
        :raises ConfigurationError: if ``aiomqtt.Client`` refuses its keywords.
        """
        if self._forked:
            self._complaints.say(
                FORKED, "this process was forked off; its copy of the connector does nothing"
            )
            return
        await self._life.settle()
        if self._life.session is not None:
            return
        if _platform.watches_sockets(asyncio.get_running_loop()):
            await self._life.begin(self._make_session)
        else:
            self._no_loop()

    async def disconnect(self) -> None:
        """Send what waits, for at most ``drain_timeout``, and leave. Twice is harmless."""
        await self._life.end()

    async def publish(self, topic: str, payload: Payload, qos: int = 0, *, retain: bool = False) -> None:
        """Hand one message over as it is now, and return at once.

        :raises InvalidTopicError: if nothing can be published to the topic.
        :raises InvalidPayloadError: if the payload is neither a mapping nor None.
        :raises WrongThreadError: if called on another loop than ``connect``.
        """
        session = self._life.on_this_loop("publish")
        if session is None or not session.budget.spent():
            self._accept(session, topic, payload, qos, retain)
            return
        self._put_off(session, topic, payload, qos, retain)
        if session.budget.again():
            await asyncio.sleep(0)

    def publish_nowait(self, topic: str, payload: Payload, qos: int = 0, *, retain: bool = False) -> None:
        """Do what ``publish`` does from synchronous code on the event loop.

        :raises WrongThreadError: if called from another thread than the loop's.
        """
        self._accept(self._life.on_this_loop("publish"), topic, payload, qos, retain)

    def _put_off(self, session: Session, topic: str, payload: Payload, qos: int, retain: bool) -> None:
        """Accept a message whose JSON is made when it leaves; what came before it in this turn has woken senders."""
        copy = self._copier.copy(payload) if type(payload) is dict and qos in QOS else None
        if copy is None:
            self._accept(session, topic, payload, qos, retain)
        elif problem := self._outbox.accept(topic, copy, qos, retain):
            self._complaints.dropped(problem)

    def _accept(self, session: Session | None, topic: str, payload: Payload, qos: int, retain: bool) -> None:
        if session is not None:
            session.wake()  # also if this is refused below: what is put off in this turn wakes nobody
        if qos not in QOS:
            raise config.no_qos(qos)
        if type(payload) is not dict and payload is not None and not isinstance(payload, Mapping):
            raise InvalidPayloadError(check_topic(topic), payload)
        if session is None:
            self._refuse(topic)
            return
        text, replaced = encode_payload(payload)
        if problem := self._outbox.accept(topic, text, qos, retain):
            self._complaints.dropped(problem)
        self._outbox.sanitized += replaced > 0

    async def subscribe(self, topic: str, callback: MessageCallback, qos: int = 0) -> Subscription:
        """Call ``await callback(topic, data)`` for each message that matches the filter ``topic``.

        :raises InvalidTopicError: if the filter is not valid.
        """
        return await self._listening.subscribe(topic, callback, qos)

    def watch(self, *filters: str) -> MqttWatch:
        """Yield what arrives for all filters, undecoded, in one order; see ``SupportsWatch``.

        :raises InvalidTopicError: if a filter is not valid.
        """
        return self._listening.watch(filters)

    async def flush(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds; return whether all that was accepted before is sent or dropped."""
        session = self._life.on_this_loop("flush")
        return session is None or await session.progress.flush(timeout)

    def statistics(self) -> ConnectorStatistics:
        """Return the counts of this moment."""
        session, outbox, incoming = self._life.session, self._outbox, self._dispatcher.counts
        return ConnectorStatistics(
            linked=session is not None and session.linked,
            connections=self._life.connections,
            accepted=outbox.accepted,
            sent=outbox.sent,
            pending=outbox.pending,
            dropped={reason: count for reason, count in outbox.dropped.items() if count},
            sanitized=self._outbox.sanitized,
            received=incoming.received,
            delivered=incoming.delivered,
            discarded=dict(incoming.discarded),
        )

    async def __aenter__(self) -> Self:
        """Connect."""
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        await self.disconnect()

    def __repr__(self) -> str:
        counts = self.statistics()
        state = "linked" if counts.linked else "connecting" if self.connected else "disconnected"
        return (
            f"<MqttConnector {self.hostname}:{self.port} {state}, {counts.sent} sent, "
            f"{counts.pending} pending, {sum(counts.dropped.values())} dropped, {counts.received} received>"
        )

    @property
    def _client(self) -> Any:
        session = self._life.session
        return session.link.client if session is not None and session.link is not None else None

    def _make_client(self) -> Any:
        """Make the client of one attempt: nothing is said to aiomqtt beyond this."""
        keywords: dict[str, Any] = {"hostname": self.hostname, "port": self.port}
        if self._settings.presence:
            keywords["will"] = aiomqtt.Will(**self._presence.begin())
        client_id = self._settings.client_id
        if client_id is None and self._settings.named and "identifier" not in self._settings.client:
            client_id = self._source_id
        if client_id is not None:
            keywords[_aiomqtt.client_id_keyword(aiomqtt)] = client_id
        return aiomqtt.Client(**keywords, **self._settings.client)

    def _make_session(self) -> Session:
        session = Session(
            settings=self._settings,
            outbox=self._outbox,
            dispatcher=self._dispatcher,
            presence=self._presence,
            make_client=self._make_client,
        )
        self._complaints.renew()
        self._dispatcher.begin()
        return session

    async def _hear_presence(self, topic: str, message: dict[str, Any]) -> None:
        if (session := self._life.session) is not None:
            await session.hear_presence(topic, message)

    def _refuse(self, topic: str) -> None:
        check_topic(topic)
        reason = FORKED if self._forked else NOT_CONNECTED
        self._outbox.refuse(reason)
        self._complaints.say(
            reason, "nothing is sent: call connect() first, in the process that uses the connector"
        )

    def _no_loop(self) -> None:
        if self._settings.required:
            raise ConnectorUnavailable(self.hostname, self.port, _platform.NO_SOCKETS)
        self._complaints.say(NOT_CONNECTED, _platform.NO_SOCKETS)  # and not that connect() was not called

    def become_inert(self) -> None:
        """In a forked child: close the copy of the socket, and do nothing from here on."""
        self._forked = True
        self._complaints.renew()
        if (session := self._life.take()) is not None:
            session.die()
