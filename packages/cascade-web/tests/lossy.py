"""A way to a broker that loses a part of the events on their way to the page, as a broker does for a slow reader."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from served_page import Upstream

from cascade.testkit.brokers import Broker

PUBLISH = 3


@dataclass
class Losses:
    """What has been lost and what has been carried."""

    upstream: Upstream
    lost: int = 0
    carried: int = 0


@asynccontextmanager
async def lossy(broker: Broker, chance: random.Random, *, share: float) -> AsyncIterator[Losses]:
    """Listen on a free port and connect each client to the broker; ``share`` of the events does not arrive."""
    tasks = set[asyncio.Task[None]]()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        to_broker = await asyncio.open_connection(broker.host, broker.port)
        copy = asyncio.create_task(_copy(reader, to_broker[1]), name="to the broker")
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                packet, topic = await _packet(to_broker[0])
                if topic.startswith(b"cascade/telemetry/") and chance.random() < share:
                    losses.lost += 1
                    continue
                losses.carried += topic.startswith(b"cascade/telemetry/")
                writer.write(packet)
                await writer.drain()
        copy.cancel()
        to_broker[1].close()
        writer.close()

    server = await asyncio.start_server(carry, "127.0.0.1", 0)
    losses = Losses(Upstream("127.0.0.1", server.sockets[0].getsockname()[1]))
    async with server:
        yield losses
        server.close()
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()


async def _packet(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Read one MQTT packet; return it, and its topic if it is a PUBLISH."""
    head = await reader.readexactly(1)
    length, scale = 0, 1
    while True:
        head += await reader.readexactly(1)
        length += (head[-1] & 127) * scale
        scale *= 128
        if head[-1] < 128:
            break
    body = await reader.readexactly(length)
    topic = body[2 : 2 + int.from_bytes(body[:2])] if head[0] >> 4 == PUBLISH else b""
    return head + body, topic
