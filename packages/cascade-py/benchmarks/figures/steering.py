"""What control costs the event loop: a pause and its lifting during a run, and a run that connects for one task."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator

from cascade.connectors.mqtt import MqttConnector
from cascade.interfaces.topics import constraint_topic
from cascade.runtime import Engine, LocalConnector, LocalHub
from cascade.spec import task
from cascade.testkit.brokers import Broker, start_broker
from figures.jobs import noop
from figures.measure import Settings, alternate, busy, run
from figures.table import Row

TITLE = "CPU time of the loop's thread: a pause and its lifting, and a run that connects"

_TOPIC = constraint_topic("global", "pause")
_TURNS = 8  # of the loop for each message: more than it needs to be in force


def rows(settings: Settings) -> Iterator[Row]:
    """Measure both without a private module, so that other versions can be measured, too."""
    yield run(_pauses(settings))
    with start_broker() as broker:
        yield run(_connects(broker, settings))


async def _pauses(settings: Settings) -> Row:
    n = settings.size(500)
    hub = LocalHub()
    async with (
        LocalConnector(hub, source_id="bench") as connector,
        LocalConnector(hub, source_id="desk") as desk,
    ):
        engine, done = Engine(connector=connector), asyncio.Event()
        await engine.run(noop(0))

        @task
        async def hold() -> None:
            await done.wait()

        active = asyncio.create_task(engine.run([hold(), *(noop(number) for number in range(5))]))
        await _turns(100)
        idle, paused = await alternate(
            settings.rounds_or(15),
            lambda: _each(n, _turns(2 * _TURNS * n)),
            lambda: _each(n, _steer(desk, n)),
        )
        done.set()
        await active
    return Row("a pause and its lifting, during a run", "us", paused, f"{2 * _TURNS} turns of the loop", idle)


async def _steer(desk: LocalConnector, n: int) -> None:
    for number in range(n):
        pause = {"id": str(number), "scope": "global", "type": "pause", "params": {}}
        await desk.publish(_TOPIC, pause, 1, retain=True)
        await _turns(_TURNS)
        await desk.publish(_TOPIC, None, 1, retain=True)
        await _turns(_TURNS)


async def _turns(n: int) -> None:
    for _ in range(n):
        await asyncio.sleep(0)


async def _each(n: int, work: Awaitable[object]) -> float:
    return await busy(work) / n * 1e6


async def _connects(broker: Broker, settings: Settings) -> Row:
    n = settings.size(20)
    await _connect(broker, 3)
    alone, connected = await alternate(
        settings.rounds_or(15), lambda: _each(n, _alone(n)), lambda: _each(n, _connect(broker, n))
    )
    return Row("a run that connects for one task", "us", connected, "no connector", alone)


async def _connect(broker: Broker, n: int) -> None:
    for _ in range(n):
        await Engine(connector=MqttConnector(broker.host, broker.port)).run(noop(1))


async def _alone(n: int) -> None:
    for _ in range(n):
        await Engine().run(noop(1))
