"""The cost of an outbox on disk: CPU time of messages through it, beside the same messages in memory only."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import quantiles
from typing import Any

from cascade.connectors.mqtt import MqttConnector
from cascade.interfaces.logs import get_logger
from cascade.runtime import Outbox
from cascade.runtime._outbox.file import OutboxFile, OutboxPaths
from cascade.runtime._outbox.file import Row as Stored
from cascade.runtime._outbox.schema import KIND, State
from cascade.runtime._storage import database
from cascade.runtime._support.publish_queue import PublishQueue
from cascade.testkit.brokers import Broker, start_broker
from figures.measure import Settings, alternate, busy, run
from figures.memory import peak_memory
from figures.publish import message
from figures.table import Row, at_most, no_more_than

TITLE = "messages of 300 bytes through an outbox on disk (NORMAL), beside the outbox in memory"

TOPIC = "bench/outbox"
LIVE = "bench/live"
SOURCE = "bench-press"
PATIENCE = 120.0
LIVE_RATE = 100
"""New events a second beside a backlog."""
RATE = 900
"""Messages a second of a healthy link."""


def rows(settings: Settings) -> Iterator[Row]:
    """Measure bursts at QoS 0 and 1, how many rows a healthy link writes, and new events beside a backlog."""
    with start_broker() as broker:
        for qos in (0, 1):
            yield run(_burst(broker, qos, settings))
        yield run(_written(broker, settings))
        yield from run(_beside_a_backlog(broker, settings))


async def _burst(broker: Broker, qos: int, settings: Settings) -> Row:
    n = settings.size(10_000)
    async with MqttConnector(broker.host, broker.port) as connector:
        memory, disk = await alternate(
            settings.rounds_or(5),
            partial(_loop_time, partial(_in_memory, connector, n, qos)),
            partial(_loop_time, partial(_on_disk, connector, n, qos)),
        )
    return Row(
        f"{n:,} in a burst at QoS {qos}, CPU time of the loop", "ms", disk, "in memory", memory, at_most(1.5)
    )


async def _loop_time(work: Callable[[], Awaitable[object]]) -> float:
    """Return the milliseconds of CPU time of the event loop, which bounds the rate: the file has a thread of its own."""
    return 1e3 * await busy(work())


async def _in_memory(connector: MqttConnector, n: int, qos: int) -> None:
    queue = PublishQueue(connector, content="messages", logger=get_logger("cascade.bench"))
    text = json.dumps(message())
    for _ in range(n):
        queue.publish_text(TOPIC, text, qos)
    if not await connector.flush(PATIENCE):
        raise RuntimeError("the messages were not sent")


async def _on_disk(connector: MqttConnector, n: int, qos: int) -> None:
    text = json.dumps(message())
    with tempfile.TemporaryDirectory() as place:
        async with Outbox(Path(place) / "events").attached(connector) as queue:
            for _ in range(n):
                queue.publish_text(TOPIC, text, qos)
            await queue.drain(PATIENCE)
        if queue.sent != n:
            raise RuntimeError(f"{queue.sent} of {n} messages were sent")


async def _written(broker: Broker, settings: Settings) -> Row:
    n = settings.size(2_000)
    written = 0
    write = OutboxFile.write

    def counted(self: OutboxFile, rows: Sequence[Stored], state: State) -> int:
        nonlocal written
        written += len(rows)
        return write(self, rows, state)

    OutboxFile.write = counted  # type: ignore[method-assign]
    try:
        shares = []
        for _ in range(settings.rounds_or(3)):
            written = 0
            await _paced(broker, n)
            shares.append(100 * written / n)
    finally:
        OutboxFile.write = write  # type: ignore[method-assign]
    return Row(f"rows that reach the disk, of {n:,} at {RATE}/s", "%", shares, "", (), no_more_than(2.0))


async def _paced(broker: Broker, n: int) -> None:
    text = json.dumps(message())
    with tempfile.TemporaryDirectory() as place:
        outbox = Outbox(Path(place) / "events")
        async with (
            MqttConnector(broker.host, broker.port) as connector,
            outbox.attached(connector) as queue,
        ):
            for _ in range(n):
                queue.publish_text(TOPIC, text, 1)
                await asyncio.sleep(1 / RATE)


async def _beside_a_backlog(broker: Broker, settings: Settings) -> list[Row]:
    """Measure how late new events are that overtake a backlog, and how much memory it takes."""
    backlog, live = settings.size(1_000_000), settings.size(1_000)
    lags: list[float] = []

    async def note(topic: str, data: dict[str, Any]) -> None:
        lags.append(time.monotonic() - data["at"])

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "events"
        _fill(folder, backlog)
        async with (
            MqttConnector(broker.host, broker.port, presence=False) as reader,
            MqttConnector(broker.host, broker.port, source_id=SOURCE) as connector,
        ):
            await reader.subscribe(LIVE, note, 1)
            before = peak_memory()
            outbox = Outbox(folder, order="live-first", max_bytes=4 << 30)
            async with outbox.attached(connector) as queue:
                for _ in range(live):
                    queue.publish(LIVE, {"at": time.monotonic()}, 1)
                    await asyncio.sleep(1 / LIVE_RATE)
                async with asyncio.timeout(PATIENCE):
                    while len(lags) < live:  # noqa: ASYNC110 - it is outside of what is measured
                        await asyncio.sleep(0.01)
                grown = (peak_memory() - before) / (1 << 20)
                sent = queue.sent - live
    late = quantiles(lags, n=100, method="inclusive")[-1]
    name = f"beside a backlog of {backlog:,}"
    return [
        Row(f"{name}, a new event arrives: p99", "s", [late], target=no_more_than(1)),
        Row(f"{name}, memory while {sent:,} were sent", "MiB", [grown], target=no_more_than(40)),
    ]


def _fill(folder: Path, count: int) -> None:
    """Write what many runs without a link would have left."""
    folder.mkdir(mode=0o700)
    text = json.dumps({"pad": "x" * 150})
    connection = database.open_to_write(OutboxPaths.of(folder, SOURCE).database, KIND, power_safe=False)
    with contextlib.closing(connection), connection:
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO message VALUES (?, ?, ?, 1, ?, ?, 0, ?)",
            (
                (number, TOPIC, text, time.time(), f"event-{number}", State.WAITS)
                for number in range(1, count + 1)
            ),
        )
