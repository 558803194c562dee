"""Internals of aiomqtt and paho that the connector uses or patches: these tests fail when they change there."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
from typing import Any
from unittest.mock import MagicMock

import aiomqtt
import pytest
from paho.mqtt.client import MQTTMessage
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.exception import MalformedPacket
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from pytest_mock import MockerFixture

from cascade.connectors.mqtt import MqttConnector, config
from cascade.connectors.mqtt._aiomqtt_client import AiomqttClient
from cascade.connectors.mqtt._aiomqtt_internals import MAX_PACKET, Aiomqtt2, internals_of
from cascade.connectors.mqtt._link import MqttLink
from cascade.connectors.mqtt._reader import DuplicateFilter
from cascade.interfaces import ConnectorUnavailable, Message
from cascade.transport.incoming.dispatcher import Dispatcher
from cascade.transport.incoming.message import DeliveryCounts
from cascade.transport.incoming.watches import WatchQueue
from cascade.transport.link import LinkParts
from cascade.transport.outbox import Outbox
from cascade.transport.presence import Presence
from cascade.transport.state_log import QuietLogger, StateLog

V5 = aiomqtt.ProtocolVersion.V5


def _ignore(*_: object) -> None:
    """Do nothing."""


def delivery() -> DeliveryCounts:
    return DeliveryCounts(logging.getLogger("cascade.connectors.mqtt"))


def guarded(client: aiomqtt.Client, logger: QuietLogger, given: dict[str, Any] | None = None) -> Aiomqtt2:
    """Prepare a client as the adapter does."""
    internals = internals_of(client, given or {})
    assert isinstance(internals, Aiomqtt2)
    internals.prepare(connect_timeout=1.5, window=400, logger=logger, rejected=_ignore, undecodable=_ignore)
    internals.set_answer_timeout(2.5)
    return internals


def link_of(client: aiomqtt.Client, dispatcher: Dispatcher) -> MqttLink:
    """Return a link of an unnamed connector."""
    log, settings = logging.getLogger("cascade"), config.settings("broker", 1883, {}, known=())
    return MqttLink(
        AiomqttClient(
            client,
            given={},
            connect_timeout=1.0,
            window=400,
            undecodable=_ignore,
            logger=QuietLogger(logging.getLogger("mqtt")),
        ),
        LinkParts(
            settings=settings,
            outbox=Outbox(max_messages=1, max_bytes=1),
            dispatcher=dispatcher,
            presence=Presence("s", named=False),
            state=StateLog(log),
            released=asyncio.Event(),
            first_reports=dict,
            on_settled=lambda: None,
            log=log,
        ),
        settings=settings,
        duplicates=DuplicateFilter(lambda: 0.0),
    )


class TestGuard:
    """What is done round a client of aiomqtt: these fail when aiomqtt changes there."""

    async def test_the_defaults_are_set(self) -> None:
        """keepalive, TCP_NODELAY, time limits and the threshold of a warning."""
        client = aiomqtt.Client("broker")
        logger = QuietLogger(logging.getLogger("mqtt"))
        known = {
            name: getattr(client, name) for name in ("_keepalive", "_socket_options", "_logger", "timeout")
        }
        assert known["_keepalive"] == 60
        internals = guarded(client, logger)
        assert client._keepalive == 15
        assert client._socket_options == ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)
        assert client._client.connect_timeout == 1.5
        assert client.timeout == 2.5
        assert client.pending_calls_threshold > 400
        assert client._client.max_inflight_messages == 400
        assert client._properties is None
        put: object = client._client.logger
        assert put is logger
        internals.on_lost(lambda _: None)
        assert client.timeout == math.inf

    async def test_a_broker_of_mqtt_5_may_not_send_huge_packets(self) -> None:
        """CONNECT states the Maximum Packet Size, so that no retained message fills the memory."""
        client = aiomqtt.Client("broker", protocol=V5)
        guarded(client, QuietLogger(logging.getLogger("mqtt")))
        properties: Any = client._properties
        assert properties.MaximumPacketSize == MAX_PACKET

    async def test_row_11_a_refused_publication_is_told(self) -> None:
        """MQTT 5 says so in the answer, which aiomqtt does not check at; 3.1.1 has no word for it."""
        told: list[int] = []
        client = aiomqtt.Client("broker", protocol=aiomqtt.ProtocolVersion.V5)
        Aiomqtt2(client, {}).prepare(
            connect_timeout=1.0,
            window=400,
            logger=MagicMock(),
            rejected=told.append,
            undecodable=_ignore,
        )
        answered = client._pending_publishes[7] = asyncio.Event()
        for reason in ("Success", "No matching subscribers", "Not authorized"):
            answer: Any = client._client.on_publish
            answer(client._client, None, 7, ReasonCode(PacketTypes.PUBACK, reason), None)
        assert answered.is_set()
        assert told == [135]

    @pytest.mark.parametrize("packet", [b"\x00\x07", b"\x00\x08", b"\x00", b"\x00\x07\x10"])
    async def test_an_acknowledgement_of_mqtt_3_is_taken_as_paho_takes_it(self, packet: bytes) -> None:
        """Also one of another message, and one that is malformed."""
        seen = []
        for quick in (False, True):
            client = aiomqtt.Client("broker", max_inflight_messages=1)
            paho: Any = client._client
            if quick:
                guarded(client, QuietLogger(logging.getLogger("mqtt")))
            message = MQTTMessage(7)
            message.qos = 1
            paho._out_messages[7], paho._inflight_messages = message, 1
            answered = client._pending_publishes[7] = asyncio.Event()
            paho._in_packet |= {"command": 0x40, "packet": bytearray(packet)}
            try:
                outcome: object = paho._handle_pubackcomp("PUBACK")
            except MalformedPacket:
                outcome = MalformedPacket
            seen.append((outcome, answered.is_set(), [*paho._out_messages], paho._inflight_messages))
        assert seen[0] == seen[1]

    async def test_a_peer_that_hangs_up_before_it_answers_is_told_at_once(self) -> None:
        """aiomqtt would wait its whole time-out for a CONNACK that cannot come."""
        client = aiomqtt.Client("broker")
        logger, trouble = QuietLogger(logging.getLogger("mqtt")), ConnectionResetError()
        guarded(client, logger)
        logger.error("failed to receive on socket: %s", trouble)
        client._client._do_on_disconnect(packet_from_broker=False, v1_rc=MQTTErrorCode.MQTT_ERR_CONN_LOST)
        with pytest.raises(aiomqtt.MqttError, match="before a broker answered") as caught:
            await client._connected
        assert caught.value.__cause__ is trouble
        assert not client._disconnected.done()

    async def test_a_link_that_went_before_anybody_looked_is_told(self) -> None:
        """aiomqtt forgets a disconnection that comes with the CONNACK."""
        told: list[BaseException | None] = []
        client = aiomqtt.Client("broker")
        internals = Aiomqtt2(client, {})
        internals.on_lost(told.append)
        assert isinstance(told[0], ConnectionResetError)
        internals.close()

    async def test_a_client_is_closed_whatever_it_does(self) -> None:
        """The socket, the task that keeps the link alive and every waiting call."""
        client = aiomqtt.Client("broker")
        ours, theirs = socket.socketpair()
        client._client._sock = ours
        internals = Aiomqtt2(client, {})
        internals._service._begin()
        (upkeep,) = (each for each in asyncio.all_tasks() if each.get_name() == "cascade-mqtt-upkeep")
        internals.close()
        assert ours.fileno() == -1
        with pytest.raises(asyncio.CancelledError):
            await upkeep
        assert client._disconnected.done()
        theirs.close()

    async def test_what_was_acknowledged_is_delivered_although_the_link_is_gone(self) -> None:
        """aiomqtt's iterator raises and leaves it in its queue; the broker will not send it again."""
        client, dispatcher = aiomqtt.Client("broker"), Dispatcher(delivery())
        stream = WatchQueue(["a"], dispatcher.delivery)
        dispatcher.add(stream)
        link = link_of(client, dispatcher)
        plain, expiring = Properties(PacketTypes.PUBLISH), Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        expiring.MessageExpiryInterval = 7
        for payload, properties in ((b"1", None), (b"2", expiring), (b"3", plain)):
            client._queue.put_nowait(aiomqtt.Message("a", payload, 1, False, 1, properties))
        await link.stop()
        assert await stream.next() == Message("a", b"1", retain=False)
        assert await stream.next() == Message("a", b"2", retain=False, expires_in=7.0)
        assert await stream.next() == Message("a", b"3", retain=False)
        Aiomqtt2(client, {}).close()

    async def test_a_mock_is_left_alone(self) -> None:
        """Nothing is set on it and nothing is called."""
        mock = MagicMock()
        internals = internals_of(mock, {})
        internals.prepare(
            connect_timeout=1.0, window=400, logger=MagicMock(), rejected=_ignore, undecodable=_ignore
        )
        internals.set_answer_timeout(2.5)
        internals.on_lost(MagicMock())
        internals.ignore_answers()
        internals.close()
        internals.discard(OSError())
        internals.close_in_child()
        assert not internals.complete
        assert internals.why_lost() is None
        assert list(internals.arrived()) == []
        assert mock.mock_calls == []

    def test_the_library_says_each_thing_once_per_state(self, caplog: pytest.LogCaptureFixture) -> None:
        """Until the state changes."""
        logger = QuietLogger(logging.getLogger("mqtt"))
        for _ in range(3):
            logger.warning("failed to receive on socket: %s", "reason")
        logger.reset()
        logger.warning("failed to receive on socket: %s", "reason")
        assert len(caplog.records) == 2


async def test_a_loop_that_cannot_watch_sockets_is_told_with_the_remedy(
    mocker: MockerFixture, caplog: pytest.LogCaptureFixture
) -> None:
    """Windows' Proactor loop: one warning, and the run goes on; a tool gets an error."""
    mocker.patch.object(type(asyncio.get_running_loop()), "add_reader", asyncio.AbstractEventLoop.add_reader)
    connector = MqttConnector("broker")
    await connector.connect()
    await connector.publish("a", {})
    (said,) = [each.getMessage() for each in caplog.records]
    assert "SelectorEventLoop" in said
    with pytest.raises(ConnectorUnavailable, match="SelectorEventLoop"):
        await MqttConnector("broker", required=True).connect()
