"""Messages of 300 bytes that leave in a second, beside raw aiomqtt; no JSON is made on its side."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

import aiomqtt

from cascade.connectors.mqtt import MqttConnector
from cascade.testkit.brokers import Broker, start_broker
from figures.measure import Settings, alternate, run
from figures.table import Row, at_least

TITLE = "300-byte messages a second, JSON included on our side, a ready text on aiomqtt's"

WINDOW = 100
RATES = {0: at_least(0.85), 1: at_least(1.0)}  # by QoS
TOPIC = "bench/publish"
PATIENCE = 120.0

_Sender = Callable[[aiomqtt.Client, str, int, int], Awaitable[None]]


def message(size: int = 300) -> dict[str, object]:
    """Return what becomes ``size`` bytes of JSON."""
    made: dict[str, object] = {
        "source": "press-line-3",
        "ts": "2026-11-21T03:00:20.269270+00:00",
        "seq": 1234,
        "temperature": 21.53,
        "pressure": 1013.25,
        "alarms": [],
        "body": {"type": "Reading", "unit": "C", "text": ""},
    }
    made["body"] = {"type": "Reading", "unit": "C", "text": "x" * (size - len(json.dumps(made)))}
    return made


def rows(settings: Settings) -> Iterator[Row]:
    """Measure our connector against three ways to publish with aiomqtt, at QoS 0 and 1."""
    logging.getLogger("mqtt").setLevel(logging.ERROR)  # aiomqtt warns of each of a thousand pending calls
    with start_broker() as broker:
        for qos in (0, 1):
            yield from run(_rates(broker, qos, settings))


async def _rates(broker: Broker, qos: int, settings: Settings) -> list[Row]:
    n = settings.size(5_000)
    senders = (_windowed, _one_at_a_time, _a_task_each)
    async with (
        aiomqtt.Client(broker.host, broker.port, timeout=PATIENCE) as client,
        MqttConnector(broker.host, broker.port) as connector,
    ):
        ours, *others = await alternate(
            settings.rounds_or(5),
            partial(_ours, connector, n, qos),
            *(partial(_theirs, send, client, n, qos) for send in senders),
        )
    ways = (
        (f"aiomqtt, window of {WINDOW}", RATES[qos]),
        ("aiomqtt, one at a time", None),
        ("aiomqtt, a task each", None),
    )
    return [
        Row(f"publish at QoS {qos}", "/s", ours, against, theirs, target)
        for (against, target), theirs in zip(ways, others, strict=True)
    ]


async def _ours(connector: MqttConnector, n: int, qos: int) -> float:
    made = message()
    before = connector.statistics().sent
    began = time.perf_counter()
    for _ in range(n):
        await connector.publish(TOPIC, made, qos)
    await connector.flush(PATIENCE)
    rate = n / (time.perf_counter() - began)
    sent = connector.statistics().sent - before
    if sent != n:
        raise RuntimeError(f"{sent} of {n} messages were sent")
    return rate


async def _theirs(send: _Sender, client: aiomqtt.Client, n: int, qos: int) -> float:
    text = json.dumps(message())
    began = time.perf_counter()
    await send(client, text, n, qos)
    return n / (time.perf_counter() - began)


async def _one_at_a_time(client: aiomqtt.Client, text: str, n: int, qos: int) -> None:
    for _ in range(n):
        await client.publish(TOPIC, text, qos)


async def _a_task_each(client: aiomqtt.Client, text: str, n: int, qos: int) -> None:
    await asyncio.gather(*[client.publish(TOPIC, text, qos) for _ in range(n)])


async def _windowed(client: aiomqtt.Client, text: str, n: int, qos: int) -> None:
    numbers = iter(range(n))

    async def worker() -> None:
        for _ in numbers:
            await client.publish(TOPIC, text, qos)

    await asyncio.gather(*[worker() for _ in range(WINDOW)])
