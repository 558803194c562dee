"""Constraints on brokers whose retained messages come late, or not at all for a wildcard."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import aiomqtt
import pytest
import pytest_asyncio

import cascade as cs
from cascade.connectors.mqtt import MqttConnector
from cascade.interfaces import TaskState
from cascade.testing import Recorder as Events
from cascade.testkit import Broker, eventually
from testing_tools.aedes import Aedes
from testing_tools.rabbitmq import RabbitMq

pytestmark = [pytest.mark.broker, pytest.mark.nightly, pytest.mark.timeout(300)]

PAUSE = "cascade/constraints/global/@pause"


@pytest.fixture(scope="module", params=[Aedes, RabbitMq])
def further_broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    kind: type[Broker] = request.param
    if kind.find() is None:
        pytest.skip(f"{kind.name} is not installed: {kind.remedy()}")
    with kind() as own:
        yield own


@pytest_asyncio.fixture
async def operator(further_broker: Broker) -> AsyncIterator[aiomqtt.Client]:
    async with aiomqtt.Client(further_broker.host, further_broker.port) as client:
        yield client
        await client.publish(PAUSE, b"", qos=1, retain=True)


@pytest.mark.parametrize("source_id", [None, "line-3"], ids=["unnamed", "named"])
@pytest.mark.parametrize("times", range(3))
async def test_a_pause_that_was_set_before_the_run_lets_nothing_start(
    further_broker: Broker, operator: aiomqtt.Client, source_id: str | None, times: int
) -> None:
    """Row 36: the first task starts after the pause was cleared, also through a cut and the sync that follows."""

    @cs.task
    def step(x: int) -> int:
        return x

    await operator.publish(PAUSE, json.dumps({"type": "pause"}), qos=1, retain=True)
    connector = MqttConnector(further_broker.host, further_broker.port, source_id=source_id)
    engine = cs.Engine(connector=connector)
    events = Events(engine.bus)
    run = asyncio.create_task(engine.run(step.map(x=range(50))))
    await eventually(lambda: events.count(TaskState.BLOCKED), 30)
    async with aiomqtt.Client(further_broker.host, further_broker.port, identifier=source_id) as other:
        await other.publish("taken/over", b"")  # the broker disconnects the engine, which connects again
    await eventually(lambda: source_id is None or connector.statistics().connections >= 2, 30)
    await connector.flush(10)
    assert events.count(TaskState.RUNNING) == 0
    await operator.publish(PAUSE, b"", qos=1, retain=True)
    assert len(await asyncio.wait_for(run, 60)) == 50
