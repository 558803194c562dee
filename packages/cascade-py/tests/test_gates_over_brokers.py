"""Gates over real brokers, MQTT and NATS: retained values, cut links, brokers that begin anew, and a topic that floods."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import cascade as cs
from cascade.connectors.mqtt import MqttConnector
from cascade.connectors.nats import NatsConnector
from cascade.interfaces.topics import constraint_topic, state_topic
from cascade.testkit import Broker, eventually, unique_topic
from cascade.testkit.chaos import ChaosProxy

pytestmark = [pytest.mark.broker, pytest.mark.process]

Reports = list[dict[str, Any]]


class Place:
    """A broker, how to connect to it, and what the plant and an operator do there."""

    def __init__(self, kind: str, broker: Broker) -> None:
        self.kind = kind
        self.broker = broker
        self.source = unique_topic().replace("/", "-")
        self.topic = unique_topic()
        self.port = getattr(broker, "nats_port", broker.port) if kind == "nats" else broker.port
        self.outside = self.connect(self.port)
        self.reports: Reports = []

    def connect(self, port: int, **settings: Any) -> Any:
        """Return a connector to a port in front of the broker."""
        make: Callable[..., Any] = NatsConnector if self.kind == "nats" else MqttConnector
        return make("127.0.0.1", port, **settings)

    async def begin(self) -> None:
        await self.outside.connect()
        await self.outside.subscribe(state_topic(self.source, "constraints"), self._hear)

    async def _hear(self, topic: str, body: dict[str, Any]) -> None:
        self.reports.append(body)

    async def put(self, **settings: Any) -> None:
        """Write the register of a gate on the plant's value."""
        gate = cs.gate("power", topic=self.topic, path="w", above=800, **settings)
        message = {"type": gate.type, "params": gate.params()}
        await self.outside.publish(constraint_topic("global", gate.type), message, 1, retain=True)

    async def clear(self) -> None:
        await self.outside.publish(constraint_topic("global", "gate.power"), None, 1, retain=True)

    async def measure(self, watts: int, *, retain: bool = False) -> None:
        """Publish a value, as the plant does."""
        await self.outside.publish(self.topic, {"w": watts}, 1 if retain else 0, retain=retain)

    def said(self) -> tuple[str, str]:
        """Return the state of the gate and its reason."""
        rows = self.reports[-1]["effective"] if self.reports else []
        return next(((row["gate"]["state"], row["gate"]["text"]) for row in rows), ("none", ""))

    @property
    def state(self) -> str:
        return self.said()[0]


@pytest.fixture(params=["mosquitto", "nats"])
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    """Yield a broker of its own of each network."""
    broker: Broker = request.getfixturevalue("mosquitto" if request.param == "mosquitto" else "nats_server")
    found = Place(request.param, broker)
    await found.begin()
    yield found
    await found.clear()
    await found.outside.publish(found.topic, None, 1, retain=True)
    await found.outside.disconnect()


@cs.task
async def step(x: int = 0) -> int:
    return x


async def test_a_retained_value_closes_at_once_and_opens_only_without_stale(place: Place) -> None:
    """G5: after a restart the gate is unknown; how old a retained value is, nobody knows."""
    await place.measure(900, retain=True)
    await place.put(stale=60)
    run = asyncio.create_task(
        cs.Engine(connector=place.connect(place.port, source_id=place.source)).run(step(1))
    )
    await eventually(lambda: place.state == "closed")
    await place.put(stale=61)

    async def is_done() -> bool:
        # the changed gate may come behind the value, and then knows it as one of unknown age
        await place.measure(100, retain=True)
        return run.done()

    await eventually(is_done)
    assert await run == 1
    run = asyncio.create_task(
        cs.Engine(connector=place.connect(place.port, source_id=place.source)).run(step(2))
    )
    await eventually(lambda: "age of its retained value is not known" in place.said()[1])
    assert not run.done()
    await place.put()
    assert await run == 2


@pytest.mark.full
async def test_a_cut_link_opens_nothing(place: Place) -> None:
    """Row 60: what the gate said stays in force; a retained value and a clear of meanwhile count on the next link."""
    async with ChaosProxy(place.port) as proxy:
        await place.measure(900, retain=True)
        await place.put()
        connector = place.connect(proxy.port, source_id=place.source)
        run = asyncio.create_task(cs.Engine(connector=connector).run(step.map(x=[1, 2])))
        await eventually(lambda: place.state == "closed")
        for _ in range(3):
            await proxy.down()
            await proxy.up()
            await eventually(lambda: place.state == "closed")
        await proxy.down()
        await place.measure(100, retain=True)
        assert not run.done()
        await proxy.up()
        assert await run == [1, 2]


@pytest.mark.full
@pytest.mark.parametrize("keep", [True, False], ids=["with its store", "without"])
async def test_a_gate_outlives_a_restart_of_its_broker(place: Place, keep: bool) -> None:
    """Row 60, also if the broker begins anew and has nothing: the engine keeps the gate, and goes on with the next good value."""
    await place.put()
    connector = place.connect(place.port, source_id=place.source)
    run = asyncio.create_task(cs.Engine(connector=connector).run(step(3)))
    await eventually(lambda: place.state == "unknown")
    await place.measure(900)
    await eventually(lambda: place.state == "closed")
    links, sync = connector.statistics().connections, "synced" if keep else "stale"
    await asyncio.to_thread(place.broker.restart, keep_store=keep)
    await eventually(lambda: connector.statistics().connections > links and place.reports[-1]["sync"] == sync)
    assert (place.state, run.done()) == ("closed", False)

    async def goes_on() -> bool:
        await place.measure(100)
        return run.done()

    await eventually(goes_on)
    assert await run == 3


async def test_a_topic_that_floods_is_unsubscribed(place: Place) -> None:
    """Row 59: its gates are unknown with the rate in the reason; what else the engine does goes on."""
    await place.put()
    run = asyncio.create_task(
        cs.Engine(connector=place.connect(place.port, source_id=place.source)).run(step(1))
    )
    await eventually(lambda: place.state == "unknown")
    payload = {"w": 900}
    for _ in range(40):
        for _ in range(100):
            place.outside.publish_nowait(place.topic, payload)
        await asyncio.sleep(0.01)
        if "values/s, more than 50; it is read again after 60 s" in place.said()[1]:
            break
    await eventually(lambda: "values/s, more than 50; it is read again after 60 s" in place.said()[1])
    assert place.state == "unknown"
    await place.clear()
    assert await run == 1
    json.dumps(place.reports[-1])
