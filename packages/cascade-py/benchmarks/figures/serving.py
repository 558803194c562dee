"""A service in a process of its own: the time from a request to its first step, and a flood of requests beside a run."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import aiomqtt

from cascade.interfaces.topics import request_topic
from cascade.testkit.brokers import Broker, start_broker
from figures import flushes
from figures.measure import Settings, alternate, run
from figures.table import Row, no_more_than

TITLE = "from a request at the broker to its first step, and events of a run beside requests that are refused"

SOURCE = "bench-press"
RATE = 1_000
"""Requests a second that are refused."""
_STEPS_A_SECOND = 80
"""Of steps of 10 ms, one at a time."""
_STARTING = 2.0
"""Seconds in which the program that asks has started."""
_WAITING = 10
"""Requests that fill the queue of a workflow."""
_BETWEEN = 0.02
"""Seconds between a response and the next request."""
_PATIENCE = 60.0
_PROGRAMS = Path(__file__).parent / "programs"


@dataclass(frozen=True, slots=True)
class Flood:
    """What happened while requests came."""

    late: list[float]
    """Seconds from each event of the run until it arrived."""
    asked: int = 0
    full: int = 0
    """Requests that were refused because the queue is full."""


def rows(settings: Settings) -> Iterator[Row]:
    """Measure requests one at a time, and a flood of them."""
    with start_broker() as broker:
        yield run(_first_step(broker, settings))
        # what is temporary is often in memory, where a flush takes no time
        with tempfile.TemporaryDirectory(dir=Path(__file__).parents[2]) as folder:
            yield run(_first_recorded_step(Path(folder), broker, settings))
        yield from run(_flood(broker, settings))


async def _first_step(broker: Broker, settings: Settings) -> Row:
    n = settings.size(300)
    async with _serving(broker, "-"), _client(broker, "cascade/responses/#") as client:
        (times,) = await alternate(settings.rounds_or(5), lambda: _until_begun(client, n))
    return Row("a request, its first step runs: p99", "ms", times, target=no_more_than(20))


async def _first_recorded_step(folder: Path, broker: Broker, settings: Settings) -> Row:
    """Measure the same of runs in a folder, beside the flushes of the disk that they need before their first step."""
    n = settings.size(300)
    async with _serving(broker, str(folder / "runs")), _client(broker, "cascade/responses/#") as client:
        times, flushed = await alternate(
            settings.rounds_or(5), lambda: _until_begun(client, n), lambda: flushes.of_a_run(folder, n)
        )
    return Row("- recorded with state=", "ms", times, flushes.NAME, flushed, no_more_than(20))


async def _until_begun(client: aiomqtt.Client, n: int) -> float:
    times = []
    for _ in range(n):
        began = time.time()
        await client.publish(request_topic(SOURCE, "moment"), b'{"wait": true}', 1)
        response = await _next(client)
        times.append(response["value"] - began)
        # else it waits for the flush that notes the answer before
        await asyncio.sleep(_BETWEEN)
    return flushes.p99(times)


async def _flood(broker: Broker, settings: Settings) -> list[Row]:
    """Measure how late the events of a run arrive, while one waiting queue is full and more requests come."""
    seconds = 1.0 if settings.quick else 5.0
    alone, beside = await alternate(
        settings.rounds_or(3), lambda: _late(broker, seconds, 0), lambda: _late(broker, seconds, RATE)
    )
    latest = [[max(each.late) * 1e3 for each in side] for side in (beside, alone)]
    refused = [each.asked - each.full for each in beside]
    name = f"{RATE:,} requests/s refused, the latest event"
    return [
        Row(name, "ms", latest[0], "no requests", latest[1], no_more_than(50)),
        Row("- requests not answered as full", "", refused, target=no_more_than(0)),
    ]


async def _late(broker: Broker, seconds: float, rate: int) -> Flood:
    """Return how late the events of a run arrive; it has begun, and the queue behind it is full, before requests come."""
    topic = request_topic(SOURCE, "job")
    events = "cascade/telemetry/+/+/job~long/events"
    async with _serving(broker, "-"), _client(broker, events, "cascade/responses/+/+") as client:
        steps = int((seconds + _STARTING) * _STEPS_A_SECOND)
        for number in range(1 + _WAITING):
            asked = {"id": str(number) if number else "long", "params": {"steps": 1 if number else steps}}
            await client.publish(topic, json.dumps(asked), 1)
            while (await _next(client)).get("status") != "accepted":
                # events of the run come between
                pass
        await client.unsubscribe("cascade/responses/+/+")
        asking = asyncio.create_task(_ask(broker, topic, rate, seconds)) if rate else None
        late = []
        while (event := await _next(client))["body"].get("event") != "ENGINE_STOPPED":
            late.append(time.time() - datetime.fromisoformat(event["ts"]).timestamp())
        return Flood(late) if asking is None else Flood(late, *await asking)


async def _ask(broker: Broker, topic: str, rate: int, seconds: float) -> tuple[int, int]:
    """Ask from a process of its own; return how many requests were sent, and how many refused as full."""
    arguments = [broker.host, broker.port, topic, '{"params": {"steps": 1}}', f"cascade/responses/{SOURCE}/+"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *(str(_PROGRAMS / "asking.py"), *map(str, arguments), str(rate), str(seconds)),
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    report = json.loads(printed)
    if report["asked"] < 0.9 * rate * seconds:
        raise RuntimeError(f"only {report['asked']} requests were sent in {report['seconds']:.1f} s")
    return report["asked"], report["codes"].get("full", 0)


@asynccontextmanager
async def _serving(broker: Broker, folder: str) -> AsyncIterator[None]:
    """Start the service, wait until it offers its workflows, and kill it at the end."""
    topic = f"cascade/state/{SOURCE}/workflows"
    async with _client(broker, topic) as client:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(_PROGRAMS / "serving.py"), f"{broker.url}?source_id={SOURCE}", folder),
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await _next(client)
            yield
        finally:
            process.kill()
            await process.wait()
            await client.publish(topic, b"", 1, retain=True)


@asynccontextmanager
async def _client(broker: Broker, *filters: str) -> AsyncIterator[aiomqtt.Client]:
    # else a delayed ACK is what is measured
    at_once = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)
    async with aiomqtt.Client(broker.host, broker.port, socket_options=at_once) as client:
        await client.subscribe([(each, 1) for each in filters])
        yield client


async def _next(client: aiomqtt.Client) -> dict[str, Any]:
    async with asyncio.timeout(_PATIENCE):
        async for message in client.messages:
            content: dict[str, Any] = json.loads(bytes(message.payload))
            return content
    raise RuntimeError("the link has ended")
