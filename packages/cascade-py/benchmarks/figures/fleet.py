"""Many named engines in a few processes, beside their broker: how soon all of them obey a pause."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import aiomqtt

from cascade.interfaces.topics import constraint_topic
from cascade.testkit.brokers import Broker, start_broker
from figures.measure import Settings, run
from figures.table import Row, no_more_than

TITLE = "many engines with a run each, in 4 processes beside their broker"

PROCESSES = 4
TIMEOUT = 300.0
_PROGRAM = "figures.programs.fleet"
_FOLDER = Path(__file__).parents[1]
_PAUSE = constraint_topic("global", "pause")
_NODELAY = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)


@dataclass(frozen=True, slots=True)
class Measured:
    """What one fleet showed."""

    synced: float
    """Seconds from the start of the processes until every engine is in sync."""
    applied: list[float]
    """For each round, seconds from a pause until the last engine reports that it obeys."""
    half: list[float]
    """The same until half of the engines do."""
    lost: int
    """How many times an engine was reported offline."""


class Watcher:
    """Reads the reports and the presence of all engines."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self.lost = 0
        self._client = client

    async def until(self, wanted: int, **expected: str | None) -> list[float]:
        """Return when each engine's latest report first was as expected, the earliest first.

        :param expected: ``sync`` of the report, or ``status`` of the pause in it.
        """
        times: dict[str, float] = {}
        async for message in self._client.messages:
            body = json.loads(bytes(message.payload))
            if "constraints" not in str(message.topic):
                self.lost += body["status"] == "offline"
            elif _facts(body).items() >= expected.items():
                times.setdefault(body["source"], time.perf_counter())
                if len(times) == wanted:
                    break
            else:
                times.pop(body["source"], None)
        return [*times.values()]

    async def pause(self, wanted: int) -> tuple[float, float]:
        """Return the seconds until half of the engines, and until all report a pause; lift it again."""
        began = time.perf_counter()
        await self._client.publish(_PAUSE, b'{"type":"pause"}', qos=1, retain=True)
        times = [at - began for at in await self.until(wanted, status="applied")]
        await self._client.publish(_PAUSE, b"", qos=1, retain=True)
        await self.until(wanted, status=None)
        return median(times), times[-1]


def rows(settings: Settings) -> Iterator[Row]:
    """Measure a fleet that is paused, and a larger one that has to stay connected."""
    count = _whole(settings.size(1_000))
    found = run(_measure(count, settings.rounds_or(5)))
    name = f"{count:,} engines report a pause as applied"
    yield Row(name, "s", found.applied, target=no_more_than(1))
    yield Row("- half of them", "s", found.half)
    yield Row("- in sync after their processes start", "s", [found.synced])
    yield Row("- links lost", "", [found.lost], target=no_more_than(0))
    count = _whole(settings.size(3_000))
    found = run(_measure(count, 1))
    yield Row(f"{count:,} engines: links lost", "", [found.lost], target=no_more_than(0))
    yield Row("- in sync after their processes start", "s", [found.synced])
    yield Row("- report a pause as applied", "s", found.applied)


def _whole(count: int) -> int:
    """Return the next number that the processes can share."""
    return -(-count // PROCESSES) * PROCESSES


def _facts(report: dict[str, Any]) -> dict[str, str | None]:
    return {"sync": report["sync"], "status": report["applied"].get(_PAUSE, {}).get("status")}


async def _measure(count: int, rounds: int) -> Measured:
    with start_broker() as broker:
        async with _watcher(broker) as watcher, asyncio.timeout(TIMEOUT):
            began = time.perf_counter()
            async with _fleet(broker, count // PROCESSES):
                synced = (await watcher.until(count, sync="synced"))[-1] - began
                pauses = [await watcher.pause(count) for _ in range(rounds)]
                lost = watcher.lost
    return Measured(synced, [last for _, last in pauses], [half for half, _ in pauses], lost)


@asynccontextmanager
async def _watcher(broker: Broker) -> AsyncIterator[Watcher]:
    async with aiomqtt.Client(broker.host, broker.port, socket_options=_NODELAY) as client:
        await client.subscribe([("cascade/state/+/constraints", 0), ("cascade/status/+", 0)])
        yield Watcher(client)


@asynccontextmanager
async def _fleet(broker: Broker, each: int) -> AsyncIterator[None]:
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", _PROGRAM, broker.host, str(broker.port), f"engine-{number}", str(each)),
            cwd=_FOLDER,
        )
        for number in range(PROCESSES)
    ]
    try:
        yield
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
        await asyncio.gather(*(process.wait() for process in processes))
