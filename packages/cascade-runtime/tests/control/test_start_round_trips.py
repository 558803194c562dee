"""The packets with which a run begins and ends, over a link on which answers are late."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from cascade.connectors.mqtt import MqttConnector
from cascade.interfaces.topics import constraint_topic
from cascade.runtime import Engine
from cascade.spec import task
from cascade.testkit import eventually
from cascade.testkit.chaos import ChaosProxy, Direction
from testing_tools.odd_broker import OddBroker

pytestmark = [pytest.mark.broker, pytest.mark.process]

NAME = "line-3"
RUN = "night-7"
AGES = 60.0


def asked(broker: OddBroker) -> list[list[str]]:
    """The filters of each packet that the broker has got."""
    return [[each for each, _ in packet] for packet in list(broker.subscribes)]


@task
async def nothing() -> None:
    pass


def named(broker: OddBroker) -> MqttConnector:
    return MqttConnector(broker.host, broker.port, source_id=NAME)


@dataclass(frozen=True)
class Start:
    proxy: ChaosProxy
    connector: MqttConnector
    began: asyncio.Event


@asynccontextmanager
async def starting(broker: OddBroker, *, name: str | None) -> AsyncIterator[Start]:
    """A run that begins over a link on which the broker receives packets, and its answers do not arrive."""
    began, release = asyncio.Event(), asyncio.Event()

    @task
    async def begin() -> None:
        began.set()
        await release.wait()

    broker.subscribes.clear()
    broker.published.clear()
    async with ChaosProxy(broker.port) as proxy:
        proxy.stall(Direction.DOWN)
        connector = MqttConnector(proxy.host, proxy.port, source_id=name, connect_timeout=AGES)
        engine = Engine(connector=connector, require_control=True)
        run = asyncio.create_task(engine.run(begin(), run_id=RUN))
        try:
            yield Start(proxy, connector, began)
            proxy.resume()
            release.set()
            await asyncio.wait_for(run, AGES)
        finally:
            proxy.resume()
            run.cancel()
            await asyncio.wait({run})


async def test_the_start_without_a_name_asks_for_everything_in_its_first_packets(no_leaks: None) -> None:
    """The constraints of the run are among them: a further SUBSCRIBE would need a further nonce."""
    with OddBroker() as broker:
        async with starting(broker, name=None) as start:
            assert not start.began.is_set()
            start.proxy.resume()
            await asyncio.wait_for(start.began.wait(), AGES)
            filters = asked(broker)[0]
            assert filters[0] == constraint_topic(f"run:{RUN}")
            assert constraint_topic("global", "pause") in filters
            assert filters[-2] == "cascade/constraints/#"
        assert sum(constraint_topic(f"run:{RUN}") in packet for packet in asked(broker)) == 1


@pytest.mark.full
async def test_a_run_that_is_cancelled_while_it_connects_leaves_no_filter(no_leaks: None) -> None:
    """Another run connects the same connector: the topics of the cancelled one are not watched any longer."""
    with OddBroker() as broker:
        async with starting(broker, name=NAME) as start:
            engine = Engine(connector=start.connector)
            other = asyncio.create_task(engine.run(nothing(), run_id="other"))
            await eventually(lambda: engine._parts.control._prepared, AGES)
            other.cancel()
            await asyncio.wait({other})
            start.proxy.resume()
            await asyncio.wait_for(start.began.wait(), AGES)
            await eventually(lambda: constraint_topic(f"run:{RUN}") in broker.filters(), AGES)
            await eventually(lambda: constraint_topic("run:other") not in broker.filters(), AGES)


async def test_the_end_of_a_run_that_disconnects_does_not_unsubscribe(no_leaks: None) -> None:
    """The broker forgets the filters with the connection: the run does not wait for one more answer."""
    with OddBroker() as broker:
        await Engine(connector=named(broker)).run(nothing(), run_id=RUN)
        assert "cascade/constraints/#" in asked(broker)[0]
        assert not any("cascade/constraints/#" in packet for packet in broker.unsubscribes)


@pytest.mark.full
async def test_a_run_that_leaves_the_connector_connected_gives_its_topics_up_soon(no_leaks: None) -> None:
    """A process that runs for ever does not gather the topics of its runs."""
    with OddBroker() as broker:
        async with named(broker) as connector:
            engine = Engine(connector=connector)
            for number in range(3):
                await engine.run(nothing(), run_id=f"{RUN}-{number}")
            await eventually(lambda: not [each for each in broker.filters() if RUN in each], AGES)
            assert "cascade/constraints/#" in broker.filters()


async def test_a_run_of_the_same_id_asks_for_its_constraints_anew(no_leaks: None) -> None:
    """Its topics may still be watched; a broker sends retained messages only with a subscription."""
    with OddBroker() as broker:
        async with named(broker) as connector:
            engine = Engine(connector=connector, require_control=True)
            for _ in range(2):
                await asyncio.wait_for(engine.run(nothing(), run_id=RUN), AGES)
        assert sum(constraint_topic(f"run:{RUN}") in packet for packet in asked(broker)) >= 2
