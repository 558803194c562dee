"""Messages of 300 bytes over NATS, beside bare nats-py: sent, acknowledged and received; and the cost of an event."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from cascade.connectors.nats import NatsConnector
from cascade.interfaces.topics import telemetry_topic
from cascade.testkit.brokers import NatsServer
from figures import event
from figures.measure import Settings, alternate, run
from figures.publish import WINDOW, message
from figures.receive import SUBSCRIPTIONS, Count
from figures.table import Row, at_least

TITLE = "300-byte messages a second over NATS, JSON included on our side"

TOPIC = telemetry_topic("bench", "bench", "run")
SUBJECT = TOPIC.replace("/", ".")
PATIENCE = 120.0


def rows(settings: Settings) -> Iterator[Row]:
    """Measure publishing and receiving against nats-py, with and without JSON on its side, and an event."""
    with NatsServer() as server:
        yield from run(_rates(server, settings))


async def _rates(server: NatsServer, settings: Settings) -> list[Row]:
    client = await nats.connect(server.nats_url)
    async with NatsConnector(server.host, server.nats_port) as connector:
        try:
            return [
                *await _published(client, connector, settings),
                *await _acknowledged(client, connector, settings),
                *await _received(server, client, connector, settings),
                await event.cost(connector, settings),
            ]
        finally:
            await client.close()


async def _published(client: Client, connector: NatsConnector, settings: Settings) -> list[Row]:
    n = settings.size(20_000)
    ours, ready, encoded = await alternate(
        settings.rounds_or(5),
        partial(_ours, connector, n, 0),
        partial(_bare, client, n, json_each=False),
        partial(_bare, client, n, json_each=True),
    )
    return [
        Row("publish at QoS 0", "/s", ours, "nats-py, a ready text", ready, None),
        Row("publish at QoS 0", "/s", ours, "nats-py and json.dumps", encoded, at_least(0.85)),
    ]


async def _acknowledged(client: Client, connector: NatsConnector, settings: Settings) -> list[Row]:
    n = settings.size(5_000)
    ours, theirs = await alternate(
        settings.rounds_or(5), partial(_ours, connector, n, 1), partial(_bare_stream, client, n)
    )
    return [
        Row("publish at QoS 1", "/s", ours, f"JetStream, window of {WINDOW}", theirs, at_least(0.85)),
    ]


async def _ours(connector: NatsConnector, n: int, qos: int) -> float:
    made = message()
    before = connector.statistics().sent
    began = time.perf_counter()
    for _ in range(n):
        await connector.publish(TOPIC, made, qos)
    await connector.flush(PATIENCE)
    rate = n / (time.perf_counter() - began)
    if (sent := connector.statistics().sent - before) != n:
        raise RuntimeError(f"{sent} of {n} messages were sent")
    return rate


async def _bare(client: Client, n: int, *, json_each: bool) -> float:
    made = message()
    text = json.dumps(made).encode()
    began = time.perf_counter()
    for _ in range(n):
        await client.publish(SUBJECT, json.dumps(made).encode() if json_each else text)
    await client.flush()
    return n / (time.perf_counter() - began)


async def _bare_stream(client: Client, n: int) -> float:
    stream, text, numbers = client.jetstream(), json.dumps(message()).encode(), iter(range(n))

    async def worker() -> None:
        for _ in numbers:
            await stream.publish(SUBJECT, text)

    began = time.perf_counter()
    await asyncio.gather(*[worker() for _ in range(WINDOW)])
    return n / (time.perf_counter() - began)


async def _received(
    server: NatsServer, client: Client, connector: NatsConnector, settings: Settings
) -> list[Row]:
    n = settings.size(10_000)
    counts = {side: Count() for side in ("ours", "bare", "decoding")}

    async def ours(_topic: str, data: dict[str, Any]) -> None:
        assert data["seq"]
        counts["ours"].arrive()

    async def bare(_message: Msg) -> None:
        counts["bare"].arrive()

    async def decoding(message: Msg) -> None:
        assert json.loads(message.data)["seq"]
        counts["decoding"].arrive()

    for number in range(SUBSCRIPTIONS):
        await connector.subscribe(f"bench/ours/{number}/+", ours)
        await client.subscribe(f"bench.bare.{number}.*", cb=bare)
        await client.subscribe(f"bench.decoding.{number}.*", cb=decoding)
    await client.flush()
    sides: list[Callable[[], Awaitable[float]]] = [
        partial(_rate, server, side, counts[side], n) for side in counts
    ]
    mine, theirs, decoded = await alternate(settings.rounds_or(7), *sides)
    name = f"receive, {SUBSCRIPTIONS} subscriptions"
    return [
        Row(name, "/s", mine, "nats-py, not decoded", theirs, None),
        Row(name, "/s", mine, "nats-py and json.loads", decoded, at_least(0.75)),
    ]


async def _rate(server: NatsServer, side: str, count: Count, n: int) -> float:
    payload = json.dumps(message()).encode()
    subjects = [f"bench.{side}.{number}.readings" for number in range(SUBSCRIPTIONS)]
    commands = b"".join(
        b"PUB %b %d\r\n%b\r\n" % (subjects[number % SUBSCRIPTIONS].encode(), len(payload), payload)
        for number in range(n)
    )
    count.expect(n)
    began = time.perf_counter()
    flooding = asyncio.create_task(asyncio.to_thread(_flood, server, commands), name="flood")
    await count.wait()
    taken = time.perf_counter() - began
    await flooding
    return n / taken


def _flood(server: NatsServer, commands: bytes) -> None:
    """Send commands as they are, and wait until the server has taken them."""
    with socket.create_connection((server.host, server.nats_port), timeout=PATIENCE) as link:
        link.sendall(b'CONNECT {"verbose": false}\r\n' + commands + b"PING\r\n")
        while b"PONG" not in link.recv(65_536):
            pass
