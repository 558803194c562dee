"""How long the event loop is held at a time, as a neighbour on it sees it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager

from cascade.connectors.mqtt import MqttConnector
from cascade.testkit.brokers import Broker, start_broker
from figures.jobs import follow, noops
from figures.measure import Settings, alternate, run
from figures.publish import PATIENCE, TOPIC, message
from figures.table import Row, no_more_than

TITLE = "longest gap that a neighbour sees who ticks every millisecond"

TICK = 0.001


class Neighbour:
    """Ticks on the event loop and remembers the longest time between two ticks."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def live(self) -> None:
        """Tick until cancelled."""
        last = time.perf_counter()
        while True:
            await asyncio.sleep(TICK)
            now = time.perf_counter()
            self.longest = max(self.longest, now - last)
            last = now


def rows(settings: Settings) -> Iterator[Row]:
    """Measure bursts of publishes and a run of no-op tasks, beside a loop that has nothing to do."""
    with start_broker() as broker:
        yield from run(_gaps(broker, settings))


async def _gaps(broker: Broker, settings: Settings) -> list[Row]:
    n = settings.size(10_000)
    async with MqttConnector(broker.host, broker.port) as connector:
        idle, in_a_row, gathered, tasks = await alternate(
            settings.rounds_or(7),
            lambda: _longest(asyncio.sleep(0.5)),
            lambda: _longest(_publish_in_a_row(connector, n)),
            lambda: _longest(_publish_gathered(connector, n)),
            lambda: _longest(follow(noops(n), connector=connector)),
        )
    return [
        Row(f"{n:,} publishes in a row", "ms", in_a_row, "idle loop", idle, no_more_than(50)),
        Row(f"{n:,} publishes, a task each", "ms", gathered, "idle loop", idle, no_more_than(50)),
        Row(f"{n:,} no-op tasks with events", "ms", tasks, "idle loop", idle, no_more_than(20)),
    ]


async def _publish_in_a_row(connector: MqttConnector, n: int) -> None:
    made = message()
    for _ in range(n):
        await connector.publish(TOPIC, made, 1)
    await connector.flush(PATIENCE)


async def _publish_gathered(connector: MqttConnector, n: int) -> None:
    made = message()
    await asyncio.gather(*[connector.publish(TOPIC, made, 1) for _ in range(n)])
    await connector.flush(PATIENCE)


async def _longest(work: Awaitable[object]) -> float:
    """Return milliseconds; what it took to make ``work`` is over by then."""
    async with _neighbour() as neighbour:
        await work
        await asyncio.sleep(2 * TICK)  # so that the neighbour sees the end of what held the loop
    return neighbour.longest * 1e3


@asynccontextmanager
async def _neighbour() -> AsyncIterator[Neighbour]:
    neighbour = Neighbour()
    living = asyncio.create_task(neighbour.live(), name="neighbour")
    await asyncio.sleep(2 * TICK)
    try:
        yield neighbour
    finally:
        living.cancel()
        await asyncio.wait({living})
