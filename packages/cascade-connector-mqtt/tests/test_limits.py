"""What a broker of MQTT 5 says that it takes is what it gets."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from typing import Any

import aiomqtt
import pytest
import pytest_asyncio

from cascade.connectors.mqtt import MqttConnector
from cascade.interfaces.topics import request_filters
from cascade.testkit import Broker, eventually, unique_topic

pytestmark = pytest.mark.usefixtures("patient")

CONNECT, PUBLISH, SUBSCRIBE, DISCONNECT = 1, 3, 8, 14
MAX_PACKET = 4 * 1024 * 1024
"""What CONNECT of MQTT 5 states, in bytes."""


PACKET_LIMIT = 100


class StrictBroker:
    """Takes a few messages at a time, as HiveMQ does, and small ones only; it cuts the link of who sends more."""

    def __init__(self, receive_maximum: int, answers_after: float = 0.0) -> None:
        self.receive_maximum = receive_maximum
        self.answers_after = answers_after
        self.versions: list[int] = []
        self.ends: list[int] = []
        self.largest = 0
        self.connections = 0
        self.most = 0
        self._open: list[bytes] = []

    async def serve(self, stream: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        """Be the broker of one connection."""
        self.connections += 1
        self._open.clear()
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while len(self._open) <= self.receive_maximum:
                kind, body = await self._packet(stream)
                self.ends += [kind] if kind == DISCONNECT else []
                if kind == CONNECT:
                    self.versions.append(body[6])
                    await asyncio.sleep(self.answers_after)
                    if body[6] < 5:
                        out.write(b"\x20\x02\x00\x00")
                        continue
                    limits = b"\x21" + self.receive_maximum.to_bytes(2) + b"\x27" + PACKET_LIMIT.to_bytes(4)
                    out.write(b"\x20\x0b\x00\x00\x08" + limits)
                elif kind == PUBLISH:
                    self._take(body, out)
                elif kind == SUBSCRIBE:
                    out.write(self._granted(body))
        out.close()

    def _granted(self, body: bytes) -> bytes:
        properties = b"\x00" if self.versions[-1] == 5 else b""
        rest, granted = body[2 + len(properties) :], b""
        while rest:
            rest = rest[3 + int.from_bytes(rest[:2]) :]
            granted += b"\x00"
        answer = body[:2] + properties + granted
        return b"\x90" + bytes([len(answer)]) + answer

    async def _packet(self, stream: asyncio.StreamReader) -> tuple[int, bytes]:
        first, size = await stream.readexactly(2)
        if size >= 128:
            size += 128 * ((await stream.readexactly(1))[0] - 1)
        if first >> 4 == PUBLISH:
            self.largest = max(self.largest, 2 + size)
        return first >> 4, await stream.readexactly(size)

    def _take(self, body: bytes, out: asyncio.StreamWriter) -> None:
        topic_ends = 2 + int.from_bytes(body[:2])
        self._open.append(body[topic_ends : topic_ends + 2])
        self.most = max(self.most, len(self._open))
        if len(self._open) == 1:
            asyncio.get_running_loop().call_later(0.01, self._acknowledge, out)

    def _acknowledge(self, out: asyncio.StreamWriter) -> None:
        for number in self._open:
            out.write(b"\x40\x02" + number)
        self._open.clear()


@pytest_asyncio.fixture
async def listening() -> AsyncIterator[tuple[StrictBroker, int]]:
    broker = StrictBroker(3)
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
    async with server:
        yield broker, server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_message_larger_than_the_broker_takes_is_dropped_and_counted(
    listening: tuple[StrictBroker, int], qos: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Its Maximum Packet Size holds to the byte; no link is cut; one warning comes at once and one at the end."""
    broker, port = listening
    room = PACKET_LIMIT - len('{"t": ""}') - (8 if qos else 6)
    async with MqttConnector("127.0.0.1", port, protocol="5") as connector:
        for length in (1, room, room + 1, 1_000, room):
            await connector.publish("a", {"t": "x" * length}, qos)
        assert await connector.flush(600)
        counts = connector.statistics()
    assert (counts.sent, dict(counts.dropped), counts.connections) == (3, {"too large": 2}, 1)
    assert broker.largest == PACKET_LIMIT
    lines = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert lines[0] == "a message for a is dropped: it has 101 bytes, and the broker accepts at most 100"
    assert "not delivered: 2 too large" in lines[1]
    assert len(lines) == 2


@pytest.mark.parametrize("own", [{}, {"max_inflight_messages": 2}, {"max_inflight_messages": 0}])
async def test_no_more_messages_are_in_flight_than_the_broker_takes(
    listening: tuple[StrictBroker, int], own: dict[str, int]
) -> None:
    """The Receive Maximum of its CONNACK holds, or fewer if the caller says so; no link is cut for it."""
    broker, port = listening
    async with MqttConnector("127.0.0.1", port, protocol="5", **own) as connector:
        for number in range(50):
            await connector.publish("a", {"n": number}, 1)
        assert await connector.flush(600)
        counts = connector.statistics()
        limit = min(3, own.get("max_inflight_messages") or 3)
        assert (counts.sent, counts.window, counts.window_limit) == (50, limit, limit)
        assert counts.receive_maximum == 3
        assert f"linked, window {limit} of {limit}, Receive Maximum 3, 50 sent" in repr(connector)
    assert (broker.connections, broker.most) == (1, own.get("max_inflight_messages") or 3)


class SilentBroker(StrictBroker):
    """Acknowledges nothing."""

    def _take(self, body: bytes, out: asyncio.StreamWriter) -> None:
        self.most += 1


@pytest.mark.parametrize("how", ["flush", "disconnect"])
async def test_a_program_that_waits_has_more_messages_in_flight(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty leave room for the program's own work; as soon as it only waits, eighty are sent at once."""
    monkeypatch.setattr("cascade.transport.senders.GROWTH_INTERVAL", 3600.0)
    broker = SilentBroker(1_000)
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
    async with server:
        timeout = 0.0 if how == "flush" else 600.0
        port = server.sockets[0].getsockname()[1]
        connector = MqttConnector("127.0.0.1", port, protocol="5", drain_timeout=timeout)
        await connector.connect()
        await eventually(lambda: connector.statistics().linked)
        for number in range(200):
            await connector.publish("a", {"n": number}, 1)
        await eventually(lambda: broker.most == 20)
        waits = connector.flush(600) if how == "flush" else connector.disconnect()
        waiting = asyncio.ensure_future(waits)
        await eventually(lambda: broker.most == 80)
        assert connector.statistics().window in (0, 80)
        waiting.cancel()
        await asyncio.wait({waiting})
        await connector.disconnect()


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_row_39_a_huge_retained_message_is_not_received_with_mqtt_5(
    version: str, fresh_broker: Broker
) -> None:
    """CONNECT states a Maximum Packet Size, so the broker keeps it back; MQTT 3.1.1 has no such limit."""
    huge, arrived = b'{"text": "' + b"x" * MAX_PACKET + b'"}', list[str]()

    async def receive(topic: str, _data: dict[str, Any]) -> None:
        arrived.append(topic)

    async with aiomqtt.Client(fresh_broker.host, fresh_broker.port) as client:
        await client.publish("a/huge", huge, 1, retain=True)
        await client.publish("b/small", b"{}", 1, retain=True)
    async with MqttConnector(fresh_broker.host, fresh_broker.port, protocol=version) as connector:
        await connector.subscribe("a/#", receive, 1)
        await connector.subscribe("b/#", receive, 1)
        await eventually(lambda: "b/small" in arrived)
        assert arrived == (["b/small"] if version == "5" else ["a/huge", "b/small"])
        assert connector.statistics().packet_limit == (MAX_PACKET if version == "5" else None)


@pytest.mark.broker
@pytest.mark.parametrize(
    ("kind", "named", "newer"),
    [("mosquitto", True, True), ("mosquitto", False, False), ("nats_server", True, False)],
)
async def test_a_process_with_a_name_speaks_mqtt_5_where_the_broker_does(
    kind: str, named: bool, newer: bool, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 39: only then can it limit what the broker sends. A broker that refuses is asked once; without a name nothing changes."""
    older: set[tuple[str, int]] = set()
    monkeypatch.setattr("cascade.connectors.mqtt.connector._older_brokers", older)
    broker: Broker = request.getfixturevalue(kind)
    name: dict[str, Any] = {"source_id": unique_topic().replace("/", "-")} if named else {}
    for _ in range(2):
        async with MqttConnector(
            broker.host, broker.port, required=True, connect_timeout=30, **name
        ) as connector:
            limit = connector.statistics().packet_limit
            assert (limit is not None) == newer
        assert older == ({(broker.host, broker.port)} if kind == "nats_server" else set())


@pytest.mark.parametrize(
    ("window", "service", "versions"),
    [(400, False, [5, 4, 4]), (3, False, [5, 5]), (400, True, [5, 5])],
)
async def test_a_distant_broker_that_takes_few_messages_at_a_time_gets_mqtt_3_1_1(
    window: int,
    *,
    service: bool,
    versions: list[int],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Row 37: a stock mosquitto states 20, so 100 messages a second at 200 ms. It is asked once, and the link ends without a will.

    A service keeps MQTT 5: only there a request names the topic of its answer.
    """
    monkeypatch.setattr("cascade.connectors.mqtt.connector._older_brokers", set())
    monkeypatch.setattr("cascade.connectors.mqtt._aiomqtt_client.NEWER_SECONDS", 60.0)
    caplog.set_level("INFO")
    broker = StrictBroker(3, answers_after=0.02)
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        for _ in range(2):
            connector = MqttConnector("127.0.0.1", port, source_id="far", window=window, required=True)
            stream = connector.watch(*request_filters("far")) if service else None
            async with connector:
                pass
            if stream is not None:
                await stream.aclose()
    lines = [line for line in caplog.messages if "takes 3 messages at a time" in line]
    assert len(lines) == (4 in versions)
    assert broker.versions == versions
    assert broker.ends or 4 not in versions


@pytest.mark.broker
@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio has eager tasks from 3.12 on")
async def test_messages_leave_in_order_where_tasks_begin_at_once(fresh_broker: Broker) -> None:
    """With asyncio.eager_task_factory, a sender that another one wakes would otherwise overtake it."""
    asyncio.get_running_loop().set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009 - 3.11 lacks it
    arrived: list[int] = []

    async def receive(_topic: str, data: dict[str, Any]) -> None:
        arrived.append(data["n"])

    topic = unique_topic()
    async with MqttConnector(fresh_broker.host, fresh_broker.port) as connector:
        await connector.subscribe(topic, receive, 1)
        for n in range(100):
            await connector.publish(topic, {"n": n}, 1)
        await eventually(lambda: len(arrived) == 100)
    assert arrived == [*range(100)]
