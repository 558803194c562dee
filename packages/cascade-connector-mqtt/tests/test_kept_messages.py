"""Messages that a broker keeps until they are stored: all of them are settled, in order, whatever they hold."""

import asyncio
import random
from functools import partial
from typing import Any

import aiomqtt
import pytest

from cascade.connectors.mqtt import MqttConnector
from cascade.connectors.mqtt._client_port import Packet
from cascade.connectors.mqtt._unsettled import MOST, Unsettled
from cascade.interfaces.topics import telemetry_topic
from cascade.testkit import Broker, eventually

TOPIC = telemetry_topic("o", "kept", "r")


async def send(broker: Broker, payload: bytes, times: int = 1) -> None:
    """Publish as a foreign program would."""
    async with aiomqtt.Client(broker.host, broker.port) as client:
        for _ in range(times):
            await client.publish(TOPIC, payload, qos=1)


async def test_each_message_is_settled_once_in_order_of_arrival(seeded_random: random.Random) -> None:
    """Those that nobody can read behind the ones before them; reading stops while many wait."""
    held: list[bool] = []
    unsettled = Unsettled(held.append)
    arrived: list[Packet] = []
    settled: list[Packet] = []
    unread = 0

    async def settle() -> None:
        while True:
            taken = await unsettled.take()
            settled.extend(taken)
            unsettled.settled(taken)

    settling = asyncio.create_task(settle())
    for step in range(4 * MOST):
        if seeded_random.random() < (0.9 if step < 2 * MOST else 0.1) and held[-1:] != [True]:
            readable = seeded_random.random() < 0.8
            arrived.append(Packet(step, 1))
            unsettled.arrive(arrived[-1], readable=readable)
            unread += readable
        elif unread:
            unsettled.read()
            unread -= 1
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if not unread:
            assert settled == arrived
        assert settled == arrived[: len(settled)]
    settling.cancel()
    assert len(settled) > MOST
    assert held[:2] == [True, False]
    assert held[-1] is False


@pytest.mark.broker
@pytest.mark.wrong_messages("it tells the numbers apart", "cascade/telemetry/o/kept/#")
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_what_cannot_be_read_stalls_nothing_and_never_comes_again(
    mosquitto: Broker, protocol: str
) -> None:
    """More of it than the broker sends at a time; a further reader of the session gets what has come meanwhile, and only that."""
    found: list[int] = []

    async def receive(_topic: str, data: dict[str, Any]) -> None:
        found.append(data["n"])

    async def stored() -> None:
        pass

    def reader() -> MqttConnector:
        connector = MqttConnector(
            mosquitto.host, mosquitto.port, presence=False, required=True, protocol=protocol
        )
        connector.keep(f"kept-unreadable-{protocol}", stored)
        return connector

    first = reader()
    await first.subscribe(TOPIC, receive, 1)
    async with first:
        for n in range(3):
            await send(mosquitto, b"[", 500)
            await send(mosquitto, b'{"n": %d}' % n)
            await eventually(partial(found.__contains__, n))
        assert found == [0, 1, 2]
        assert first.statistics().discarded == {"undecodable": 1_500}
        assert (first.statistics().receive_maximum is not None) is (protocol == "5")
    await send(mosquitto, b'{"n": 3}')
    second = reader()
    await second.subscribe(TOPIC, receive, 1)
    async with second:
        await eventually(lambda: found == [0, 1, 2, 3])
        assert second.statistics().received == 1
