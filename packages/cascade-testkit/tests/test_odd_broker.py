"""The odd broker: correct with no switch set, odd in one thing with one switch set."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiomqtt
import pytest
import pytest_asyncio

from cascade.testkit import time_limit
from testing_tools.odd_broker import OddBroker

pytestmark = pytest.mark.broker

SET = {f"set/{n}": str(n).encode() for n in range(20)}


@pytest.fixture
def odd() -> Iterator[OddBroker]:
    with OddBroker() as broker:
        yield broker


def client_of(broker: OddBroker, **keywords: object) -> aiomqtt.Client:
    return aiomqtt.Client(broker.host, broker.port, **keywords)  # type: ignore[arg-type]


@pytest_asyncio.fixture
async def client(odd: OddBroker) -> AsyncIterator[aiomqtt.Client]:
    async with client_of(odd) as connected:
        yield connected


async def take(client: aiomqtt.Client, count: int) -> list[tuple[str, bytes, bool]]:
    """Return the next messages of a client: topic, payload, retain flag."""
    taken: list[tuple[str, bytes, bool]] = []
    async with time_limit(50):
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            taken.append((message.topic.value, message.payload, message.retain))
            if len(taken) == count:
                break
    return taken


def fill(broker: OddBroker) -> None:
    """Give a broker the retained set of these tests."""
    for topic, payload in SET.items():
        broker.publish(topic, payload, retain=True)


async def set_and_echo(client: aiomqtt.Client, count: int) -> list[str]:
    """Subscribe to the set and to an echo, publish the echo, and return the topics in order of arrival."""
    await client.subscribe([("set/#", 0), ("echo", 0)])
    await client.publish("echo", b"x")
    return [topic for topic, _, _ in await take(client, count)]


@pytest.mark.parametrize(
    ("switches", "topics"),
    [
        ({}, [*SET, "echo"]),
        ({"retained_order": "late", "late_seconds": 60.0}, ["echo", *SET]),
        ({"retained_limit": 5}, [*[*SET][:5], "echo"]),
        ({"retained_for_wildcards": False}, ["echo"]),
    ],
    ids=["correct", "late", "cut", "withheld"],
)
async def test_each_switch_changes_the_retained_set_in_its_way(
    odd: OddBroker, client: aiomqtt.Client, switches: dict[str, Any], topics: list[str]
) -> None:
    """Without one the set is whole and comes before an echo."""
    fill(odd)
    for name, value in switches.items():
        setattr(odd, name, value)
    assert await set_and_echo(client, len(topics)) == topics
