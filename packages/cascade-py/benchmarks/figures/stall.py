"""The longest time for which the event loop is blocked, as another task on it sees it."""

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
BURSTS = (
    ("publishes in a row", no_more_than(50)),
    ("publishes, a task each", None),
    ("no-op tasks with events", no_more_than(20)),
)


class Neighbour:
    """Ticks on the event loop and remembers the longest time between two ticks.

    The wall's clock also sees when another program had the core; the CPU time of the loop's
    thread does not, but it does not see a call that blocks.
    """

    def __init__(self) -> None:
        self.longest = 0.0
        self.busiest = 0.0

    async def live(self) -> None:
        """Tick until cancelled."""
        last, worked = time.perf_counter(), time.thread_time()
        while True:
            await asyncio.sleep(TICK)
            now, work = time.perf_counter(), time.thread_time()
            self.longest = max(self.longest, now - last)
            self.busiest = max(self.busiest, work - worked)
            last, worked = now, work


def rows(settings: Settings) -> Iterator[Row]:
    """Measure bursts of publishes and a run of no-op tasks, beside a loop that has nothing to do."""
    with start_broker() as broker:
        yield from run(_gaps(broker, settings))


async def _gaps(broker: Broker, settings: Settings) -> list[Row]:
    n = settings.size(10_000)
    async with MqttConnector(broker.host, broker.port) as connector:
        idle, *others = await alternate(
            settings.rounds_or(7),
            lambda: _longest(asyncio.sleep(0.5)),
            lambda: _longest(_publish_in_a_row(connector, n)),
            lambda: _longest(_publish_gathered(connector, n)),
            lambda: _longest(_run_noops(connector, n)),
        )
    found = []
    for (name, target), neighbours in zip(BURSTS, others, strict=True):
        for label, what, judged in (
            (f"{n:,} {name}", "longest", target),
            ("- CPU time of it", "busiest", None),
        ):
            ours, theirs = ([getattr(each, what) * 1e3 for each in side] for side in (neighbours, idle))
            found.append(Row(label, "ms", ours, "idle loop", theirs, judged))
    return found


async def _publish_in_a_row(connector: MqttConnector, n: int) -> None:
    made = message()
    for _ in range(n):
        await connector.publish(TOPIC, made, 1)
    await connector.flush(PATIENCE)


async def _publish_gathered(connector: MqttConnector, n: int) -> None:
    made = message()
    await asyncio.gather(*[connector.publish(TOPIC, made, 1) for _ in range(n)])
    await connector.flush(PATIENCE)


async def _run_noops(connector: MqttConnector, n: int) -> None:
    await follow(noops(n), connector=connector)
    await connector.flush(PATIENCE)  # or the next burst would be measured while these are sent


async def _longest(work: Awaitable[object]) -> Neighbour:
    """Return what a neighbour saw; the making of ``work`` is over by then."""
    async with _neighbour() as neighbour:
        await work
        await asyncio.sleep(2 * TICK)  # so that the neighbour sees the end of what blocked the loop
    return neighbour


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
