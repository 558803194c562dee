"""A gate whose topic sends far too much: how soon it is unsubscribed, and what that costs the engine and its run."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import aiomqtt

from cascade.interfaces.topics import constraint_topic, state_topic
from cascade.testkit.brokers import Broker, start_broker
from figures.measure import Settings, alternate, run
from figures.table import Row, no_more_above, no_more_than

TITLE = "a gate on a topic with 10,000 values/s, beside a run with 20 steps a second"

SOURCE, TOPIC = "bench-press", "bench/power"
RATE = 10_000
SECONDS = 130.0
"""In which the topic is read again twice, after a minute each: what that costs, it costs in each ten minutes, too."""
_GATE = constraint_topic("task:held", "gate.power")
_PARAMS = {"topic": TOPIC, "path": "w", "above": 800}
_NODELAY = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)
_PATIENCE = 60.0
_FOLDER = Path(__file__).parents[1]


@dataclass(slots=True)
class Seen:
    """What one run showed."""

    late: float = 0.0
    """Milliseconds from the latest event of the run until it arrived."""
    unsubscribed: list[float] = field(default_factory=list)
    """When the engine reported that it no longer reads the topic."""
    core: float = 0.0
    """The CPU time of the engine, in percent of a core."""
    flooded: float = 0.0
    """When the first value was sent."""


def rows(settings: Settings) -> Iterator[Row]:
    """Measure runs with and without the values, in turns."""
    seconds = 6.0 if settings.quick else 65.0 if settings.brief else SECONDS
    with start_broker() as broker:
        beside, alone = run(
            alternate(
                settings.rounds_or(1), lambda: _seen(broker, seconds, RATE), lambda: _seen(broker, seconds, 0)
            )
        )
    name = f"{RATE:,} values/s on a gate's topic"
    first = [each.unsubscribed[0] - each.flooded for each in beside]
    cores = [[each.core for each in side] for side in (beside, alone)]
    latest = [[each.late for each in side] for side in (beside, alone)]
    yield Row(f"{name}: unsubscribed after", "s", first, target=no_more_than(6))
    yield Row(
        f"- CPU of the engine in {seconds:.0f} s", "%", cores[0], "no values", cores[1], no_more_above(1)
    )
    yield Row("- the latest event of the run", "ms", latest[0], "no values", latest[1], no_more_than(50))


async def _seen(broker: Broker, seconds: float, rate: int) -> Seen:
    """Return what the broker delivers of a run; the values come once it has begun."""
    found = Seen()
    async with _gate(broker) as client:
        engine = await _started("gated", f"{broker.url}?source_id={SOURCE}", seconds)
        sensor: asyncio.subprocess.Process | None = None
        try:
            async for topic, body, at in _messages(client):
                if topic == state_topic(SOURCE, "constraints"):
                    _note(body, at, found)
                    continue
                found.late = max(found.late, (at - datetime.fromisoformat(body["ts"]).timestamp()) * 1e3)
                if body["body"].get("event") == "ENGINE_STOPPED":
                    break
                if rate and sensor is None and body["body"].get("state") == "COMPLETED":
                    found.flooded = time.time()
                    sensor = await _started("flooding", broker.host, broker.port, TOPIC, rate)
            printed, _ = await engine.communicate()
        finally:
            for process in (engine, sensor):
                if process is not None and process.returncode is None:
                    process.kill()
                    await process.wait()
    measured = json.loads(printed)
    found.core = 100 * measured["cpu"] / measured["seconds"]
    return found


def _note(report: dict[str, Any], at: float, found: Seen) -> None:
    texts = [row["gate"]["text"] for row in report.get("effective", ()) if "gate" in row]
    if any("values/s" in text for text in texts):
        found.unsubscribed.append(at)


async def _messages(client: aiomqtt.Client) -> AsyncIterator[tuple[str, dict[str, Any], float]]:
    messages = aiter(client.messages)
    while True:
        async with asyncio.timeout(_PATIENCE):
            message = await anext(messages)
        yield str(message.topic), json.loads(bytes(message.payload)), time.time()


@asynccontextmanager
async def _gate(broker: Broker) -> AsyncIterator[aiomqtt.Client]:
    """Set a gate on tasks that the run does not have; yield a client that hears the run and the engine's reports."""
    async with aiomqtt.Client(broker.host, broker.port, socket_options=_NODELAY) as client:
        register = {"type": "gate.power", "params": _PARAMS}
        await client.publish(_GATE, json.dumps(register), 1, retain=True)
        await client.subscribe(
            [("cascade/telemetry/+/+/+/events", 1), (state_topic(SOURCE, "constraints"), 1)]
        )
        try:
            yield client
        finally:
            await client.publish(_GATE, b"", 1, retain=True)


async def _started(program: str, *arguments: object) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"figures.programs.{program}", *map(str, arguments)),
        cwd=_FOLDER,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
