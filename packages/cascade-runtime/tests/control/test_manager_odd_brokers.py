"""The real manager through a real connector, on brokers that withhold, delay or cut the retained set."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import aiomqtt
import pytest
from control_parts import SyncState
from observers import watch_tasks

from cascade.connectors.mqtt import MqttConnector
from cascade.interfaces import TaskState, TaskStateEvent
from cascade.interfaces.topics import constraint_topic
from cascade.runtime import Engine
from cascade.spec import task
from cascade.testkit import eventually
from testing_tools.odd_broker import OddBroker

pytestmark = [pytest.mark.broker, pytest.mark.process]

PAUSE_TOPIC = constraint_topic("global", "pause")
PAUSE = b'{"type":"pause"}'
LIMIT = b'{"type":"concurrency","params":{"limit":1000}}'


@task
async def step(x: int) -> int:
    return x


async def write(broker: OddBroker, *messages: tuple[str, bytes]) -> None:
    async with aiomqtt.Client(broker.host, broker.port, timeout=60) as client:
        for topic, payload in messages:
            await client.publish(topic, payload, qos=1, retain=True)


def has_connected_since(broker: OddBroker, connects: int) -> bool:
    return broker.connects > connects


def is_settled(engine: Engine) -> bool:
    """Whether the sync has ended, with a result or as degraded."""
    (manager,) = set(engine._parts.control._manager_of.values())
    return manager.sync.is_linked and manager.sync.state is not SyncState.SYNCING


def leftovers(count: int) -> list[tuple[str, bytes]]:
    return [(constraint_topic(f"task:other-{number}", "concurrency"), LIMIT) for number in range(count)]


@asynccontextmanager
async def paused_run(
    broker: OddBroker, *, require_control: bool = False
) -> AsyncIterator[tuple[Engine, list[TaskStateEvent], "asyncio.Task[list[int]]"]]:
    """A run of a map on a broker that holds a pause since before the run."""
    connector = MqttConnector(broker.host, broker.port, source_id="line-3")
    engine = Engine(connector=connector, require_control=require_control)
    events = watch_tasks(engine)
    run = asyncio.create_task(engine.run(step.map(x=list(range(20)))))
    try:
        yield engine, events, run
    finally:
        run.cancel()
        await asyncio.wait({run})


def starts(events: list[TaskStateEvent]) -> int:
    return sum(event.state is TaskState.RUNNING for event in events)


def warnings(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    found = (each.getMessage() for each in caplog.records if each.levelno == logging.WARNING)
    return [each for each in found if text in each]


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("order", ["first", "late"])
@pytest.mark.parametrize(
    ("others", "cuts"),
    [
        (50, 5),
        pytest.param(50, 100, marks=pytest.mark.nightly),
        pytest.param(500, 100, marks=pytest.mark.nightly),
    ],
)
async def test_i3_a_pause_survives_reconnections_to_a_broker_that_echoes_early(
    order: str, others: int, cuts: int, no_leaks: None
) -> None:
    """I3, row 36: a pause set before the run, other registers, forced reconnections: no task ever starts."""
    with OddBroker(retained_order=order) as broker:  # type: ignore[arg-type] # one of its two orders
        await write(broker, *leftovers(others), (PAUSE_TOPIC, PAUSE))
        async with paused_run(broker) as (engine, events, run):
            await eventually(lambda: len(events) >= 20)
            for number in range(cuts):
                connects = broker.connects
                broker.cut()
                await eventually(partial(has_connected_since, broker, connects), 30)
                for _ in range(50):
                    await asyncio.sleep(0)
                if number % 2 or number == cuts - 1:  # the others are cut again amid their sync
                    await eventually(partial(is_settled, engine), 60)
                assert engine._parts.admission.policy.constrained
                assert starts(events) == 0
            assert len(engine._parts.admission.policy.gates.by_key) == others + 1
            await write(broker, (PAUSE_TOPIC, b""))
            assert await run == list(range(20))


async def test_a_set_that_is_cut_lifts_no_register(no_leaks: None, caplog: pytest.LogCaptureFixture) -> None:
    """Row 36: a broker sends 100 of 150 retained messages at each SUBSCRIBE; what was in force stays in force."""
    with OddBroker() as broker:
        registers = leftovers(150)
        await write(broker, *registers, (PAUSE_TOPIC, PAUSE))
        async with paused_run(broker) as (engine, events, _):
            gates = engine._parts.admission.policy.gates.by_key
            await eventually(lambda: len(gates) == 151, 20)
            broker.retained_limit = 100
            connects, subscribes = broker.connects, len(broker.subscribes)
            broker.cut()
            await eventually(lambda: broker.connects > connects, 30)
            await eventually(lambda: len(broker.subscribes) > subscribes + 2, 30)  # it has asked again
            assert len(engine._parts.admission.policy.gates.by_key) == 151
            assert starts(events) == 0
    assert warnings(caplog, "no longer has these constraints") == []


@pytest.mark.full
async def test_withheld_retained_messages_are_degraded_and_required_control_waits(
    no_leaks: None, caplog: pytest.LogCaptureFixture
) -> None:
    """Row 36: a broker sends nothing retained for a wildcard; exact topics are obeyed, one WARNING, no start."""
    with OddBroker(retained_for_wildcards=False) as broker:
        await write(broker, (PAUSE_TOPIC, PAUSE), *leftovers(3))
        async with paused_run(broker) as (engine, events, run):
            await eventually(lambda: len(events) >= 20, 20)
            assert starts(events) == 0
            assert ("global", "pause") in engine._parts.admission.policy.gates.by_key
            await eventually(lambda: warnings(caplog, "did not send a retained message"), 20)
            await write(broker, (PAUSE_TOPIC, b""))
            assert await run == list(range(20))
        assert len(warnings(caplog, "retained message")) == 1
        async with paused_run(broker, require_control=True) as (engine, events, run):
            await eventually(lambda: len(warnings(caplog, "did not send a retained message")) == 2, 20)
            assert not events
            assert not run.done()


@pytest.mark.full
async def test_a_pause_of_a_run_is_known_before_its_first_task(no_leaks: None) -> None:
    """The exact topics of a run join the watch as it begins, also between two runs of one connection."""
    with OddBroker(retained_for_wildcards=False) as broker:
        topic = constraint_topic("run:here", "pause")
        await write(broker, (topic, PAUSE))  # before the connection: the wildcard does not bring it
        async with MqttConnector(broker.host, broker.port, source_id="line-3") as connector:
            assert await Engine(connector=connector).run(step(1)) == 1
            engine = Engine(connector=connector)
            events = watch_tasks(engine)
            run = asyncio.create_task(engine.run(step(2), run_id="here"))
            await eventually(lambda: events, 20)
            assert [event.state for event in events] == [TaskState.BLOCKED]
            await write(broker, (topic, b""))
            assert await run == 2
