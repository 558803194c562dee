"""The cost of one event for the event loop before it returns: event, JSON, the connector's queue."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

from cascade.connectors.mqtt import MqttConnector
from cascade.interfaces import TaskState, TaskStateEvent
from cascade.runtime import EventBus, TelemetrySubscriber
from cascade.testkit.brokers import Broker, start_broker
from cascade.transport.connector import NetworkConnector
from figures.measure import Settings, alternate, run
from figures.table import Row, at_most

TITLE = "CPU time of the loop's thread for an event: the event, its JSON, a linked MqttConnector's queue"

COST = at_most(2.5)
_BURST = 500  # events in one iteration of the loop; the senders empty the queue before the next burst
_TIMEOUT = 30.0
_RUN_ID = "9a8110f0c0ff4cc2aaf81a5b4fba9a81"


def rows(settings: Settings) -> Iterator[Row]:
    """Measure an event against ``json.dumps`` of the same envelope."""
    with start_broker() as broker:
        yield run(_over_mqtt(broker, settings))


async def _over_mqtt(broker: Broker, settings: Settings) -> Row:
    async with MqttConnector(broker.host, broker.port) as connector:
        return await cost(connector, settings)


async def cost(connector: NetworkConnector, settings: Settings) -> Row:
    """Measure an event over a linked connector."""
    n = settings.size(10_000)
    async with _telemetry(connector) as (bus, subscriber):
        message = await _envelope(bus, connector)
        theirs, ours = await alternate(
            settings.rounds_or(15),
            lambda: _dumps(message, n),
            lambda: _publish(bus, connector, subscriber, n),
        )
    return Row("an event, to the connector's queue", "us", ours, "json.dumps of it", theirs, COST)


@asynccontextmanager
async def _telemetry(connector: NetworkConnector) -> AsyncIterator[tuple[EventBus, TelemetrySubscriber]]:
    bus = EventBus()
    bus.bind(asyncio.get_running_loop())
    subscriber = TelemetrySubscriber(bus, connector)
    yield bus, subscriber
    subscriber.close()


def _event(number: int) -> TaskStateEvent:
    return TaskStateEvent(_RUN_ID, f"noop-{number}", "noop", TaskState.COMPLETED, time.time(), 1.234, "", "")


async def _envelope(bus: EventBus, connector: NetworkConnector) -> dict[str, Any]:
    """Publish one event and return what arrives at the broker's other side."""
    arrived: asyncio.Queue[dict[str, Any]] = asyncio.Queue(1)

    async def arrive(_topic: str, message: dict[str, Any]) -> None:
        await arrived.put(message)

    subscription = await connector.subscribe("cascade/telemetry/#", arrive)
    bus.publish(_event(0))
    message = await asyncio.wait_for(arrived.get(), _TIMEOUT)
    await subscription.unsubscribe()
    return message


async def _dumps(message: dict[str, Any], n: int) -> float:
    began = time.thread_time()
    for _ in range(n):
        json.dumps(message)
    return (time.thread_time() - began) / n * 1e6


async def _publish(
    bus: EventBus, connector: NetworkConnector, subscriber: TelemetrySubscriber, n: int
) -> float:
    """Return microseconds of an event, with its encoding behind the burst; what the senders do is not its cost."""
    spent = 0.0
    for first in range(0, n, _BURST):
        began = time.thread_time()
        for number in range(first, min(first + _BURST, n)):
            bus.publish(_event(number))
        await subscriber.drain(
            0.0
        )  # encodes what waits in this iteration: the senders would begin in the next one
        spent += time.thread_time() - began
        await connector.flush(_TIMEOUT)
    return spent / n * 1e6
