"""``MqttConnector``: joins an engine, a tool or any asyncio program to an MQTT broker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Self

try:
    import aiomqtt
except ImportError:  # the constructor raises, and says what to install
    aiomqtt = None  # type: ignore[assignment]

from cascade.connectors.mqtt import config
from cascade.connectors.mqtt._aiomqtt_client import (
    AiomqttClient,
    client_id_keyword,
    client_keywords,
    is_client,
    protocol_version,
)
from cascade.connectors.mqtt._aiomqtt_internals import LOGGER
from cascade.connectors.mqtt._link import MqttLink
from cascade.connectors.mqtt._reader import DuplicateFilter
from cascade.connectors.mqtt._unsettled import MOST
from cascade.connectors.mqtt.config import Settings
from cascade.interfaces.connector import Payload
from cascade.interfaces.distribution import install_line
from cascade.interfaces.errors import ConfigurationError
from cascade.interfaces.topics import request_filters
from cascade.interfaces.watch import ReplyTo
from cascade.transport.connector import NetworkConnector
from cascade.transport.credentials import warn_of_plain_password
from cascade.transport.event_loop import NO_SOCKETS, watches_sockets
from cascade.transport.faults import Fault
from cascade.transport.incoming.dispatcher import Dispatcher
from cascade.transport.incoming.message import UNDECODABLE, DeliveryCounts
from cascade.transport.link import LinkParts
from cascade.transport.presence import new_nonce
from cascade.transport.retained_proof.known_topics import Canary
from cascade.transport.retained_proof.retained_set import RetainedSet
from cascade.transport.session import Session
from cascade.transport.state_log import QuietLogger

log = config.NETWORK.log

_UNNAMED = "a user without a name"

_older_brokers: set[tuple[str, int]] = set()
"""Brokers with which MQTT 3.1.1 is used, by address: later connections of this process do not try MQTT 5 again."""
_slow_brokers: set[tuple[str, int]] = set()
"""The same for those that take MQTT 5, and few messages at a time with it."""


class MqttConnector(NetworkConnector):
    """A connector to one MQTT broker. Call all methods on the event loop on which ``connect`` was called.

    :param hostname: name or address of the broker.
    :param port: 1883, or usually 8883 with TLS.
    :param source_id: the name of this process, at most 64 bytes; the connector then publishes a
        retained birth and will. The default is host and process id, without any retained message.
    :param client_id: the MQTT client id; the ``source_id`` if that is given.
    :param presence: False for tools that watch or steer: no will, no birth.
    :param connect_timeout: seconds after which ``connect`` returns, with or without a link.
    :param required: raise ``ConnectorUnavailable`` from ``connect`` if it has no link by then.
    :param outbox_messages: number of messages that may wait; beyond it the oldest are dropped and counted.
    :param outbox_bytes: number of bytes of messages that may wait.
    :param drain_timeout: seconds for which ``disconnect`` sends waiting messages.
    :param window: number of messages that may be in flight on a distant link; it is 20 at first and grows
        while the round trip delays messages. With MQTT 5 the broker's Receive Maximum limits it, too.
    :param keywords: further keywords of ``aiomqtt.Client``, such as ``username`` or ``tls_context``.
    :raises ConfigurationError: if a setting cannot work; the message says what to write instead.
    :raises ImportError: if aiomqtt is not installed.
    """

    def __init__(self, hostname: str, port: int = 1883, **keywords: Any) -> None:
        if aiomqtt is None:
            raise ImportError(f"MqttConnector needs aiomqtt: {install_line('mqtt')}")
        settings = config.settings(hostname, port, keywords, known=client_keywords())
        self._duplicates = DuplicateFilter(time.monotonic)
        dispatcher = Dispatcher(
            DeliveryCounts(log), filter_added=self._duplicates.add, filter_removed=self._duplicates.remove
        )
        self._canary = Canary()
        self._client_logger = QuietLogger(LOGGER)
        self._mqtt: Settings = settings
        self._stored: Callable[[], Awaitable[None]] | None = None
        super().__init__(settings, dispatcher, shared=True, log=log)

    @classmethod
    def from_url(cls, url: str, **keywords: Any) -> Self:
        """Return a connector for ``mqtt://user:password@host:1883``, or ``mqtts://`` for TLS.

        ``?source_id=press-line-3`` names the process, else the environment variable ``CASCADE_SOURCE_ID``
        does. User, password and name may be percent-encoded. A user without a password gets the one in
        the environment variable ``CASCADE_MQTT_PASSWORD``, or in the file that
        ``CASCADE_MQTT_PASSWORD_FILE`` names.

        :raises ConfigurationError: if the URL cannot be understood.
        """
        hostname, port, keywords = config.from_url(url, keywords)
        return cls(hostname, port, **keywords)

    @property
    def _client(self) -> Any:
        link = self._link
        return link.client.native if isinstance(link, MqttLink) else None

    def keep(self, name: str, stored: Callable[[], Awaitable[None]]) -> None:
        """Have the broker keep a session of this name, and acknowledge what is stored; see ``SupportsKeep``.

        With MQTT 5 the broker keeps it for 8 days without a link; with 3.1.1 as long as its configuration says.

        :param name: the client id, unless the connector has one or a name. Who knows it can read or end the session:
            make it random.
        """
        self._mqtt.client_id = self._mqtt.client_id or (None if self._settings.named else name)
        self._stored = stored
        self.expect_backlog(max(self._dispatcher.delivery.most or 0, 2 * MOST))

    def answer_nowait(self, reply_to: ReplyTo, payload: Payload) -> None:
        """Answer a request that came with MQTT 5, with its correlation data; see ``SupportsReplies``.

        :raises WrongThreadError: if called from another thread than the loop's.
        """
        self._answer(reply_to, payload)

    def send_nowait(self, topic: str, payload: Payload, *, retain: bool = False) -> bool:
        """Send a message on the present link or never; return whether there is one. See ``SupportsSendNow``.

        The broker decides whether everybody gets the messages of a topic in one order: mosquitto does.

        :raises WrongThreadError: if called from another thread than the loop's.
        """
        return self._send_now(topic, payload, retain=retain)

    def problem_of(self, loop: asyncio.AbstractEventLoop) -> str:
        return "" if watches_sockets(loop) else NO_SOCKETS

    def explain(self, exc: BaseException | None) -> Fault:
        # most programs reach their broker
        from cascade.connectors.mqtt import _errors

        if exc is None:
            return _errors.silent("the connection", tls=self._mqtt.tls)
        return _errors.explain(exc, tls=self._mqtt.tls, lacks=self._mqtt.lacks)

    def make_client(self) -> AiomqttClient:
        """Return the client of one attempt. These are the only keywords that aiomqtt gets."""
        if self._mqtt.client.get("password") is not None and not self._mqtt.tls:
            warn_of_plain_password(log, self.hostname)
        keywords: dict[str, Any] = {"hostname": self.hostname, "port": self.port}
        will = self._presence.begin()
        if self._settings.presence:
            keywords["will"] = aiomqtt.Will(**will)
        client_id = self._mqtt.client_id
        if client_id is None and self._settings.named and "identifier" not in self._mqtt.client:
            client_id = self._source_id
        if client_id is not None:
            keywords[client_id_keyword(aiomqtt)] = client_id

        def context(**version: Any) -> Any:
            session = self._kept_session(newer=bool(version))
            return aiomqtt.Client(**keywords, **{**session, **self._mqtt.client}, **version)

        newer = self._newer_version()
        return AiomqttClient(
            context(**newer),
            given=self._mqtt.client,
            connect_timeout=self._settings.connect_timeout,
            window=self._mqtt.in_flight_limit,
            undecodable=self._discard_undecodable,
            logger=self._client_logger,
            kept=self._stored is not None,
            may_be_slow=self._needs_newer,
            older=context if newer else None,
            on_older=self._note_older,
        )

    def _kept_session(self, *, newer: bool) -> dict[str, bool]:
        """Return the keyword with which the broker continues a session: MQTT 5 has another one."""
        if self._stored is None:
            return {}
        newer = newer or self._mqtt.client.get("protocol") == protocol_version("5")
        return {"clean_start" if newer else "clean_session": False}

    def _newer_version(self) -> dict[str, Any]:
        """Return the keyword of MQTT 5 for a process with a name or a session: it limits what the broker may send.

        Empty if the user has chosen, or the broker is known not to take it. The user's time limit may be too long for
        a broker that stays silent.
        """
        decided = {"protocol", "clean_session", "timeout"} & self._mqtt.client.keys()
        address = self.hostname, self.port
        known = address in _older_brokers or (address in _slow_brokers and not self._needs_newer)
        wanted = self._settings.named or self._stored is not None
        if not wanted or decided or known or not is_client(aiomqtt.Client):
            return {}
        return {"protocol": protocol_version("5")}

    @property
    def _needs_newer(self) -> bool:
        """Whether MQTT 5 counts for more than how many messages the broker takes at a time.

        A reader that stores what it gets needs the larger window that only MQTT 5 can ask for, and sends little. A service
        needs the topics of answers that requests have, and sees which requests are retained.
        """
        own, _ = request_filters(self._source_id)
        return self._stored is not None or self._dispatcher.has(own)

    def _note_older(self, too_slow: tuple[int, float] | None) -> None:
        """Remember a broker for which MQTT 3.1.1 is the better choice.

        :param too_slow: its Receive Maximum and the round trip in seconds, if it takes MQTT 5.
        """
        brokers = _older_brokers if too_slow is None else _slow_brokers
        brokers.add((self.hostname, self.port))
        if too_slow is not None:
            most, seconds = too_slow
            log.info(
                "%s:%d takes %d messages at a time with MQTT 5, too few for a round trip of %.0f ms: MQTT 3.1.1 is used, "
                "which does not limit what the broker sends; set max_inflight_messages 400 there",
                self.hostname, self.port, most, seconds * 1000,
            )  # fmt: skip

    def make_link(self, client: AiomqttClient, parts: LinkParts) -> MqttLink:
        return MqttLink(client, parts, settings=self._mqtt, duplicates=self._duplicates, stored=self._stored)

    def make_session(self) -> Session[Any]:
        try:
            session = super().make_session()
        except (TypeError, ValueError, AttributeError) as exc:
            raise ConfigurationError("MqttConnector", f"aiomqtt refuses its keywords: {exc}") from exc
        self._client_logger.reset()
        return session

    def new_retained_set(self, filters: Sequence[str]) -> RetainedSet:
        """Return what finds out when the retained set of a watch is complete.

        A process without a name must leave nothing retained, so it has no canary. Its sync topics are those
        of its user, which an access list can permit; without a user each watch has random ones, and no
        other process, also not one of the same host and pid, answers it.
        """
        named = self._settings.named
        return RetainedSet(
            filters,
            source=self._source_id if named else self._mqtt.user or new_nonce(),
            canary=self._canary if named else None,
            new_nonce=new_nonce,
        )

    def _discard_undecodable(self) -> None:
        self._dispatcher.delivery.discarded[UNDECODABLE] += 1
        self._warn_once(
            UNDECODABLE,
            "messages are discarded: their topics are not UTF-8, or have a + or # (RabbitMQ writes + for *); check who sends them",
        )

    def note_linked(self) -> None:
        super().note_linked()
        self._client_logger.reset()
        if self._settings.presence and not self._settings.named and (user := self._mqtt.user):
            # access lists know an engine by its user, and deny the reports of any other name
            self._warn_once(
                _UNNAMED, f"this process has logged in as {user!r} and has no name; pass source_id={user!r}"
            )
