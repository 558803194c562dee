"""What a client of aiomqtt is made with, and what the adapter round it passes on."""

from __future__ import annotations

import itertools
import json
import logging
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock, MagicMock

import aiomqtt
import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from cascade.connectors.mqtt import MqttConnector
from cascade.connectors.mqtt._aiomqtt_client import AiomqttClient
from cascade.connectors.mqtt._properties import of_answer
from cascade.interfaces import ReplyTo
from cascade.transport.faults import LinkLost, MessageTooLarge
from cascade.transport.outbox import Outgoing
from cascade.transport.state_log import QuietLogger

V5 = aiomqtt.ProtocolVersion.V5


def adapter(context: Any, **given: Any) -> AiomqttClient:
    made = AiomqttClient(
        context,
        given=given,
        connect_timeout=1.0,
        window=400,
        undecodable=lambda: None,
        logger=QuietLogger(logging.getLogger("mqtt")),
    )
    made.native = context
    return made


def packet_of(item: Outgoing) -> bytes:
    """Return the PUBLISH that paho writes for a message with MQTT 5."""
    packets: list[bytes] = []
    paho: Any = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    paho._sock = MagicMock()
    paho._packet_queue = lambda _command, packet, *_: packets.append(bytes(packet))
    properties = None if item.correlation is None else of_answer(item.correlation)
    paho._send_publish(1, item.topic.encode(), item.payload.encode(), item.qos, properties=properties)
    paho._sock = None
    (packet,) = packets
    return packet


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("topic", ["a", "größe/√"])
@pytest.mark.parametrize(
    ("near", "correlation"),
    [(128, None), (128, b""), (128, b"x" * 24), (16_384, None), (16_384, b"x" * 124), (16_384, b"x" * 125)],
)
async def test_a_packet_is_measured_to_the_byte(
    qos: int, topic: str, near: int, correlation: bytes | None
) -> None:
    """Also where a length takes one byte more, and where a character takes several (MQTT 5.0, section 1.5.5)."""
    sizes = set()
    for length in range(near - 25, near + 2):
        text = "é" + "x" * (length - 2 - len(correlation or b""))
        item = Outgoing(0, topic, text, qos, False, correlation=correlation)
        size = len(packet_of(item))
        context = aiomqtt.Client("broker", protocol=V5)
        context.publish = AsyncMock()  # type: ignore[method-assign]
        client = adapter(context)
        accepted: Any = context._client.on_connect
        for limit in (size, size - 1):
            context._connected = MagicMock()
            answer = MagicMock(MaximumPacketSize=limit, ReceiveMaximum=0)
            accepted(context._client, None, MagicMock(), MagicMock(value=0), answer)
            if limit == size:
                await client.publish(item)
            else:
                with pytest.raises(MessageTooLarge, match=f"it has {size:,} bytes.* at most {limit:,}"):
                    await client.publish(item)
        context.publish.assert_called_once()
        sizes.add(size - length)
    assert len(sizes) == 2


@pytest.mark.parametrize(
    ("keywords", "found"),
    [
        ({}, {}),
        ({"client_id": "c"}, {"identifier": "c"}),
        ({"identifier": "i"}, {"identifier": "i"}),
        ({"source_id": "press"}, {"identifier": "press"}),
        ({"source_id": "press", "client_id": "c"}, {"identifier": "c"}),
        ({"source_id": "press", "identifier": "i"}, {"identifier": "i"}),
        ({"source_id": "tool", "presence": False}, {}),
        ({"client_id": "c", "presence": False}, {"identifier": "c"}),
    ],
    ids=str,
)
async def test_a_client_id_is_the_users_or_the_name(
    monkeypatch: pytest.MonkeyPatch, keywords: dict[str, Any], found: dict[str, str]
) -> None:
    """Where a process is announced under its name; every attempt has the same id, and a will of its own session."""
    made: list[dict[str, Any]] = []

    class Noting(aiomqtt.Client):
        def __init__(
            self, hostname: str, port: int = 1, *, identifier: str | None = None, **more: Any
        ) -> None:
            made.append({**more, **({} if identifier is None else {"identifier": identifier})})
            super().__init__(hostname, port, identifier=identifier, **more)

    monkeypatch.setattr("cascade.connectors.mqtt.connector.aiomqtt.Client", Noting)
    connector = MqttConnector("broker", **keywords)
    for _ in range(2):
        connector.make_client()
    wills = [each.pop("will", None) for each in made]
    assert made == [found, found]
    if not keywords.get("presence", True):
        assert wills == [None, None]
    elif "source_id" in keywords:
        sessions = {json.loads(cast(str, each.payload))["session"] for each in wills if each is not None}
        assert len(sessions) == 2
        assert all(each is not None and each.retain and each.qos == 1 for each in wills)
    else:
        assert not any(each is None or each.retain for each in wills)


@pytest.mark.parametrize("transport", ["tcp", "websockets", "unix"])
async def test_only_a_socket_of_tcp_gets_options_of_tcp(transport: Any) -> None:
    """The operating system refuses them on a socket of this machine."""
    context = aiomqtt.Client("broker", transport=transport)
    adapter(context, transport=transport)
    assert bool(context._socket_options) is (transport != "unix")
    made: Any = MqttConnector("broker", transport=transport).make_client()._context
    assert made._client._transport == transport
    assert bool(made._socket_options) is (transport != "unix")


@pytest.mark.parametrize("call", ["publish", "publish retained", "subscribe", "unsubscribe"])
@pytest.mark.parametrize("error", [aiomqtt.MqttError("lost"), OSError(9, "closed")], ids=["mqtt", "system"])
async def test_a_call_that_fails_is_a_lost_link(call: str, error: Exception) -> None:
    """With the cause that the client knows, else the error itself; any other error is a fault and stays what it is."""
    for raised, cause in itertools.product(
        (error, RuntimeError("bug")), (None, ConnectionResetError("reset"))
    ):
        context = aiomqtt.Client("broker")
        for name in ("publish", "subscribe", "unsubscribe"):
            setattr(context, name, AsyncMock(side_effect=raised))
        client = adapter(context)
        if cause is not None:
            context._disconnected.set_exception(cause)
            context._disconnected.exception()
        calls = {
            "publish": lambda on: on.publish(Outgoing(0, "a", "{}", 1, False)),
            "publish retained": lambda on: on.publish(Outgoing(0, "a", "{}", 1, True)),
            "subscribe": lambda on: on.subscribe("a"),
            "unsubscribe": lambda on: on.unsubscribe(["a", "b"]),
        }
        with pytest.raises(LinkLost if raised is error else RuntimeError) as found:
            await calls[call](client)
        if isinstance(found.value, LinkLost):
            assert found.value.cause is (cause or error)


@pytest.mark.parametrize(
    ("payload", "read"),
    [("é", "é".encode()), (b"\xff", b"\xff"), (bytearray(b"12"), b"12"), (None, b""), (b"", b"")],
    ids=repr,
)
@pytest.mark.parametrize(("retain", "kept"), [(True, True), (False, False), (1, False), (None, False)])
async def test_a_message_is_bytes_with_its_flag(payload: Any, read: bytes, retain: Any, kept: bool) -> None:
    """Whatever type the client library gives them; only True is a retained message."""
    context = aiomqtt.Client("broker")
    client = adapter(context)
    context._queue.put_nowait(
        MagicMock(topic=aiomqtt.Topic("a/b"), payload=payload, retain=retain, properties=None)
    )
    (found,) = client.arrived()
    assert (found.topic, found.payload, found.retain, found.expires_in) == ("a/b", read, kept, None)
    assert type(found.payload) is bytes


@pytest.mark.parametrize(
    ("left", "found"), [(7, 7.0), (0, 0.0), (None, None), ("7", None), (7.5, None)], ids=repr
)
async def test_only_a_whole_number_of_seconds_is_an_expiry(left: Any, found: float | None) -> None:
    """Paho gives no attribute for a property that did not come."""
    context = aiomqtt.Client("broker")
    client = adapter(context)
    properties = SimpleNamespace() if left is None else SimpleNamespace(MessageExpiryInterval=left)
    context._queue.put_nowait(
        MagicMock(topic=aiomqtt.Topic("a"), payload=b"", retain=False, properties=properties)
    )
    (message,) = client.arrived()
    assert message.expires_in == found


@pytest.mark.parametrize(
    ("properties", "found"),
    [
        (None, None),
        ({}, None),
        ({"CorrelationData": b"9"}, None),
        ({"ResponseTopic": "answers/1"}, ReplyTo("answers/1")),
        ({"ResponseTopic": "a", "CorrelationData": b"\xff\x00"}, ReplyTo("a", b"\xff\x00")),
        ({"ResponseTopic": "a", "CorrelationData": ""}, ReplyTo("a")),
        ({"ResponseTopic": ""}, None),
        ({"ResponseTopic": "a/+"}, None),
        ({"ResponseTopic": "a/#"}, None),
        ({"ResponseTopic": "a\x00"}, None),
        ({"ResponseTopic": "/" * 250}, None),
        ({"ResponseTopic": 7}, None),
    ],
)
async def test_a_message_shows_where_its_sender_expects_an_answer(
    properties: dict[str, Any] | None, found: ReplyTo | None
) -> None:
    """Row 57: only if something can be published there: whoever answers must not lose the link for what a sender writes."""
    context = aiomqtt.Client("broker")
    client = adapter(context)
    came = None if properties is None else SimpleNamespace(**properties)
    context._queue.put_nowait(MagicMock(topic=aiomqtt.Topic("a"), payload=b"", retain=False, properties=came))
    (message,) = client.arrived()
    assert message.reply_to == found


@pytest.mark.parametrize("version", ["V311", "V5"])
async def test_what_only_mqtt_5_has_is_sent_with_mqtt_5_only(version: str) -> None:
    """Correlation data, and the option that shows of live requests whether they are retained; other filters have none."""
    context = aiomqtt.Client("broker", protocol=aiomqtt.ProtocolVersion[version])
    context.publish = AsyncMock()  # type: ignore[method-assign]
    context.subscribe = AsyncMock(return_value=[])  # type: ignore[method-assign]
    client = adapter(context)
    await client.publish(Outgoing(0, "a", "{}", 1, False, correlation=b"9"))
    await client.subscribe([("cascade/requests/press/+", 0), ("cascade/#", 1)])
    await client.subscribe("cascade/requests/press/+", 1)
    (several,), (one, *_) = (each.args for each in context.subscribe.call_args_list)
    if version == "V311":
        assert "properties" not in context.publish.call_args.kwargs
        assert (several, one) == (
            [("cascade/requests/press/+", 0), ("cascade/#", 1)],
            "cascade/requests/press/+",
        )
        return
    assert context.publish.call_args.kwargs["properties"].CorrelationData == b"9"
    (first, requests), (second, others) = several
    assert (first, requests.QoS, requests.retainAsPublished) == ("cascade/requests/press/+", 0, True)
    assert (second, others) == ("cascade/#", 1)
    ((name, options),) = one
    assert (name, options.QoS, options.retainAsPublished) == ("cascade/requests/press/+", 1, True)
