"""Names on real brokers: those that cut the link are refused or encoded before they get there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from cascade.connectors.mqtt import MqttConnector
from cascade.interfaces import InvalidTopicError
from cascade.interfaces.topics import constraint_topic, state_topic, sync_topic, telemetry_topic
from cascade.testkit import Broker, eventually, unique_topic

pytestmark = pytest.mark.broker

BOUND = 10.0
ODD = "".join(
    map(chr, [*range(0x41), *range(0x7E, 0xA1), 0xFEFF, *range(0xFDCF, 0xFDF1), *range(0xFFFD, 0x10000)])
)
"""Every character that some broker might mind, with its neighbours."""
LAST_OF_PLANES = "".join(
    chr(plane + low) for plane in range(0x10000, 0x110000, 0x10000) for low in (0xFFFE, 0xFFFF)
)


@pytest.fixture(params=["mosquitto", "nats_server"])
def broker(request: pytest.FixtureRequest) -> Broker:
    """Each of the brokers."""
    found: Broker = request.getfixturevalue(request.param)
    return found


@pytest_asyncio.fixture
async def connector(broker: Broker) -> AsyncIterator[MqttConnector]:
    """A connector that had one link from the first to the last moment."""
    async with MqttConnector(broker.host, broker.port) as made:
        yield made
        assert await exchange(made, unique_topic())
        assert made.statistics().connections == 1


async def exchange(connector: MqttConnector, topic: str) -> bool:
    """Return whether a message comes back on a topic that is subscribed to."""
    heard: list[str] = []

    async def hear(found: str, data: dict[str, Any]) -> None:
        heard.append(found)

    subscription = await connector.subscribe(topic, hear, 1)
    await connector.publish(topic, {}, 1)
    await eventually(lambda: topic in heard, BOUND)
    await subscription.unsubscribe()
    return heard == [topic]


@pytest.mark.parametrize(
    "text",
    [
        "\0",
        "\t",
        "\x7f",
        "\x9f",
        "\ud800",
        "\ufdd0",
        "\ufffe",
        "\uffff",
        "\U0010ffff",
        "/" * 201,
        "x" * 65_534,
    ],
    ids=lambda text: ascii(text[:1]),
)
async def test_row_12_a_name_that_would_cut_the_link_does_not_reach_it(
    connector: MqttConnector, text: str
) -> None:
    """It is refused in words, to publish to as to listen to, and the link holds."""
    for call in (connector.publish(f"a/{text}", {}), connector.subscribe(f"a/{text}", hear_nothing)):
        with pytest.raises(InvalidTopicError):
            await call
    with pytest.raises(InvalidTopicError):
        connector.watch(f"a/{text}")


async def hear_nothing(topic: str, data: dict[str, Any]) -> None:
    raise AssertionError(topic)


@pytest.mark.wrong_messages("it is about topics", "cascade/#")
async def test_row_12_a_level_built_from_any_data_passes(connector: MqttConnector) -> None:
    """As organisation, project, run, source or pattern: the broker takes it, and gives it back unchanged."""
    for text in (ODD, LAST_OF_PLANES, "\ud800\udfff", "$x", "@x", "%41", "."):
        for topic in (
            telemetry_topic(text, text, text),
            constraint_topic(f"task:{text}", "pause"),
            sync_topic(text, text),
            state_topic(text, "runs"),
        ):
            assert await exchange(connector, topic)


async def test_row_12_the_longest_names_pass(mosquitto: Broker) -> None:
    """What is allowed at the limits works: 201 levels, 65,535 bytes."""
    async with MqttConnector(mosquitto.host, mosquitto.port) as connector:
        assert await exchange(connector, "/".join("x" * 201))
        assert await exchange(connector, "x" * 65_535)
        assert connector.statistics().connections == 1
