"""Messages received and dispatched in a second, beside aiomqtt's bare iterator."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiomqtt

from cascade.connectors.mqtt import MqttConnector
from cascade.testkit.brokers import Broker, start_broker
from figures.measure import Settings, alternate, run
from figures.packets import flood, publish_packet
from figures.publish import message
from figures.table import Row, at_least

TITLE = "300-byte messages received a second, from a broker that has them ready"

SUBSCRIPTIONS = 50
PATIENCE = 120.0


class Count:
    """Messages that have arrived, and when the last one that is waited for did."""

    def __init__(self) -> None:
        self._left = 0
        self._all_here = asyncio.Event()

    def expect(self, n: int) -> None:
        """Begin to count down."""
        self._left = n
        self._all_here.clear()

    def arrive(self) -> None:
        """Count one message."""
        self._left -= 1
        if not self._left:
            self._all_here.set()

    async def wait(self) -> None:
        """Wait for the last message.

        :raises RuntimeError: if some never come.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                await self._all_here.wait()
        except TimeoutError:
            raise RuntimeError(f"{self._left} messages did not arrive within {PATIENCE:g} s") from None


def rows(settings: Settings) -> Iterator[Row]:
    """Measure 50 callbacks with JSON decoded against an iterator that only counts."""
    with start_broker() as broker:
        yield run(_rates(broker, settings))


async def _rates(broker: Broker, settings: Settings) -> Row:
    n = settings.size(10_000)
    async with _theirs(broker) as their_count, _ours(broker) as our_count:
        theirs, ours = await alternate(
            settings.rounds_or(7),
            lambda: _rate(broker, "theirs", their_count, n),
            lambda: _rate(broker, "ours", our_count, n),
        )
    name = f"receive, {SUBSCRIPTIONS} subscriptions"
    return Row(name, "/s", ours, "aiomqtt's iterator", theirs, at_least(0.75))


async def _rate(broker: Broker, side: str, count: Count, n: int) -> float:
    payload = json.dumps(message()).encode()
    topics = [f"bench/{side}/{number}/readings" for number in range(SUBSCRIPTIONS)]
    packets = b"".join(publish_packet(topics[number % SUBSCRIPTIONS], payload) for number in range(n))
    count.expect(n)
    began = time.perf_counter()
    flooding = asyncio.create_task(asyncio.to_thread(flood, broker.host, broker.port, packets), name="flood")
    await count.wait()
    taken = time.perf_counter() - began
    await flooding
    return n / taken


@asynccontextmanager
async def _theirs(broker: Broker) -> AsyncIterator[Count]:
    count = Count()

    async def read(client: aiomqtt.Client) -> None:
        async for _ in client.messages:
            count.arrive()

    async with aiomqtt.Client(broker.host, broker.port) as client:
        for number in range(SUBSCRIPTIONS):
            await client.subscribe(f"bench/theirs/{number}/+")
        reading = asyncio.create_task(read(client), name="read")
        yield count
        reading.cancel()
        await asyncio.wait({reading})


@asynccontextmanager
async def _ours(broker: Broker) -> AsyncIterator[Count]:
    count = Count()

    async def arrive(_topic: str, data: dict[str, Any]) -> None:
        assert data["seq"]
        count.arrive()

    async with MqttConnector(broker.host, broker.port) as connector:
        for number in range(SUBSCRIPTIONS):
            await connector.subscribe(f"bench/ours/{number}/+", arrive)
        yield count
