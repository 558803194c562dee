"""What the connector sends behind CONNECT: it does not wait for CONNACK (MQTT 3.1.1 and 5.0, section 3.1.4)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from cascade.connectors.mqtt import MqttConnector
from cascade.interfaces import Complete, Linked
from cascade.interfaces.topics import status_topic, sync_filter, sync_topic
from cascade.testkit import Broker, eventually, time_limit
from cascade.testkit.chaos import ChaosProxy, Direction
from cascade.testkit.odd_broker import OddBroker

pytestmark = [pytest.mark.broker, pytest.mark.usefixtures("patient")]

NAME = "press-line-3"
ECHO = sync_topic(NAME, "")


@pytest.fixture
def odd() -> Iterator[OddBroker]:
    with OddBroker() as broker:
        yield broker


@asynccontextmanager
async def unanswered(broker: OddBroker | Broker) -> AsyncIterator[ChaosProxy]:
    """A way to a broker that hears the client, and whose answers do not arrive."""
    async with ChaosProxy(broker.port) as proxy:
        proxy.stall(Direction.DOWN)
        yield proxy


@asynccontextmanager
async def connecting(connector: MqttConnector) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(connector.connect())
    try:
        yield task
        async with time_limit(50):
            await task
    finally:
        task.cancel()
        await asyncio.wait({task})
        await connector.disconnect()


def named(proxy: Any, **keywords: Any) -> MqttConnector:
    return MqttConnector(proxy.host, proxy.port, source_id=NAME, **keywords)


async def ignore(topic: str, data: dict[str, Any]) -> None:
    pass


def asked(broker: OddBroker) -> list[str]:
    """Every filter that the broker was asked for."""
    return [each for packet in list(broker.subscribes) for each, _ in packet]


def nonces(broker: OddBroker) -> list[str]:
    return [topic for topic in list(broker.published) if topic.startswith(ECHO) and "@" not in topic]


async def test_a_watch_is_asked_for_before_the_broker_has_answered(odd: OddBroker, no_leaks: None) -> None:
    """SUBSCRIBE and the nonce behind it need no round trip of their own."""
    async with unanswered(odd) as proxy:
        connector = named(proxy)
        stream = connector.watch("a/b", "a/#")
        async with connecting(connector) as connected:
            await eventually(lambda: nonces(odd))
            assert odd.subscribes[0] == [("a/b", 0), ("a/#", 0), (sync_filter(NAME), 0)]
            assert not connected.done()
            proxy.resume()
            async with time_limit(50):
                assert isinstance(await anext(stream), Linked)
                assert isinstance(await anext(stream), Complete)
        await stream.aclose()


async def test_callbacks_and_presence_are_subscribed_before_the_broker_has_answered(
    odd: OddBroker, no_leaks: None
) -> None:
    """Each filter once: what was sent behind CONNECT is not sent again behind CONNACK."""
    async with unanswered(odd) as proxy:
        connector = named(proxy)
        await connector.subscribe("a/b", ignore, qos=1)
        async with connecting(connector):
            await eventually(lambda: "a/b" in asked(odd))
            assert status_topic(NAME) in asked(odd)
            proxy.resume()
        assert asked(odd).count("a/b") == 1


async def test_what_is_subscribed_while_the_broker_has_not_answered_is_not_forgotten(
    odd: OddBroker, no_leaks: None
) -> None:
    """A callback follows with CONNACK, a watch at once."""
    async with unanswered(odd) as proxy:
        connector = named(proxy)
        got: list[dict[str, Any]] = []

        async def keep(topic: str, data: dict[str, Any]) -> None:
            got.append(data)

        async with connecting(connector) as connected:
            await eventually(lambda: status_topic(NAME) in asked(odd))
            await connector.subscribe("a/b", keep)
            stream = connector.watch("c/d")
            await eventually(lambda: "c/d" in asked(odd))
            proxy.resume()
            await connected
            odd.publish("a/b", b'{"x": 1}')
            await eventually(lambda: got == [{"x": 1}])
        await stream.aclose()


async def test_a_watch_that_is_closed_before_the_broker_has_answered_leaves_no_filter(
    odd: OddBroker, no_leaks: None
) -> None:
    """UNSUBSCRIBE follows SUBSCRIBE, also behind CONNECT."""
    async with unanswered(odd) as proxy:
        connector = named(proxy)
        stream = connector.watch("a/b")
        async with connecting(connector):
            await eventually(lambda: "a/b" in odd.filters())
            await stream.aclose()
            await eventually(lambda: "a/b" not in odd.filters())
            proxy.resume()


class Touchy:
    """A way to a broker that ends its first connection if anything follows CONNECT before CONNACK."""

    def __init__(self, port: int, *, behind_connack: bool) -> None:
        self.connections = 0
        self.host = "127.0.0.1"
        self.port = 0
        self._target = port
        self._behind_connack = behind_connack

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            if self.connections == 1:
                await self._refuse(reader, writer)
            else:
                await self._pass_on(reader, writer)
        finally:
            writer.close()

    async def _refuse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        await reader.readexactly((await reader.readexactly(1))[0])  # the rest of a short CONNECT
        await reader.readexactly(1)  # of what follows
        if self._behind_connack:
            writer.write(b"\x20\x02\x00\x00")
            await writer.drain()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner = await asyncio.open_connection(self.host, self._target)
        ways = [asyncio.create_task(_pump(*way)) for way in ((reader, inner), (inner_reader, writer))]
        try:
            await asyncio.wait(ways)
        finally:
            for way in ways:
                way.cancel()
            inner.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


@pytest.mark.parametrize("behind_connack", [False, True])
async def test_a_broker_that_accepts_nothing_before_its_answer_is_asked_again_at_once(
    odd: OddBroker, caplog: pytest.LogCaptureFixture, behind_connack: bool
) -> None:
    """The user learns nothing of it: one further connection, which waits for CONNACK, and no warning."""
    touchy = Touchy(odd.port, behind_connack=behind_connack)
    server = await asyncio.start_server(touchy.carry, touchy.host, 0)
    touchy.port = server.sockets[0].getsockname()[1]
    connector = named(touchy)
    stream = connector.watch("a/b")
    try:
        async with time_limit(50):
            await connector.connect()
            assert connector.statistics().linked
            found = [type(await anext(stream))]
            while found[-1] is not Complete:
                found.append(type(await anext(stream)))
            assert found[-2:] == [Linked, Complete]
        assert touchy.connections == 2
        assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []
    finally:
        await stream.aclose()
        await connector.disconnect()
        server.close()


async def test_a_refusal_is_explained_although_packets_followed_connect(
    odd: OddBroker, caplog: pytest.LogCaptureFixture
) -> None:
    """A broker that refuses closes a connection with unread bytes, so that its answer may be lost on the way."""
    odd.connect_code = 5
    connector = named(odd)
    stream = connector.watch("a/b")
    await connector.connect()
    assert "the broker does not allow this client" in caplog.text
    await stream.aclose()
    await connector.disconnect()


async def test_nothing_follows_connect_while_the_client_authenticates(fresh_broker: Broker) -> None:
    """MQTT 5.0, section 4.12: with an authentication method, the client sends nothing else before CONNACK."""
    begun: list[str] = []
    properties: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.AuthenticationMethod = "none-that-is-known"
    connector = named(fresh_broker, protocol=aiomqtt.ProtocolVersion.V5, properties=properties)
    client = connector._make_client()
    client.on_open(lambda: begun.append("early"))
    with pytest.raises(aiomqtt.MqttError):  # mosquitto does not know the method
        await client.connect(50)
    assert begun == []
