"""What a broker of MQTT 5 says that it takes is what it gets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from cascade.connectors.mqtt import MqttConnector

CONNECT, PUBLISH = 1, 3


class StrictBroker:
    """Takes a few messages at a time, as HiveMQ does, and cuts the link of who sends more (section 3.3.4)."""

    def __init__(self, receive_maximum: int) -> None:
        self.receive_maximum = receive_maximum
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
                if kind == CONNECT:
                    out.write(b"\x20\x06\x00\x00\x03\x21" + self.receive_maximum.to_bytes(2))
                elif kind == PUBLISH:
                    self._take(body, out)
        out.close()

    async def _packet(self, stream: asyncio.StreamReader) -> tuple[int, bytes]:
        first, size = await stream.readexactly(2)  # of less than 128 bytes
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


@pytest.mark.parametrize("own", [{}, {"max_inflight_messages": 2}, {"max_inflight_messages": 0}])
async def test_no_more_messages_are_in_flight_than_the_broker_takes(
    listening: tuple[StrictBroker, int], own: dict[str, int]
) -> None:
    """The Receive Maximum of its CONNACK holds, or fewer if the caller says so; no link is cut for it."""
    broker, port = listening
    async with MqttConnector("127.0.0.1", port, protocol="5", **own) as connector:
        for number in range(50):
            await connector.publish("a", {"n": number}, 1)
        assert await connector.flush(30)
        assert connector.statistics().sent == 50
    assert (broker.connections, broker.most) == (1, own.get("max_inflight_messages") or 3)
